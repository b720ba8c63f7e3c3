"""Score by number of labels, on four control tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prefrl.bench.arms import BUDGETS, budget_arm, leak_arm
from prefrl.bench.curves import draw_scores
from prefrl.bench.runs import score_matrix, scores_of, study_of_runs
from prefrl.bench.statistics import Interval, iqm_interval, with_ends
from prefrl.bench.study import Row
from prefrl.bench.tasks import FRESH_SEEDS, LONG_TASKS, row_spec, rows_of, seed_by_seed
from prefrl.evaluate import LEAKS
from prefrl.types import Array

HEADLINE_BUDGETS = (25, 50, 100, 350, 700)
MIN_SEEDS = 3
"""Seeds of each task that a budget needs before it has a number."""


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """IQM over tasks and seeds at each budget, with its 95 % interval."""
    found: dict[str, float] = {}
    for budget, interval in _intervals(rows).items():
        found |= with_ends(f"iqm_{budget}", interval)
    return found


def _at(rows: Sequence[Row], budget: int) -> Array:
    """Scores at a budget, (seeds, tasks)."""
    return score_matrix(rows, [(task, budget_arm(budget)) for task in LONG_TASKS])


def _intervals(rows: Sequence[Row]) -> dict[int, Interval]:
    """IQM of each budget that has enough seeds."""
    return {
        budget: iqm_interval(scores)
        for budget in BUDGETS
        if len(scores := _at(rows, budget)) >= MIN_SEEDS
    }


def specs(quick: bool) -> Sequence[Row]:
    """Specs of the headline's budgets first, each budget by seed and then by task."""
    if quick:
        return [row_spec(task, budget_arm(25), 0, quick) for task in LONG_TASKS]
    others = [budget for budget in BUDGETS if budget not in HEADLINE_BUDGETS]
    few = FRESH_SEEDS[:MIN_SEEDS]
    learned = [
        row
        for budgets, seeds in ((HEADLINE_BUDGETS, FRESH_SEEDS), (others, few))
        for row in seed_by_seed(
            [(task, budget_arm(budget)) for budget in budgets for task in LONG_TASKS], quick, seeds
        )
    ]
    leaks = [row_spec(task, leak_arm(leak), 0, quick) for leak in LEAKS for task in LONG_TASKS]
    return learned + leaks


def picture(rows: Sequence[Row], path: Path) -> None:
    """Scores over labels, for each task at the budgets that have enough seeds."""
    means = {
        task: {
            budget: float(np.mean(scores))
            for budget in BUDGETS
            if len(scores := scores_of(rows_of(rows, task, budget_arm(budget)))) >= MIN_SEEDS
        }
        for task in LONG_TASKS
    }
    draw_scores(means, _intervals(rows), path)


STUDY = study_of_runs(
    name="labels",
    specs=specs,
    headline=headline,
    picture=picture,
)
