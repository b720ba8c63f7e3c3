"""The same loop with six simulated teachers: what their failings cost, and what doubt mends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefrl.bench.arms import TAUGHT, headline_name, teacher_arm
from prefrl.bench.curves import draw_intervals
from prefrl.bench.loop import run_study, score_matrix
from prefrl.bench.study import Row
from prefrl.bench.tasks import (
    mean_interval,
    ratio_interval,
    seed_by_seed,
    seeds_wanted,
    with_ends,
)
from prefrl.types import Array

TASKS = ("half_cheetah", "hopper", "pendulum")
ERRING = ("mistake", "mistake, doubted")
"""Those whose share of an oracle's score is of interest."""


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean score over tasks and seeds of each teacher whose seeds are all there.

    Each has 95 % of a stratified bootstrap beside it.
    """
    scores, found = _scores(rows), dict[str, float]()
    for teacher, mine in scores.items():
        name = headline_name(teacher)
        found |= with_ends(name, mean_interval(mine))
        if teacher in ERRING and "oracle" in scores:
            found |= with_ends(f"{name}_over_oracle", ratio_interval(mine, scores["oracle"]))
    return found


def _scores(rows: Sequence[Row]) -> dict[str, Array]:
    """Of each teacher whose seeds are all there, (seeds, tasks)."""
    return {
        teacher: scores
        for teacher in TAUGHT
        if len(scores := score_matrix(rows, [(task, teacher_arm(teacher)) for task in TASKS]))
        >= seeds_wanted(rows)
    }


def specs(quick: bool) -> Sequence[Row]:
    arms = map(teacher_arm, TAUGHT)
    return seed_by_seed([(task, arm) for arm in arms for task in TASKS], quick)


def picture(rows: Sequence[Row], path: Path) -> None:
    """Each teacher's score, with its interval."""
    intervals = {teacher: mean_interval(scores) for teacher, scores in _scores(rows).items()}
    draw_intervals(intervals, path, "score: 1 is PPO on the true reward", 1)


TEACHERS_STUDY = run_study(
    name="teachers",
    specs=specs,
    headline=headline,
    alike=("loop", "environments", "gate"),
    picture=picture,
)
