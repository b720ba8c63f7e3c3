"""What the window looks like: golden images, and what no picture shows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pygame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from prefrl.types import Array, Preference, PrefrlError
from viewer import text
from viewer.draw import ACTION_WORDS, WindowText, draw
from viewer.keys import KEYS, bindings, shown
from viewer.layout import DEFAULT_SIZE, MIN_TEXT, hit, layout
from viewer.state import CHOICES, Action, Pair, View, begin, present, view

GOLDEN = Path(__file__).resolve().parent / "fixtures" / "viewer"
WRITE = bool(os.environ.get("PREFRL_WRITE_GOLDEN"))
"""Set it to draw the golden images again, and look at each of them."""
CLOSE = 1.5
"""Mean difference of a colour, of 255, that another version of a font or of SDL may make."""

SHOWN = view(present(begin(0.0), Pair(1, (25, 20), 25.0), 0.0))
SMALL = (720, 520)
"""The smallest window in which everything has its place."""
WORDS = WindowText(
    "Choose the clip in which the dot is closer to the middle.",
    "37 of 900 labels  \u00b7  412 an hour",
    "training: 120,000 of 600,000 steps, 1,512 a second",
    "Drawing the next clips \u2026",
)
BARS = (tuple(np.sin(np.arange(25) / 4).tolist()), tuple((-np.cos(np.arange(20) / 5)).tolist()))
LONG = "Choose the clip in which the hopper comes closer to a backflip: " + "a full turn " * 9
VIEWS: dict[str, tuple[View, WindowText, tuple[int, int]]] = {
    "shown": (replace(SHOWN, pictures=(5, 5), played=0.24), WORDS, SMALL),
    "usual": (replace(SHOWN, pictures=(5, 5), played=0.24), WORDS, DEFAULT_SIZE),
    "wide": (replace(SHOWN, pictures=(5, 5), played=0.24, speed=0.5), WORDS, (1600, 700)),
    "hold": (replace(SHOWN, pictures=(24, 19), played=1.0, flash=True), WORDS, SMALL),
    "paused": (replace(SHOWN, paused=True, focus=Action.TIE), WORDS, SMALL),
    "focus": (replace(SHOWN, focus=Action.RIGHT), WORDS, SMALL),
    "given": (replace(SHOWN, given=Preference.TIE), WORDS, SMALL),
    "legend": (replace(SHOWN, legend=True), WORDS, SMALL),
    "waiting": (replace(SHOWN, key=None, note="there is no answer to undo"), WORDS, SMALL),
    "away": (replace(SHOWN, key=None, away=True), WORDS, SMALL),
    "break": (replace(SHOWN, break_due=True), replace(WORDS, instruction=LONG), SMALL),
    "review": (
        replace(SHOWN, review=True, standing=Preference.RIGHT, pictures=(7, 7), played=0.3),
        replace(WORDS, trainer="the ensemble says left 83%", bars=BARS),
        SMALL,
    ),
}


@pytest.fixture(autouse=True)
def _headless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    text.begin()
    yield


def picture(x: int, height: int = 84, width: int = 84) -> Array:
    """A dot on a dark ground."""
    drawn = np.full((height, width, 3), (30, 40, 60), np.uint8)
    drawn[height // 2 - 6 : height // 2 + 6, x : x + 12] = (240, 220, 120)
    return drawn


def drawn(of: View, words: WindowText, size: tuple[int, int]) -> Array:
    surface = pygame.Surface(size)
    pictures = None if of.key is None else (picture(10), picture(50))
    draw(surface, of, pictures, words, bindings({}))
    return np.ascontiguousarray(pygame.surfarray.array3d(surface).swapaxes(0, 1))


@pytest.mark.parametrize("name", VIEWS)
def test_the_window_looks_as_it_did(name: str) -> None:
    pixels = drawn(*VIEWS[name])
    path = GOLDEN / f"{name}.png"
    if WRITE:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).quantize(64).save(path, optimize=True)
    golden = np.asarray(Image.open(path).convert("RGB"))
    assert golden.shape == pixels.shape
    assert np.abs(golden.astype(int) - pixels).mean() < CLOSE


@pytest.mark.parametrize("name", VIEWS)
def test_no_two_of_them_look_alike(name: str) -> None:
    """What the tolerance lets through is smaller than what tells two states apart."""
    pixels = drawn(*VIEWS[name])
    for other, (of, words, size) in VIEWS.items():
        if other != name and size == VIEWS[name][2]:
            assert np.abs(drawn(of, words, size).astype(int) - pixels).mean() > 0.2, other


@given(st.integers(SMALL[0], 4000), st.integers(SMALL[1], 2200), st.booleans())
def test_everything_has_its_place(width: int, height: int, review: bool) -> None:
    places = layout((width, height), review)
    assert places.text >= MIN_TEXT
    window = pygame.Rect(0, 0, width, height)
    boxes = [places.header, *places.clips, places.played, *places.buttons.values(), places.footer]
    boxes += list(places.bars) if review else []
    assert all(window.contains(box) for box in boxes)
    assert all(box.width > 50 for box in boxes) and min(b.height for b in places.clips) > 100
    assert not any(a.colliderect(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert places.clips[0].size == places.clips[1].size
    for action, box in places.buttons.items():
        assert hit(places, box.center) is action
    assert [hit(places, box.center) for box in places.clips] == [Action.LEFT, Action.RIGHT]
    assert hit(places, (0, 0)) is None


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (300, 2000), (5000, 100)])
@pytest.mark.parametrize("name", ["shown", "legend", "review", "waiting"])
def test_a_window_of_any_size_is_drawn(name: str, size: tuple[int, int]) -> None:
    of, words, _ = VIEWS[name]
    assert drawn(of, words, size).shape == (size[1], size[0], 3)


def test_an_instruction_that_does_not_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def write(surface: pygame.Surface, text: str, *how: Any, **more: Any) -> int:
        written.append(text)
        return 20

    monkeypatch.setattr("viewer.draw.write", write)
    for times, whole in ((1, True), (30, False)):
        written.clear()
        text = " ".join(["but never one that lies down"] * times)
        drawn(SHOWN, replace(WORDS, instruction=text), SMALL)
        lines = written[: written.index(WORDS.status)]
        assert (" ".join(lines) == text) is whole
        assert len(lines) <= 3 and lines[-1].endswith("\u2026") is not whole


@pytest.mark.parametrize("shape", [(84, 84), (210, 160), (400, 600), (480, 480)])
def test_clips_keep_their_shape(shape: tuple[int, int]) -> None:
    surface = pygame.Surface(DEFAULT_SIZE)
    white = np.full((*shape, 3), (250, 10, 10), np.uint8)
    draw(surface, SHOWN, (white, white), WORDS, bindings({}))
    pixels = pygame.surfarray.array3d(surface).swapaxes(0, 1)
    red = (abs(pixels.astype(int) - (250, 10, 10)) < 5).all(-1)
    left = red[:, : DEFAULT_SIZE[0] // 2]
    rows, columns = left.any(1).sum(), left.any(0).sum()
    assert rows / columns == pytest.approx(shape[0] / shape[1], rel=0.02)
    assert max(rows, columns) > 300


def test_every_action_has_a_key_and_a_word() -> None:
    assert set(KEYS) == set(Action) == set(ACTION_WORDS)
    assert set(bindings({}).values()) == set(Action)
    assert all(shown(name) for names in KEYS.values() for name in names)
    assert set(CHOICES) <= set(Action)


def test_keys_can_be_bound_anew() -> None:
    keys = bindings({"tie": "t", "left": ["a", "home"]})
    assert keys["t"] is Action.TIE and keys["a"] is keys["home"] is Action.LEFT
    assert "up" not in keys and "left" not in keys and keys["right"] is Action.RIGHT


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"lefft": "a"}, "viewer.keys.lefft: no such action, did you mean 'left'?"),
        ({"tie": "spcae"}, "no such key, did you mean 'space'?"),
        ({"tie": "s"}, "'s' is the key of tie and of skip: give one of them another"),
    ],
)
def test_keys_that_cannot_be(own: dict[str, str], said: str) -> None:
    with pytest.raises(PrefrlError, match=said.replace("?", r"\?")):
        bindings(own)
