"""Pictures of a study's rows: learning curves, scores over labels, intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from prefrl.bench.statistics import Interval
from prefrl.bench.study import Row
from prefrl.bench.tasks import rows_of
from prefrl.report.svg import BLUE, INK, MUTED, ORANGE, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, INK, MUTED)
SIDE = 3.6
"""Width of a task's plot in inches; its height is three quarters of it."""
DPI = 110
STYLE: Any = {
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 8),
    "axes.titlesize": 10,
    "axes.labelsize": 9,
}
"""Matplotlib's settings for every picture."""


@contextmanager
def _drawing(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure, `width` by `height` inches, written as a PNG when the block ends."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(path, dpi=DPI, metadata={"Software": None})


class ReturnCurve(BaseCallback):
    """Mean true returns while RL trains: (step, mean of the episodes since the last point).

    SB3's `ep_info_buffer` has the last 100 episodes instead: 450,000 steps of Atari.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self._every, self._ended = every, list[float]()
        self.points = list[tuple[int, float]]()

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self._ended += [info["episode"]["r"] for info in infos if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        if self._ended and self.num_timesteps >= self._every * (len(self.points) + 1):
            self.points.append((self.num_timesteps, float(np.mean(self._ended))))
            self._ended.clear()


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw true returns of training episodes over steps: a plot for each task, a line for each row.

    Args:
      rows: with `task`, `arm` and `curve`, a list of (step, true return).
      path: of a PNG. Nothing is drawn where there is no curve.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    drawn = [row for row in rows if row["curve"]]
    if not drawn:
        return
    tasks, arms = (list(dict.fromkeys(row[key] for row in drawn)) for key in ("task", "arm"))
    with _drawing(path, SIDE * len(tasks), 0.75 * SIDE) as figure:
        for ax, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            for arm, colour in zip(arms, cycle(COLOURS), strict=False):
                for i, row in enumerate(rows_of(drawn, task, arm)):
                    label = None if i else arm  # once in the legend
                    ax.plot(
                        *zip(*row["curve"], strict=True), color=colour, label=label, linewidth=1.3
                    )
            ax.set_title(task)
            ax.set_xlabel("environment steps")
            ax.legend()
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(4))
                axis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
        figure.axes[0].set_ylabel("true return of an episode")


def draw_scores(
    means: Mapping[str, Mapping[int, float]],
    intervals: Mapping[int, Interval],
    path: Path,
) -> None:
    """Draw scores over labels: a thin line for each task's mean, the IQM with its interval.

    Args:
      means: mean score by task, then labels.
      intervals: of the IQM over tasks, by labels.
      path: of a PNG. Nothing is drawn where there is no score.
    """
    from matplotlib.ticker import ScalarFormatter

    if not any(means.values()):
        return
    with _drawing(path, 2 * SIDE, 1.2 * SIDE) as figure:
        ax = figure.subplots()
        for (task, line), style in zip(means.items(), cycle(("-", "--", ":", "-."))):
            ax.plot(*zip(*line.items(), strict=True), style, color=MUTED, linewidth=1.2, label=task)
        if intervals:
            labels = list(intervals)
            iqm, low, high = zip(*intervals.values(), strict=True)
            ax.vlines(
                labels, low, high, color=BLUE, linewidth=2, alpha=0.5
            )  # a single one shows too
            ax.plot(labels, iqm, "o-", color=BLUE, linewidth=2, label="interquartile mean, 95 %")
        ax.axhline(1, color=INK, linewidth=0.8)
        ax.set_xscale("log")
        labels = sorted({label for line in means.values() for label in line})
        ax.set_xticks(labels)
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.minorticks_off()
        ax.set_xlabel("labels")
        ax.set_ylabel("score: 1 is PPO on the true reward")
        ax.legend()


def draw_intervals(
    intervals: Mapping[str, Interval], path: Path, meaning: str, baseline: float
) -> None:
    """Draw a line for each name, from the top: its number as a dot, its interval as a bar.

    Args:
      path: of a PNG. Nothing is drawn where there is no interval.
      meaning: of the numbers, written below them.
      baseline: the number to compare with, a line from top to bottom.
    """
    if not intervals:
        return
    with _drawing(path, 2 * SIDE, 0.8 + 0.22 * len(intervals)) as figure:
        ax = figure.subplots()
        middle, low, high = np.array(list(intervals.values())).T
        places = np.arange(len(intervals))
        ax.hlines(places, low, high, color=BLUE, linewidth=2)
        ax.plot(middle, places, "o", color=BLUE, markersize=5)
        ax.axvline(baseline, color=INK, linewidth=0.8)
        ax.set_yticks(places, list(intervals))
        ax.set_ylim(len(intervals) - 0.5, -0.5)
        ax.set_xlabel(meaning)


def draw_gate(
    points: Mapping[str, Mapping[float, Sequence[tuple[float, float]]]], path: Path
) -> None:
    """Draw scores over labels asked: a dot for each seed, a line through the means.

    Args:
      points: labels and score of each seed, by task, then threshold, which is written at the mean.
      path: of a PNG. Nothing is drawn where there is no point.
    """
    drawn = {task: line for task, line in points.items() if line}
    if not drawn:
        return
    with _drawing(path, SIDE * len(drawn), SIDE) as figure:
        axes = figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0]
        for ax, (task, line) in zip(axes, drawn.items(), strict=True):
            seeds = [seed for some in line.values() for seed in some]
            ax.plot(*zip(*seeds, strict=True), "o", color=BLUE, alpha=0.3, markersize=4)
            means = [tuple(np.mean(some, axis=0).tolist()) for some in line.values()]
            ax.plot(*zip(*means, strict=True), "o-", color=BLUE, linewidth=1.3, markersize=5)
            for mean, place in zip(dict.fromkeys(means), cycle((6, -13))):  # over and under it
                here = [f"{t:g}" for t, at in zip(line, means, strict=True) if at == mean]
                how: Any = {"xytext": (0, place), "textcoords": "offset points", "ha": "center"}
                ax.annotate(", ".join(here), mean, fontsize=8, **how)
            ax.axhline(1, color=INK, linewidth=0.8)
            ax.margins(0.15)
            ax.set_title(task)
            ax.set_xlabel("labels asked, by threshold")
        axes[0].set_ylabel("score: 1 is PPO on the true reward")
