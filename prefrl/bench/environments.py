"""Normalised scores on the MuJoCo tasks of Christiano et al. 2017, with the leak audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prefrl.bench.runs import scores_of, study_of_runs
from prefrl.bench.statistics import iqm
from prefrl.bench.study import Row
from prefrl.bench.tasks import ENVIRONMENT_TASKS, row_spec, seeds, whole_arm
from prefrl.evaluate import LEAKS


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean score of each task that has all its seeds, and the IQM over all eight."""
    found: dict[str, float] = {}
    for task in ENVIRONMENT_TASKS:
        if mine := whole_arm(rows, task, "default"):
            found[task] = float(np.mean(scores_of(mine)))
    if len(found) < len(ENVIRONMENT_TASKS):
        return found
    return {"mujoco_iqm": iqm(list(found.values()))} | found


def specs(quick: bool) -> Sequence[Row]:
    arms = {"default": None} | dict.fromkeys(LEAKS, 1)  # one seed of each leak
    return [
        row_spec(task, arm, seed, quick)
        for arm, n_seeds in arms.items()
        for task in ENVIRONMENT_TASKS
        for seed in seeds(task, arm, quick)[:n_seeds]
    ]


STUDY = study_of_runs(
    name="environments",
    specs=specs,
    headline=headline,
    alike=("loop",),
)
