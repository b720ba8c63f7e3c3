"""The window's own part: events in, and how it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pygame
import pytest
from viewing import Sitting, questions, run_at, wait_until

from prefrl.store import ComparisonStore
from viewer.app import Window
from viewer.keys import bindings
from viewer.state import DEBOUNCE, Action


def test_who_ends_the_window_during_an_answer_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As training does whose steps are over: the answer is stored, and the window closes."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    run = run_at(tmp_path / "run")
    pygame.display.init()
    try:
        with ComparisonStore(run.store_path) as store, Sitting(run, store) as ann:
            store.add(questions(3))
            wait_until(lambda: ann.ahead() == 3)
            window = Window(ann.controller, bindings({}))
            while window._state.looked < DEBOUNCE:
                window.turn()
            answer = store.answer

            def ended(*what: Any, **how: Any) -> int:
                number = answer(*what, **how)
                os.kill(os.getpid(), signal.SIGTERM)
                return number

            monkeypatch.setattr(store, "answer", ended)
            left = {"key": pygame.K_LEFT, "unicode": ""}
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, left))
            pygame.time.set_timer(pygame.QUIT, 2000, loops=1)  # ends it in any case
            window.show()
            assert len(store.answer_log()) == 1 and not window._state.leaving
    finally:
        pygame.display.quit()


def test_a_gamepads_pad_answers_where_it_is_pushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    run = run_at(tmp_path / "run")
    pygame.display.init()
    try:
        with ComparisonStore(run.store_path) as store, Sitting(run, store) as ann:
            window = Window(ann.controller, bindings({}))
            for push, answer in {(-1, 0): "left", (1, 0): "right", (0, 1): "tie"}.items():
                event = pygame.event.Event(pygame.JOYHATMOTION, {"value": push})
                assert window._action(event) is Action(answer)
    finally:
        pygame.display.quit()
