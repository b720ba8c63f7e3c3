"""The tasks of the studies, their seeds, and the configuration of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prefrl.bench.arms import ARMS, LONG
from prefrl.bench.study import Row
from prefrl.config import PRESETS, RunConfig, from_mapping, load, settings_key
from prefrl.names import choose
from prefrl.toml_tables import merged

LOOP_TASKS = (
    "half_cheetah",
    "hopper",
    "pendulum",
    "cart_pole",
    "walker2d",
    "mountain_car_continuous",
)
ENVIRONMENT_TASKS = (
    "reacher",
    "half_cheetah_paper",
    "hopper",
    "walker2d",
    "swimmer",
    "ant",
    "inverted_double_pendulum",
    "pendulum",
)
"""The MuJoCo suite of Christiano et al. 2017."""
LONG_TASKS = ("half_cheetah", "hopper", "walker2d", "pendulum")
"""Tasks of the studies that train for LONG's steps."""

STEP_OVERRIDES = dict.fromkeys(("pong", "enduro", "enduro_stay_even"), 1_000_000)
"""Steps, of 4 frames each, of tasks for which the studies train less than the preset."""
LONG_STEP_OVERRIDES = {"pendulum": 100_000}
"""Steps in place of LONG's: PPO on the true reward has a return of -117 on Pendulum after 100,000
steps, and of -828 after a million (seed 0)."""

SEEDS = (0, 1, 2)
REFERENCE_SEEDS = (0, 1, 2, 3, 4)
"""Seeds of PPO on the true reward, whose mean is a score of 1, in the studies over LONG's steps."""
FRESH_SEEDS = (5, 6, 7, 8, 9)
"""Seeds of the learned rows of these studies: settings were chosen on the other seeds."""
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
"""Seeds of single arms. Hopper's preset was tuned on three seeds; games have one."""
FEWER_SEEDS = (0, 1)
"""Seeds of the tasks outside the study `loop`."""


def task_config(task: str, arm: str, seed: int, quick: bool) -> RunConfig:
    """A task's preset as an arm changes it, fitted synchronously, so that a run repeats.

    Raises:
      PrefrlError: no such arm.
    """
    config = load(PRESETS / f"{task}.toml")
    config = replace(config, seed=seed, steps=STEP_OVERRIDES.get(task, config.steps))
    changes = choose(ARMS, arm, "arm")
    config = from_mapping(merged({"reward": {"fit": "sync"}}, changes), config)
    if changes.get("steps") == LONG["steps"]:
        config = replace(config, steps=LONG_STEP_OVERRIDES.get(task, config.steps))
    return shortened(config) if quick else config


def row_config(row: Row) -> RunConfig:
    """The configuration that a row, or a row's spec, is measured with."""
    return task_config(row["task"], row["arm"], row["seed"], row["quick"])


def shortened(config: RunConfig) -> RunConfig:
    """The configuration of a quick study: the same code in a twentieth of the steps."""
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
    """Number of seeds that an arm of these rows has once it is complete."""
    return 1 if any(row["quick"] for row in rows) else len(SEEDS)


def row_spec(task: str, arm: str, seed: int, quick: bool) -> Row:
    """What identifies a row. It includes its settings: a changed preset makes another row."""
    settings = settings_key(task_config(task, arm, seed, quick))
    return {"task": task, "arm": arm, "seed": seed, "quick": quick, "settings": settings}


def row_specs(pairs: Sequence[tuple[str, str]], quick: bool) -> list[Row]:
    """Specs of pairs of a task and an arm, for each of their seeds, pair by pair."""
    return [
        row_spec(task, arm, seed, quick) for task, arm in pairs for seed in seeds(task, arm, quick)
    ]


def seed_by_seed(
    pairs: Sequence[tuple[str, str]], quick: bool, chosen: Sequence[int] = SEEDS
) -> list[Row]:
    """Specs of pairs, seed by seed, so that a study half done has as many seeds of every arm."""
    return [
        row_spec(task, arm, seed, quick)
        for seed in chosen[: 1 if quick else None]
        for task, arm in pairs
    ]


def rows_of(rows: Sequence[Row], task: str, arm: str) -> list[Row]:
    """The rows of one arm of a task."""
    return [r for r in rows if (r["task"], r["arm"]) == (task, arm)]


def whole_arm(rows: Sequence[Row], task: str, arm: str) -> list[Row]:
    """The rows of one arm of a task, or none while a seed is missing."""
    mine, quick = rows_of(rows, task, arm), any(row["quick"] for row in rows)
    return mine if len(mine) >= len(seeds(task, arm, quick)) else []


def mean_of(rows: Sequence[Row], key: str) -> float:
    """Mean of the values under a key of at least one row."""
    return float(np.mean([row[key] for row in rows]))
