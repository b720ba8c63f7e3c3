"""The loop with six simulated teachers: the cost of their errors, and the benefit of doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefrl.bench.arms import TAUGHT, headline_name, teacher_arm
from prefrl.bench.curves import draw_intervals
from prefrl.bench.runs import score_matrix, study_of_runs
from prefrl.bench.statistics import mean_interval, ratio_interval, with_ends
from prefrl.bench.study import Row
from prefrl.bench.tasks import seed_by_seed, seeds_wanted
from prefrl.types import Array

TASKS = ("half_cheetah", "hopper", "pendulum")
ERRING = ("mistake", "mistake, doubted")
"""Teachers whose scores are also divided by the oracle's."""


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean score over tasks and seeds of each teacher that has all its seeds.

    Each has its 95 % interval.
    """
    scores, found = _scores(rows), dict[str, float]()
    for teacher, mine in scores.items():
        name = headline_name(teacher)
        found |= with_ends(name, mean_interval(mine))
        if teacher in ERRING and "oracle" in scores:
            found |= with_ends(f"{name}_over_oracle", ratio_interval(mine, scores["oracle"]))
    return found


def _scores(rows: Sequence[Row]) -> dict[str, Array]:
    """Scores of each teacher that has all its seeds, (seeds, tasks)."""
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


STUDY = study_of_runs(
    name="teachers",
    specs=specs,
    headline=headline,
    alike=("loop", "environments", "gate"),
    picture=picture,
)
