"""What a person sees while a run trains: a live bar on a terminal, plain lines when piped."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

_PLAIN_SECONDS = 10.0


class _Bar(Progress):
    """A bar, and under it what the last pass measured."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.below)


class TrainingProgress:
    """Shows every pass of the loop.

    Args:
      total_steps: environment steps of the whole run.
      console: where to.
      run: the run's folder.
    """

    def __init__(self, total_steps: int, console: Console, run: Path) -> None:
        self._total, self._console, self._run = total_steps, console, run
        self._next_line = 0.0
        self._waiting_for = 0
        self._true_return = math.nan
        self._started: tuple[float, float] | None = None
        columns = (
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f} of {task.total:,} steps"),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = _Bar(*columns, console=console, disable=not console.is_terminal)
        self._bar.below = "a random policy first"
        self._task = self._bar.add_task("training", total=total_steps, left="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_pass(self, row: Mapping[str, float]) -> None:
        """Show one pass."""
        step = row["step"]
        self._started = self._started or (time.monotonic(), step)
        self._true_return = row.get("true_return", self._true_return)
        text = describe(row, self._true_return)
        now = time.monotonic()
        left = self._time_left(now, step)
        self._bar.below = text
        self._bar.update(self._task, completed=step, left=left)
        done = step >= self._total
        if not self._console.is_terminal and (now >= self._next_line or done):
            self._next_line = now + _PLAIN_SECONDS
            self._console.print(f"{step:>9,} steps | {text} | {left}", soft_wrap=True)

    def on_wait(self, missing: int, first: int) -> None:
        """Say what training waits for, and in plain lines only when that has changed."""
        text = f"waiting for {missing} of {first} first answers"
        text += f"; no window? `prefrl label {self._run}`"
        if not missing:
            text = f"the {first} first answers are there: training begins"
        self._bar.below = text
        now = time.monotonic()
        due = now >= self._next_line or not missing
        if not self._console.is_terminal and due and missing != self._waiting_for:
            self._next_line, self._waiting_for = now + _PLAIN_SECONDS, missing
            self._console.print(text, soft_wrap=True, highlight=False)

    def _time_left(self, now: float, step: float) -> str:
        started, first = self._started or (now, step)
        if step >= self._total or step <= first:
            return "done" if step >= self._total else "..."
        seconds = (now - started) / (step - first) * (self._total - step)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"


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
        parts.append("no better than guessing: the agent gets no reward")
    if math.isfinite(true_return):
        parts.append(f"true return {true_return:,.0f}")
    return " | ".join(parts)
