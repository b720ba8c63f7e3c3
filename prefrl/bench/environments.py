"""Normalised scores of Christiano et al. 2017's MuJoCo tasks, the leak audit beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prefrl.bench.loop import run_study, scores_of
from prefrl.bench.study import Row
from prefrl.bench.tasks import ENVIRONMENT_TASKS, iqm, row_spec, seeds, whole_arm
from prefrl.evaluate import LEAKS


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean score of each task whose seeds are all there, and the IQM over the eight of them."""
    found: dict[str, float] = {}
    for task in ENVIRONMENT_TASKS:
        if mine := whole_arm(rows, task, "default"):
            found[task] = float(np.mean(scores_of(mine)))
    if len(found) < len(ENVIRONMENT_TASKS):
        return found
    return {"mujoco_iqm": iqm(list(found.values()))} | found


def specs(quick: bool) -> Sequence[Row]:
    arms = {"default": None} | dict.fromkeys(LEAKS, 1)  # a leak's first seed will do
    return [
        row_spec(task, arm, seed, quick)
        for arm, n_seeds in arms.items()
        for task in ENVIRONMENT_TASKS
        for seed in seeds(task, arm, quick)[:n_seeds]
    ]


ENVIRONMENTS = run_study(
    name="environments",
    specs=specs,
    headline=headline,
    alike=("loop",),
)
