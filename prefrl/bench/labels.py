"""Score against labels: how few answers the loop needs, on four control tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prefrl.bench.curves import draw_scores
from prefrl.bench.loop import run_study, score_matrix, scores_of
from prefrl.bench.study import Row
from prefrl.bench.tasks import (
    BUDGETS,
    FRESH_SEEDS,
    LONG_TASKS,
    budget_arm,
    iqm_interval,
    leak_arm,
    row_spec,
    rows_of,
    seed_by_seed,
    with_ends,
)
from prefrl.evaluate import LEAKS
from prefrl.types import Array

HEADLINE_BUDGETS = (25, 50, 100, 350, 700)
FEWEST_SEEDS = 3
"""Of each task, before a budget has a number."""


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """IQM over tasks and seeds at each budget, with 95 % of a stratified bootstrap."""
    found: dict[str, float] = {}
    for budget, interval in _intervals(rows).items():
        found |= with_ends(f"iqm_{budget}", interval)
    return found


def _at(rows: Sequence[Row], budget: int) -> Array:
    """Scores at a budget, (seeds, tasks)."""
    return score_matrix(rows, [(task, budget_arm(budget)) for task in LONG_TASKS])


def _intervals(rows: Sequence[Row]) -> dict[int, tuple[float, float, float]]:
    """By budgets that have enough seeds: IQM, and the lower and upper end of its interval."""
    return {
        budget: iqm_interval(scores)
        for budget in BUDGETS
        if len(scores := _at(rows, budget)) >= FEWEST_SEEDS
    }


def specs(quick: bool) -> Sequence[Row]:
    """The headline's budgets first, seed by seed: what there is of them is of all tasks alike."""
    if quick:
        return [row_spec(task, budget_arm(25), 0, quick) for task in LONG_TASKS]
    others = [budget for budget in BUDGETS if budget not in HEADLINE_BUDGETS]
    few = FRESH_SEEDS[:FEWEST_SEEDS]
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
    """Scores over labels; of a task where it has a number's fewest seeds."""
    means = {
        task: {
            budget: float(np.mean(scores))
            for budget in BUDGETS
            if len(scores := scores_of(rows_of(rows, task, budget_arm(budget)))) >= FEWEST_SEEDS
        }
        for task in LONG_TASKS
    }
    draw_scores(means, _intervals(rows), path)


LABELS = run_study(
    name="labels",
    specs=specs,
    headline=headline,
    picture=picture,
)
