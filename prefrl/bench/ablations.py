"""Ablations of the loop at fifty labels: one part taken away, or one added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefrl.bench.arms import ABLATIONS, ALL_OF_IT, ONLY, ablation_arm, headline_name
from prefrl.bench.curves import draw_intervals
from prefrl.bench.runs import score_matrix, study_of_runs
from prefrl.bench.statistics import Interval, mean_interval, with_ends
from prefrl.bench.study import Row
from prefrl.bench.tasks import seed_by_seed, seeds_wanted

TASKS = ("half_cheetah", "hopper")


def tasks_of(name: str) -> Sequence[str]:
    """Tasks in whose presets an ablation changes something."""
    return ONLY.get(name, TASKS)


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean score per arm and its difference from the full method, of arms with all their seeds.

    Each difference has its 95 % interval.
    """
    whole = score_matrix(rows, [(task, ALL_OF_IT) for task in TASKS])
    found = {"all_of_it": float(whole.mean())} if len(whole) >= seeds_wanted(rows) else {}
    for name, more in _differences(rows).items():
        scores = score_matrix(rows, [(task, ablation_arm(name)) for task in tasks_of(name)])
        key = headline_name(name)
        found |= {key: float(scores.mean())} | with_ends(f"{key}_minus_all", more)
    return found


def _differences(rows: Sequence[Row]) -> dict[str, Interval]:
    """Mean score of each ablation minus that of the full method on the same tasks."""
    found = {}
    for name in ABLATIONS:
        own, whole = (
            score_matrix(rows, [(task, arm) for task in tasks_of(name)])
            for arm in (ablation_arm(name), ALL_OF_IT)
        )
        if min(len(own), len(whole)) >= seeds_wanted(rows):
            found[name] = mean_interval(own, less=whole)
    return found


def specs(quick: bool) -> Sequence[Row]:
    """Specs by seed; those of a quick study are of the first task only."""
    arms = {ALL_OF_IT: TASKS} | {ablation_arm(name): tasks_of(name) for name in ABLATIONS}
    pairs = [(task, arm) for arm, tasks in arms.items() for task in tasks]
    return seed_by_seed([p for p in pairs if not quick or p[0] == TASKS[0]], quick)


def picture(rows: Sequence[Row], path: Path) -> None:
    """Each ablation's difference, with its interval."""
    draw_intervals(
        _differences(rows), path, f"difference in score from the full method, {ALL_OF_IT}", 0
    )


STUDY = study_of_runs(
    name="ablations",
    specs=specs,
    headline=headline,
    picture=picture,
)
