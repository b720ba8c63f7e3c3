"""The same loop with six simulated teachers: how much do their failings cost?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefrl.bench.arms import teacher_arm
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
from prefrl.labelers.oracle import TEACHERS
from prefrl.types import Array

TASKS = ("half_cheetah", "hopper", "pendulum")
NAMES = {(task, teacher_arm(teacher)): teacher for teacher in TEACHERS for task in TASKS}
"""What the headline calls each task and arm."""


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean score over tasks and seeds of each teacher whose seeds are all there.

    Each has 95 % of a stratified bootstrap beside it.
    """
    scores, found = _scores(rows), dict[str, float]()
    if {"mistake", "oracle"} <= scores.keys():
        ratio = ratio_interval(scores["mistake"], scores["oracle"])
        found |= with_ends("mistake_over_oracle", ratio)
    for teacher, mine in scores.items():
        found |= with_ends(teacher, mean_interval(mine))
    return found


def _scores(rows: Sequence[Row]) -> dict[str, Array]:
    """Of each teacher whose seeds are all there, (seeds, tasks)."""
    return {
        teacher: scores
        for teacher in TEACHERS
        if len(scores := score_matrix(rows, [(task, teacher_arm(teacher)) for task in TASKS]))
        >= seeds_wanted(rows)
    }


def specs(quick: bool) -> Sequence[Row]:
    return seed_by_seed([*NAMES], quick)


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
