"""The same loop with six simulated teachers: how much do their failings cost?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefrl.bench.arms import teacher_arm
from prefrl.bench.curves import draw_intervals
from prefrl.bench.loop import run_study, score_matrix
from prefrl.bench.study import Row
from prefrl.bench.tasks import mean_interval, seed_by_seed, seeds_wanted
from prefrl.labelers.oracle import TEACHERS

TASKS = ("half_cheetah", "hopper", "pendulum")
NAMES = {(task, teacher_arm(teacher)): teacher for teacher in TEACHERS for task in TASKS}
"""What the headline calls each task and arm."""


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean score over tasks and seeds of each teacher whose seeds are all there."""
    found = {teacher: middle for teacher, (middle, _, _) in _intervals(rows).items()}
    if {"mistake", "oracle"} <= found.keys():
        found = {"mistake_over_oracle": found["mistake"] / found["oracle"]} | found
    return found


def _intervals(rows: Sequence[Row]) -> dict[str, tuple[float, float, float]]:
    return {
        teacher: mean_interval(scores)
        for teacher in TEACHERS
        if len(scores := score_matrix(rows, [(task, teacher_arm(teacher)) for task in TASKS]))
        >= seeds_wanted(rows)
    }


def specs(quick: bool) -> Sequence[Row]:
    return seed_by_seed([*NAMES], quick)


def picture(rows: Sequence[Row], path: Path) -> None:
    """Each teacher's score, with its interval."""
    draw_intervals(_intervals(rows), path, "score: 1 is PPO on the true reward", 1)


TEACHERS_STUDY = run_study(
    name="teachers",
    specs=specs,
    headline=headline,
    alike=("loop", "environments", "gate"),
    picture=picture,
)
