"""What a person reads while a run trains or a study measures."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from prefrl.progress import StudyProgress, TrainingProgress, time_left


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


def test_rows_of_a_study_are_lines_that_say_how_many_are_left(clock: list[float]) -> None:
    out = io.StringIO()
    with StudyProgress(2, 5, Console(file=out, width=40)) as shown:
        for minutes, line in ((10, "task hopper"), (16, "task [walker2d]"), (24, "task ant")):
            clock[0] = 100 + 60 * minutes
            shown.on_row(line)
    assert out.getvalue().splitlines() == [
        "3 of 5, 0:20:00 left | task hopper",
        "4 of 5, 0:08:00 left | task [walker2d]",
        "5 of 5, done | task ant",
    ]


def test_on_a_terminal_they_are_above_a_bar() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with StudyProgress(147, 148, console) as shown:
        shown.refresh()
        before = out.getvalue()
        shown.on_row("task hopper")
    assert "147 of 148 rows" in before and "..." in before
    after = out.getvalue().removeprefix(before)
    assert after.index("task hopper") < after.index("148 of 148 rows") < after.index("done")


def test_days_of_what_is_left_are_told() -> None:
    assert time_left(600, 1, 149) == "1 day, 0:50:00 left"
    assert time_left(600, 0, 149) == "..."
    assert time_left(600, 150, 0) == "done"
