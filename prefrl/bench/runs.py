"""Studies whose rows are runs of the loop: how a row is trained, measured and scored."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng
from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.bench.arms import leak_of
from prefrl.bench.references import reference_of, require_references
from prefrl.bench.study import Row, Study
from prefrl.bench.tasks import row_config, rows_of
from prefrl.config import RunConfig
from prefrl.evaluate import EVAL_SEED, predictor_quality, train_on_leak, true_returns
from prefrl.metrics import read_metrics
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.run import OnPass, train
from prefrl.rundir import RunDir
from prefrl.types import Array

LAST_EPISODES = 10
"""Training episodes whose mean return the public figures are."""


def train_run(
    config: RunConfig, folder: Path
) -> tuple[BaseAlgorithm, RewardEnsemble, list[dict[str, Any]]]:
    """Train in a folder, which is emptied first: the agent, its reward and its metrics."""
    run, agent, reward = _train_in(folder, config)
    return agent, reward, read_metrics(run.metrics_path)


def train_and_forget(
    config: RunConfig, folder: Path, on_pass: OnPass = lambda row: None
) -> BaseAlgorithm:
    """Train in a folder, which is removed afterwards: the agent."""
    _, agent, _ = _train_in(folder, config, on_pass)
    shutil.rmtree(folder, ignore_errors=True)
    return agent


def _train_in(
    folder: Path, config: RunConfig, on_pass: OnPass = lambda row: None
) -> tuple[RunDir, BaseAlgorithm, RewardEnsemble]:
    shutil.rmtree(folder, ignore_errors=True)
    with RunDir.create(folder, config) as run:
        return run, *train(config, run, on_pass)


def measure(spec: Row, work: Path) -> Row:
    """One run of one arm: its true return, its labels, and the errors on both sides of its gate."""
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


def _learn(config: RunConfig, folder: Path) -> tuple[Array, Row]:
    agent, reward, passes = train_run(config, folder)
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
    """Mean true return of the last passes of a training that have at least this many episodes.

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


def scored(row: Row) -> Row:
    """A row with its score between the references as they are now."""
    true_return = math.nan if row["true_return"] is None else row["true_return"]
    return row | {"score": reference_of(row).score(true_return)}


def scores_of(rows: Sequence[Row]) -> list[float]:
    """Scores of the rows; NaN where there is none."""
    return [math.nan if r["score"] is None else r["score"] for r in rows]


def score_matrix(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> Array:
    """Scores of pairs of a task and an arm, (seeds, pairs), for the seeds that every pair has."""
    by_seed = [{row["seed"]: row for row in rows_of(rows, *pair)} for pair in pairs]
    shared = sorted(set.intersection(*map(set, by_seed)))
    return np.array([scores_of([mine[seed] for seed in shared]) for mine in by_seed]).T


study_of_runs = partial(
    Study,
    measure=measure,
    columns=(
        "task",
        "arm",
        "seed",
        "steps",
        "labels",
        "offered",
        "score",
        "true_return",
        "accuracy",
        "ece",
        "gate_error_above",
        "gate_error_below",
        "seconds",
    ),
    require=require_references,
    derived=scored,
)
"""Builds a study whose rows are runs, each with its score."""
