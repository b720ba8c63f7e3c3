"""Normalised scores of the whole loop: its arms, its gate, and rewards that know nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import default_rng

from prefrl.bench.references import reference_of, require_references
from prefrl.bench.study import Row, Study
from prefrl.bench.tasks import (
    iqm,
    leak_of,
    mean_interval,
    row_config,
    row_specs,
    rows_of,
    train_anew,
    whole_arm,
    with_ends,
)
from prefrl.config import RunConfig
from prefrl.evaluate import EVAL_SEED, LEAKS, predictor_quality, train_on_leak, true_returns
from prefrl.types import Array

NAMES: dict[tuple[str, str], str] = {
    ("half_cheetah", "default"): "halfcheetah_700_iqm",
    ("half_cheetah", "200 labels"): "halfcheetah_200_iqm",
    ("half_cheetah", "no gate"): "halfcheetah_700_ungated_iqm",
    ("half_cheetah", "shuffled"): "shuffled_iqm",
    ("half_cheetah", "asynchronous"): "halfcheetah_700_async_iqm",
    ("hopper", "default"): "hopper_700_iqm",
    ("walker2d", "default"): "walker2d_700_iqm",
    ("pendulum", "default"): "pendulum_200_iqm",
    ("cart_pole", "default"): "cartpole_iqm",
    ("mountain_car_continuous", "default"): "mountaincar_iqm",
}
"""What the headline calls each task and arm."""

LAST_EPISODES = 10
"""Of a training, whose mean return public figures are of."""

LOOP_ROWS: tuple[tuple[str, str], ...] = (
    ("half_cheetah", "default"),
    ("half_cheetah", "no gate"),
    ("half_cheetah", "200 labels"),
    ("half_cheetah", "shuffled"),
    ("half_cheetah", "asynchronous"),
    ("hopper", "default"),
    ("pendulum", "default"),
    ("cart_pole", "default"),
    ("mountain_car_continuous", "default"),
    ("walker2d", "default"),
    *(
        (task, leak)
        for task in ("half_cheetah", "pendulum", "cart_pole", "hopper")
        for leak in LEAKS
    ),
)


def measure(spec: Row, work: Path) -> Row:
    """One run of one arm: its true return, its labels, and what its gate was worth."""
    config = row_config(spec)
    started = time.monotonic()
    leak = leak_of(spec["arm"])
    if leak:
        returns = true_returns(train_on_leak(config, leak), config, config.eval_episodes)
        learned: Row = {}
    else:
        returns, learned = _learn(config, work / f"{spec['task']}-{spec['arm']}-{spec['seed']}")
    return spec | {
        "env": config.env.id,
        "steps": config.steps,
        "true_return": float(returns.mean()),
        "seconds": time.monotonic() - started,
        **learned,
    }


def scored(row: Row) -> Row:
    """A row with its score between today's references."""
    found = math.nan if row["true_return"] is None else row["true_return"]
    return row | {"score": reference_of(row).score(found)}


def _learn(config: RunConfig, folder: Path) -> tuple[Array, Row]:
    agent, reward, passes = train_anew(config, folder)
    returns = true_returns(agent, config, config.eval_episodes)
    quality = predictor_quality(agent, reward, config, default_rng(EVAL_SEED))
    last = last_return(passes)
    if config.env.train_time_limit:  # training had no whole episodes
        last = float(true_returns(agent, config, LAST_EPISODES, deterministic=False).mean())
    return returns, {
        "labels": passes[-1]["labels"],
        "offered": passes[-1]["offered"],
        "last_return": last,
        "accuracy": quality["accuracy"],
        "ece": quality["ece"],
        "correlation": quality["correlation"],
        "gate_error_above": quality["gate"]["error_above"],
        "gate_error_below": quality["gate"]["error_below"],
    }


def last_return(passes: Sequence[Mapping[str, float]], episodes: int = LAST_EPISODES) -> float:
    """Mean true return of a training's last episodes: of so many, or of the passes that have them.

    Args:
      passes: rows of a run's metrics.
    """
    total, seen = 0.0, 0.0
    for row in reversed([row for row in passes if row.get("episodes")]):
        if seen >= episodes:
            break
        total += row["episodes"] * row["true_return"]
        seen += row["episodes"]
    return total / seen if seen else math.nan


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """IQM over seeds of each arm, and what the gate spared and cost."""
    found: dict[str, float] = {}
    for (task, arm), name in NAMES.items():
        if mine := whole_arm(rows, task, arm):
            found[name] = iqm(scores_of(mine))
    return found | _gate_headline(rows, found)


def _gate_headline(rows: Sequence[Row], found: Mapping[str, float]) -> dict[str, float]:
    """What the gate spared, what it cost, and whether it asked about the right pairs."""
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


def scores_of(rows: Sequence[Row]) -> list[float]:
    return [math.nan if r["score"] is None else r["score"] for r in rows]


def score_matrix(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> Array:
    """Scores of pairs of a task and an arm, (seeds, pairs), of the seeds that every pair has."""
    by_seed = [{row["seed"]: row for row in rows_of(rows, *pair)} for pair in pairs]
    shared = sorted(set.intersection(*map(set, by_seed)))
    return np.array([scores_of([mine[seed] for seed in shared]) for mine in by_seed]).T


def specs(quick: bool) -> Sequence[Row]:
    return row_specs(LOOP_ROWS, quick)


run_study = partial(
    Study,
    measure=measure,
    columns=(
        *("task", "arm", "seed", "steps", "labels", "offered", "score", "true_return"),
        *("accuracy", "ece", "gate_error_above", "gate_error_below", "seconds"),
    ),
    require=require_references,
    derived=scored,
)
"""A study whose rows are runs, each with its score."""

LOOP = run_study(name="loop", specs=specs, headline=headline, alike=("environments",))
