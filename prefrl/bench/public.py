"""400 labels over a million steps, compared with the best public figures of PPO from labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefrl.bench.arms import PUBLIC_BUDGET, budget_arm
from prefrl.bench.runs import study_of_runs
from prefrl.bench.study import Row
from prefrl.bench.tasks import FRESH_SEEDS, SEEDS, mean_of, rows_of, seed_by_seed, seeds_wanted

PUBLIC = {"half_cheetah": 2956.0, "hopper": 824.0, "walker2d": 1730.0}
"""Best returns of a public benchmark of ten seeds with as many labels and steps, also without
termination when unhealthy."""


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean return of the last training episodes by task, and its ratio to the public figure."""
    found: dict[str, float] = {}
    for task, public in PUBLIC.items():
        mine = rows_of(rows, task, budget_arm(PUBLIC_BUDGET))
        if len(mine) >= seeds_wanted(rows):
            found[f"{task}_return"] = mean_of(mine, "last_return")
            found[f"{task}_over_public"] = found[f"{task}_return"] / public
    return found


def specs(quick: bool) -> Sequence[Row]:
    pairs = [(task, budget_arm(PUBLIC_BUDGET)) for task in PUBLIC]
    return seed_by_seed(pairs, quick, FRESH_SEEDS[: len(SEEDS)])


STUDY = study_of_runs(
    name="public",
    specs=specs,
    headline=headline,
    columns=("task", "arm", "seed", "steps", "labels", "last_return", "true_return", "score"),
)
