"""The tasks of the studies: which presets, what each arm changes in them, which seeds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.bench.arms import ADDED
from prefrl.bench.study import Row
from prefrl.config import PRESETS, RunConfig, from_mapping, load, settings_key
from prefrl.evaluate import LEAKS
from prefrl.metrics import read_metrics
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.run import OnPass, train
from prefrl.rundir import RunDir
from prefrl.toml_tables import merged
from prefrl.types import Array

LOOP_TASKS = (
    *("half_cheetah", "hopper", "pendulum", "cart_pole"),
    *("walker2d", "mountain_car_continuous"),
)
ENVIRONMENT_TASKS = (
    *("reacher", "half_cheetah_paper", "hopper", "walker2d"),
    *("swimmer", "ant", "inverted_double_pendulum", "pendulum"),
)
"""The MuJoCo suite of Christiano et al. 2017."""

ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "200 labels": {"labels": {"budget": 200}},
    "no gate": {"labels": {"ask_above": 0.0}},
    "shuffled": {"labels": {"labeler": "shuffled"}},
    "asynchronous": {"reward": {"fit": "async"}},
    "labels": {},
    "5M steps": {"steps": 5_000_000},
    "true reward": {},
    "handwritten": {"env": {"kwargs": {"reward": "handwritten"}}},
    "no cross": {},
    "cross": {"env": {"kwargs": {"cross": True}}},
}
"""What each arm changes in a task's preset."""
_RESAMPLES = 2000
BUDGETS = (10, 25, 50, 100, 200, 350, 700, 1400)
PUBLIC_BUDGET = 400
"""Of the public figures that ours are put beside."""
LONG_TASKS = ("half_cheetah", "hopper", "walker2d", "pendulum")
"""Of the studies that train for a million steps, whatever the preset says."""
MOST_STEPS = {"pendulum": 100_000}
"""But for these: PPO on the true reward has -117 there after 100,000 steps, and -828 after a
million (seed 0)."""


def budget_arm(budget: int) -> str:
    """So many labels over a million steps, or as many as MOST_STEPS has."""
    return f"{budget} labels, long"


def leak_arm(leak: str) -> str:
    """The leak audit of the same tasks, over as many steps."""
    return f"{leak}, long"


def leak_of(arm: str) -> str | None:
    """Which of LEAKS an arm trains on, over however many steps; None: on none of them."""
    name = arm.partition(",")[0]
    return name if name in LEAKS else None


LONG: dict[str, Any] = {"steps": 1_000_000}
ARMS |= {"1M steps": LONG} | {leak_arm(leak): LONG for leak in LEAKS}
ARMS |= {
    budget_arm(budget): LONG | {"labels": {"budget": budget}}
    for budget in (*BUDGETS, PUBLIC_BUDGET)
}
ARMS |= ADDED
STEPS = dict.fromkeys(("pong", "enduro", "enduro_stay_even"), 1_000_000)
"""Where a study has fewer than the preset: of 4 frames each."""

SEEDS = (0, 1, 2)
REFERENCE_SEEDS = (0, 1, 2, 3, 4)
"""Of the PPO on the true reward that is 1 in the studies over a million steps."""
FRESH_SEEDS = (5, 6, 7, 8, 9)
"""Of the learned rows of these studies, whose settings were chosen on the others."""
OTHER_SEEDS = {
    ("pendulum", "reference"): REFERENCE_SEEDS,
    ("hopper", "default"): tuple(range(6)),
    ("deceptive_grasp", "no cross"): SEEDS,
    ("deceptive_grasp", "cross"): SEEDS,
    ("pong", "labels"): (0,),
    ("pong", "true reward"): (0,),
    ("enduro_stay_even", "labels"): (0,),
    ("enduro", "true reward"): (0,),
}
"""Hopper's preset was tuned on three. Of games there is one."""
FEWER_SEEDS = (0, 1)
"""Of the tasks outside the study `loop`; the leak audits of `environments` are of the first."""


def task_config(task: str, arm: str, seed: int, quick: bool) -> RunConfig:
    """A task's preset as an arm changes it; fitted synchronously, so that it repeats."""
    config = load(PRESETS / f"{task}.toml")
    config = replace(config, seed=seed, steps=STEPS.get(task, config.steps))
    changed = ARMS.get(arm, {})
    config = from_mapping(merged({"reward": {"fit": "sync"}}, changed), config)
    if changed.get("steps") == LONG["steps"]:
        config = replace(config, steps=MOST_STEPS.get(task, config.steps))
    return shortened(config) if quick else config


def row_config(row: Row) -> RunConfig:
    """What a row, or what identifies it, is measured with."""
    return task_config(row["task"], row["arm"], row["seed"], row["quick"])


