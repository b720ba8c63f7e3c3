"""Labels that the gate saves and score that it costs, by its threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prefrl.bench.arms import THRESHOLDS
from prefrl.bench.curves import draw_gate
from prefrl.bench.runs import score_matrix, scores_of, study_of_runs
from prefrl.bench.statistics import mean_interval, with_ends
from prefrl.bench.study import Row
from prefrl.bench.tasks import rows_of, seed_by_seed, seeds_wanted, task_config

TASKS = ("half_cheetah", "pendulum")


def gate_arm(task: str, threshold: float) -> str:
    """The arm of a threshold: the preset itself where it has this threshold."""
    own = task_config(task, "default", 0, quick=False).labels.ask_above
    if threshold == own:
        return "default"
    return f"gate at {threshold:g}" if threshold else "no gate"


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean score, with its 95 % interval, and share of the labels asked of each threshold."""
    found: dict[str, float] = {}
    for threshold in THRESHOLDS:
        scores = score_matrix(rows, [(task, gate_arm(task, threshold)) for task in TASKS])
        if len(scores) >= seeds_wanted(rows):
            found |= with_ends(f"score_above_{threshold:g}", mean_interval(scores))
            mine = [row for task in TASKS for row in _rows(rows, task, threshold)]
            asked = [row["labels"] / row["offered"] for row in mine]
            found[f"asked_above_{threshold:g}"] = float(np.mean(asked))
    return found


def _rows(rows: Sequence[Row], task: str, threshold: float) -> list[Row]:
    return rows_of(rows, task, gate_arm(task, threshold))


def specs(quick: bool) -> Sequence[Row]:
    arms = [(task, gate_arm(task, threshold)) for threshold in THRESHOLDS for task in TASKS]
    return seed_by_seed(arms, quick)


def picture(rows: Sequence[Row], path: Path) -> None:
    """Score over labels, for each seed and on average."""
    points = {
        task: {
            threshold: list(zip([r["labels"] for r in mine], scores_of(mine), strict=True))
            for threshold in THRESHOLDS
            if (mine := _rows(rows, task, threshold))
        }
        for task in TASKS
    }
    draw_gate(points, path)


STUDY = study_of_runs(
    name="gate",
    specs=specs,
    headline=headline,
    alike=("loop", "environments", "teachers"),
    picture=picture,
)
