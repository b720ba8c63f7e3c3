"""What a person sees of a training or a study: a live bar on a terminal, plain lines when piped."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

_PLAIN_SECONDS = 10.0


class TrainingProgress(Progress):
    """Shows every pass of the loop.

    Args:
      total_steps: environment steps of the whole run.
      console: where to.
      run: the run's folder.
    """

    def __init__(self, total_steps: int, console: Console, run: Path) -> None:
        self._total, self._run = total_steps, run
        self._below = "a random policy first"
        self._next_line = 0.0
        self._waiting_for = 0
        self._true_return = math.nan
        self._started: tuple[float, float] | None = None
        columns = (
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f} of {task.total:,} steps"),
            TextColumn("{task.fields[left]}"),
        )
        super().__init__(*columns, console=console, disable=not console.is_terminal)
        self._bar = self.add_task("training", total=total_steps, left="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, and under it what the last pass measured."""
        yield from super().get_renderables()
        yield Text(self._below)

    def on_pass(self, row: Mapping[str, float]) -> None:
        """Show one pass."""
        step = row["step"]
        self._started = self._started or (time.monotonic(), step)
        self._true_return = row.get("true_return", self._true_return)
        text = describe(row, self._true_return)
        now = time.monotonic()
        left = self._time_left(now, step)
        self._below = text
        self.update(self._bar, completed=step, left=left)
        done = step >= self._total
        if not self.console.is_terminal and (now >= self._next_line or done):
            self._next_line = now + _PLAIN_SECONDS
            self.console.print(f"{step:>9,} steps | {text} | {left}", soft_wrap=True)

    def on_wait(self, missing: int, first: int) -> None:
        """Say what training waits for, and in plain lines only when that has changed."""
        text = f"waiting for {missing} of {first} first answers"
        text += f"; no window? `prefrl label {self._run}`"
        if not missing:
            text = f"the {first} first answers are there: training begins"
        self._below = text
        now = time.monotonic()
        due = now >= self._next_line or not missing
        if not self.console.is_terminal and due and missing != self._waiting_for:
            self._next_line, self._waiting_for = now + _PLAIN_SECONDS, missing
            self.console.print(text, soft_wrap=True, highlight=False)

    def _time_left(self, now: float, step: float) -> str:
        started, first = self._started or (now, step)
        return time_left(now - started, step - first, self._total - step)


class StudyProgress(Progress):
    """Shows the rows of a study as they are done.

    Args:
      done: rows that are there already.
      total: rows in all.
      console: where to.
    """

    def __init__(self, done: int, total: int, console: Console) -> None:
        self._first, self._done, self._total = done, done, total
        self._started = time.monotonic()
        columns = (
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f} of {task.total:.0f} rows"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        live = console.is_terminal
        super().__init__(*columns, console=console, disable=not live, refresh_per_second=1)
        self._bar = self.add_task("rows", total=total, completed=done, left="...")

    def on_row(self, line: str) -> None:
        """Show one more row, described in a line."""
        self._done += 1
        left = time_left(
            time.monotonic() - self._started, self._done - self._first, self._total - self._done
        )
        self.update(self._bar, completed=self._done, left=left)
        if not self.console.is_terminal:
            line = f"{self._done} of {self._total}, {left} | {line}"
        self.console.print(line, soft_wrap=True, markup=False, highlight=False)


def time_left(seconds: float, done: float, missing: float) -> str:
    """How much longer what is missing takes, at the pace of what was done in so many seconds."""
    if missing <= 0 or done <= 0:
        return "done" if missing <= 0 else "..."
    return f"{timedelta(seconds=round(seconds / done * missing))} left"


def describe(row: Mapping[str, float], true_return: float) -> str:
    """One pass in a line: speed, labels, gate, held-out accuracy, true return."""
    parts = [
        f"{row['steps_per_second']:,.0f} steps/s",
        f"labels {row['labels']:.0f} of {row['labels_budget']:.0f}",
    ]
    for name, label, shape in (
        ("gate_share", "over gate", ".0%"),
        ("heldout_accuracy", "held-out", ".0%"),
    ):
        value = row.get(name)
        if value is not None and math.isfinite(value):
            parts.append(f"{label} {value:{shape}}")
    if row.get("guessing"):
        why = "no better than guessing" if row.get("decided", 1) else "every answer is a tie"
        parts.append(f"{why}: the agent gets no reward")
    if math.isfinite(true_return):
        parts.append(f"true return {true_return:,.0f}")
    return " | ".join(parts)