def shortened(config: RunConfig) -> RunConfig:
    """What a quick study runs in a run's place: the same code, in a twentieth of the steps."""
    steps = max(2 * config.labels.warmup_steps, config.steps // 20)
    agent = replace(config.agent, explore_steps=config.agent.explore_steps // 20)
    episodes = min(4, config.eval_episodes)
    return replace(config, steps=steps, eval_episodes=episodes, agent=agent)


def seeds(task: str, arm: str, quick: bool) -> Sequence[int]:
    """The seeds of an arm's rows."""
    usual = SEEDS if task in LOOP_TASKS else FEWER_SEEDS
    every = OTHER_SEEDS.get((task, arm), usual)
    return every[:1] if quick else every


def seeds_wanted(rows: Sequence[Row]) -> int:
    """How many seeds an arm of these rows has once it is done."""
    return 1 if any(row["quick"] for row in rows) else len(SEEDS)


def row_spec(task: str, arm: str, seed: int, quick: bool) -> Row:
    """What identifies a row, its settings included: rows of a changed preset are others."""
    settings = settings_key(task_config(task, arm, seed, quick))
    return {"task": task, "arm": arm, "seed": seed, "quick": quick, "settings": settings}


def row_specs(pairs: Sequence[tuple[str, str]], quick: bool) -> list[Row]:
    """The same of pairs of a task and an arm, for each of their seeds."""
    return [
        row_spec(task, arm, seed, quick) for task, arm in pairs for seed in seeds(task, arm, quick)
    ]


def seed_by_seed(
    pairs: Sequence[tuple[str, str]], quick: bool, chosen: Sequence[int] = SEEDS
) -> list[Row]:
    """The same for each seed in turn: what there is of a study is of all its arms alike."""
    return [
        row_spec(task, arm, seed, quick)
        for seed in chosen[: 1 if quick else None]
        for task, arm in pairs
    ]


def rows_of(rows: Sequence[Row], task: str, arm: str) -> list[Row]:
    """Those of one arm of a task."""
    return [r for r in rows if (r["task"], r["arm"]) == (task, arm)]


def whole_arm(rows: Sequence[Row], task: str, arm: str) -> list[Row]:
    """The same, and none while a seed is missing: an arm half done has no number yet."""
    mine, quick = rows_of(rows, task, arm), any(row["quick"] for row in rows)
    return mine if len(mine) >= len(seeds(task, arm, quick)) else []


def mean_of(rows: Sequence[Row], key: str) -> float:
    """Mean of what the rows, at least one, have under a key."""
    return float(np.mean([row[key] for row in rows]))


def train_anew(
    config: RunConfig, folder: Path
) -> tuple[BaseAlgorithm, RewardEnsemble, list[dict[str, Any]]]:
    """A run in a folder of its own, whatever was there: agent, reward, and its metrics."""
    run, agent, reward = _train_in(folder, config)
    return agent, reward, read_metrics(run.metrics_path)


def train_and_forget(
    config: RunConfig, folder: Path, on_pass: OnPass = lambda row: None
) -> BaseAlgorithm:
    """The agent of a run whose folder is gone afterwards."""
    _, agent, _ = _train_in(folder, config, on_pass)
    shutil.rmtree(folder, ignore_errors=True)
    return agent


def _train_in(
    folder: Path, config: RunConfig, on_pass: OnPass = lambda row: None
) -> tuple[RunDir, BaseAlgorithm, RewardEnsemble]:
    shutil.rmtree(folder, ignore_errors=True)
    with RunDir.create(folder, config) as run:
        return run, *train(config, run, on_pass)


def iqm_interval(scores: Array) -> tuple[float, float, float]:
    """IQM of scores (seeds, tasks) and 95 % of a stratified bootstrap: middle, low, high.

    The seeds of each task are drawn anew, with replacement. (rliable's own bootstrap needs a
    release of `arch` that today's pandas breaks.)

    Source: Agarwal et al. 2021, arXiv 2108.13264, section 4.
    """
    again = [iqm(drawn.ravel()) for drawn in _drawn_anew(scores, default_rng(0))]
    return _with_quantiles(iqm(scores.ravel()), again)


def mean_interval(scores: Array, less: Array | None = None) -> tuple[float, float, float]:
    """Mean of scores (seeds, tasks) and 95 % of a stratified bootstrap: middle, low, high.

    Of three seeds the interval is too narrow rather than too wide: a bootstrap of so few knows a
    spread of about four fifths of the true one.

    Args:
      less: scores of another arm on the same tasks, (other seeds, tasks), whose mean is taken off;
        its seeds are drawn anew by themselves.
    Source: Agarwal et al. 2021, arXiv 2108.13264, section 4.
    """
    rng = default_rng(0)
    middle, again = scores.mean(), _drawn_anew(scores, rng).mean((1, 2))
    if less is not None:
        middle, again = middle - less.mean(), again - _drawn_anew(less, rng).mean((1, 2))
    return _with_quantiles(middle, again)


def with_ends(name: str, interval: tuple[float, float, float]) -> dict[str, float]:
    """An interval as a headline has it: middle, low and high under names of their own."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))


def ratio_interval(scores: Array, over: Array) -> tuple[float, float, float]:
    """Ratio of two arms' mean scores, each (seeds, tasks), and 95 % of a stratified bootstrap.

    The seeds of each arm are drawn anew by themselves: middle, low, high.
    """
    rng = default_rng(0)
    again = _drawn_anew(scores, rng).mean((1, 2)) / _drawn_anew(over, rng).mean((1, 2))
    return _with_quantiles(scores.mean() / over.mean(), again)


def _with_quantiles(middle: float, again: Sequence[float] | Array) -> tuple[float, float, float]:
    """A number, and between what 95 % of its bootstrap's draws lie."""
    low, high = np.quantile(again, [0.025, 0.975])
    return float(middle), float(low), float(high)


def _drawn_anew(scores: Array, rng: Generator) -> Array:
    """Scores (seeds, tasks), seeds of each task drawn with replacement, (R, seeds, tasks)."""
    n, tasks = scores.shape
    seeds = rng.integers(n, size=(_RESAMPLES, n, tasks))
    drawn: Array = scores[seeds, np.arange(tasks)]
    return drawn


def iqm(scores: Sequence[float] | Array) -> float:
    """Interquartile mean (Agarwal et al. 2021, arXiv 2108.13264, section 4.3)."""
    from rliable import metrics

    return float(metrics.aggregate_iqm(np.array(scores).reshape(-1, 1)))
