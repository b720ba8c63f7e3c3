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
from prefrl.config import PRESETS, RunConfig, from_mapping, load, merged, settings_key
from prefrl.evaluate import LEAKS
from prefrl.metrics import read_metrics
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.run import train
from prefrl.rundir import RunDir
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
"""But for these: PPO on the true reward has -115 there after 100,000 steps, and -828 after a
million (seed 0)."""
LEAST_FIRST = 10
"""Labels of a budget that are asked before training, at least. Of 25, all at once and of random
clips, HalfCheetah fails on two seeds of five; ten first, on none of four (runs/LOG.md)."""
LARGER: dict[str, Any] = {"kwargs": {"batch_size": 256, "learning_rate": 6e-4}}
"""Minibatches: half the time, and on the true reward HalfCheetah comes to 5,934 in place of 4,500
in 600,000 steps, Hopper to 2,256 and 2,295. Walker2d does not bear it (runs/LOG.md)."""
EXPLORE_STEPS, PENDULUM_EXPLORES, BONUS = 32_768, 8_192, 0.5
"""Before the first questions an agent looks for states far from all others, and later ones where
members disagree are worth more to it, less and less so. Of 25 labels, ten of them first, Hopper
comes to 180 to 840 points in 400,000 steps without the bonus, to 1,400 to 2,340 with it; Pendulum
fails in one seed of three with neither. In these trials the agent went on from the explorer's
policy. Since it does not, Pendulum is solved on six seeds of ten with 8,192 steps of exploration
and on one of three with 16,384 (runs/LOG.md). HalfCheetah does not explore."""
OF_LONG_TASKS: dict[str, dict[str, Any]] = {
    "half_cheetah": {"agent": LARGER | {"explore_steps": 0}},
    "hopper": {"agent": LARGER},
    "pendulum": {"agent": {"explore_steps": PENDULUM_EXPLORES}},
}
"""What these studies change in a task's preset besides what their arms do."""
MEMBERS = 16
"""Of the ensemble, in place of three: their mean ranks clips better where answers are few. Of 25
about an explorer's clips, correlation with the true return on RL's after 100,000 and 400,000 steps,
Walker2d: 0.42 and 0.52 with eight, 0.45 and 0.42 with 16, 0.56 and 0.63 with 32, which take long
with many answers (runs/LOG.md)."""
HIDDEN, LEARNING_RATE = (64,), 5e-3
"""Of each member. With few answers a pass is one minibatch, and the paper's two layers at 1e-3 stop
before they have learned them: one at 3e-3 to 1e-2 ranks 0.5 to 2 points more of other runs' pairs
rightly from 50 answers, in half the time (runs/LOG.md)."""


def budget_arm(budget: int) -> str:
    """So many labels over a million steps, or as many as MOST_STEPS has."""
    return f"{budget} labels, long"


LONG: dict[str, Any] = {"steps": 1_000_000}
ARMS |= {"1M steps": LONG} | {f"{leak}, long": LONG for leak in LEAKS}
ARMS |= {
    budget_arm(budget): LONG
    | {
        "labels": {"budget": budget},
        "reward": {
            "members": MEMBERS,
            "hidden": HIDDEN,
            "learning_rate": LEARNING_RATE,
            "bonus": BONUS,
        },
        "agent": {"explore_steps": EXPLORE_STEPS},
    }
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
    ("half_cheetah", "shuffled"): tuple(range(9)),
    ("hopper", "default"): tuple(range(6)),
    ("deceptive_grasp", "no cross"): SEEDS,
    ("deceptive_grasp", "cross"): SEEDS,
    ("pong", "labels"): (0,),
    ("pong", "true reward"): (0,),
    ("enduro_stay_even", "labels"): (0,),
    ("enduro", "true reward"): (0,),
}
"""A random reward runs in some direction, and over three seeds the scores of HalfCheetah, from
about -0.1 to 0.5, do not average out; Hopper's preset was tuned on three. Of games there is one."""
FEWER_SEEDS = (0, 1)
"""Of the tasks outside the study `loop`; the leak audits of `environments` are of the first."""


def task_config(task: str, arm: str, seed: int, quick: bool) -> RunConfig:
    """A task's preset as an arm changes it; fitted synchronously, so that it repeats."""
    config = load(PRESETS / f"{task}.toml")
    config = replace(config, seed=seed, steps=STEPS.get(task, config.steps))
    changed = ARMS.get(arm, {})
    config = from_mapping(merged({"reward": {"fit": "sync"}}, changed), config)
    if changed.get("steps") == LONG["steps"]:
        config = from_mapping(_of_long(task, changed), config)
    return shortened(config) if quick else config


def _of_long(task: str, changed: dict[str, Any]) -> dict[str, Any]:
    """What an arm of a million steps changes besides, for it is this task."""
    changes = OF_LONG_TASKS.get(task, {}) | {"steps": MOST_STEPS.get(task, LONG["steps"])}
    if "labels" not in changed:
        return changes
    first = LEAST_FIRST / changed["labels"]["budget"]
    return changes | {"labels": {"first_share": max(0.25, min(1.0, first))}}


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


def mean_of(rows: Sequence[Row], key: str) -> float:
    """Mean of what the rows, at least one, have under a key."""
    return float(np.mean([row[key] for row in rows]))


def train_anew(
    config: RunConfig, folder: Path
) -> tuple[BaseAlgorithm, RewardEnsemble, list[dict[str, Any]]]:
    """A run in a folder of its own, whatever was there: agent, reward, and its metrics."""
    shutil.rmtree(folder, ignore_errors=True)
    run = RunDir.create(folder, config)
    agent, reward = train(config, run)
    run.unlock()
    return agent, reward, read_metrics(run.metrics_path)


def iqm_interval(scores: Array) -> tuple[float, float, float]:
    """IQM of scores (seeds, tasks) and 95 % of a stratified bootstrap: middle, low, high.

    The seeds of each task are drawn anew, with replacement. (rliable's own bootstrap needs a
    release of `arch` that today's pandas breaks.)

    Source: Agarwal et al. 2021, arXiv 2108.13264, section 4.
    """
    again = [iqm(drawn.ravel()) for drawn in _drawn_anew(scores, default_rng(0))]
    low, high = np.quantile(again, [0.025, 0.975])
    return iqm(scores.ravel()), float(low), float(high)


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
