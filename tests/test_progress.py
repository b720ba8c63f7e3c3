"""What a person reads while a run trains."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from prefrl.progress import TrainingProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its one element."""
    now = [100.0]
    monkeypatch.setattr("prefrl.progress.time.monotonic", lambda: now[0])
    return now


def test_plain_lines_say_what_training_waits_for_and_how_many_are_left(clock: list[float]) -> None:
    out = io.StringIO()
    with TrainingProgress(1000, Console(file=out, width=40), Path("runs/a")) as shown:
        for seconds, missing in (
            (0, 25),
            (0.5, 25),
            (1, 24),
            (12, 12),
            (30, 12),
            (60, 12),
            (61, 0),
        ):
            clock[0] = 100 + seconds
            shown.on_wait(missing, 25)
    assert out.getvalue().splitlines() == [
        "waiting for 25 of 25 first answers; no window? `prefrl label runs/a`",
        "waiting for 12 of 25 first answers; no window? `prefrl label runs/a`",
        "the 25 first answers are there: training begins",
    ]


def test_on_a_terminal_it_is_under_the_bar(clock: list[float]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with TrainingProgress(1000, console, Path("a")) as shown:
        shown.on_wait(12, 25)
    assert "waiting for 12 of 25 first answers; no window? `prefrl label a`" in out.getvalue()
