"""Normalised scores of the whole loop: its arms, its gate, and rewards that know nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prefrl.bench.runs import score_matrix, scores_of, study_of_runs
from prefrl.bench.statistics import iqm, mean_interval, with_ends
from prefrl.bench.study import Row
from prefrl.bench.tasks import row_specs, rows_of, whole_arm
from prefrl.evaluate import LEAKS

NAMES: dict[tuple[str, str], str] = {
    ("half_cheetah", "default"): "halfcheetah_700_iqm",
    ("half_cheetah", "no gate"): "halfcheetah_700_ungated_iqm",
    ("half_cheetah", "200 labels"): "halfcheetah_200_iqm",
    ("half_cheetah", "shuffled"): "shuffled_iqm",
    ("half_cheetah", "asynchronous"): "halfcheetah_700_async_iqm",
    ("hopper", "default"): "hopper_700_iqm",
    ("pendulum", "default"): "pendulum_200_iqm",
    ("cart_pole", "default"): "cartpole_iqm",
    ("mountain_car_continuous", "default"): "mountaincar_iqm",
    ("walker2d", "default"): "walker2d_700_iqm",
}
"""The key of each task and arm in the headline."""

LOOP_ROWS: tuple[tuple[str, str], ...] = (
    *NAMES,
    *(
        (task, leak)
        for task in ("half_cheetah", "pendulum", "cart_pole", "hopper")
        for leak in LEAKS
    ),
)


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """IQM over seeds of each arm, and the labels and score that the gate saves and costs."""
    found: dict[str, float] = {}
    for (task, arm), name in NAMES.items():
        if mine := whole_arm(rows, task, arm):
            found[name] = iqm(scores_of(mine))
    return found | _gate_headline(rows, found)


def _gate_headline(rows: Sequence[Row], found: Mapping[str, float]) -> dict[str, float]:
    """Share of the labels asked, score lost, and the reward's error on pairs asked and skipped."""
    gated = rows_of(rows, "half_cheetah", "default")
    if not {"halfcheetah_700_ungated_iqm", "halfcheetah_700_iqm"} <= found.keys():
        return {}
    worth = {
        "gate_labels_share": float(np.mean([r["labels"] / r["offered"] for r in gated])),
    }
    every, asked = (score_matrix(rows, [("half_cheetah", arm)]) for arm in ("no gate", "default"))
    worth |= with_ends("gate_score_loss", mean_interval(every, less=asked))
    for side in ("above", "below"):
        errors = [r[f"gate_error_{side}"] for r in gated if r[f"gate_error_{side}"] is not None]
        if errors:
            worth[f"gate_error_{side}"] = float(np.mean(errors))
    return worth


def specs(quick: bool) -> Sequence[Row]:
    return row_specs(LOOP_ROWS, quick)


STUDY = study_of_runs(name="loop", specs=specs, headline=headline, alike=("environments",))
