"""Policy gradient agents on the true reward: PPO, TRPO, A2C and plain REINFORCE.

The comparison that Schulman et al. 2017 (PPO, arXiv 1707.06347) make in figure 3, over a million
steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prefrl.bench.curves import ReturnCurve, draw_curves
from prefrl.bench.study import Row, Study
from prefrl.bench.tasks import SEEDS, mean_of, rows_of, seeds_wanted, shortened, task_config
from prefrl.config import RunConfig, settings_key
from prefrl.evaluate import random_returns, train_rl, true_returns

TASKS = ("half_cheetah", "hopper", "walker2d")
AGENTS: dict[str, dict[str, Any]] = {
    # RL Baselines3 Zoo, hyperparams/trpo.yml, MuJoCo: its 1024 steps of 2 copies are 256 of 8.
    "TRPO": {
        "n_steps": 256,
        "batch_size": 128,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "sub_sampling_factor": 1,
        "cg_max_steps": 25,
        "cg_damping": 0.1,
        "n_critic_updates": 20,
        "learning_rate": 1e-3,
    },
    # RL Baselines3 Zoo, hyperparams/a2c.yml, which has these robots in PyBullet only.
    "A2C": {
        "n_steps": 8,
        "gamma": 0.99,
        "gae_lambda": 0.9,
        "ent_coef": 0.0,
        "vf_coef": 0.4,
        "max_grad_norm": 0.5,
        "learning_rate": "linear:9.6e-4",
        "use_sde": True,
        "policy_kwargs": {"log_std_init": -2, "ortho_init": False},
    },
    "REINFORCE": {"gamma": 0.99},  # the rest are the defaults of reinforce.py
}
"""Keyword arguments of the agents; PPO's are the preset's."""
TASK_OVERRIDES = {("half_cheetah", "TRPO"): {"target_kl": 0.04}}
"""Keyword arguments for single tasks, from the same file."""
ARMS = ("PPO", *AGENTS)
CURVE_POINTS = 20


def agent_config(task: str, arm: str, seed: int, quick: bool) -> RunConfig:
    """A task over a million steps, with PPO as in the references or another agent."""
    config = task_config(task, "1M steps", seed, quick=False)
    if arm in AGENTS:
        kwargs = AGENTS[arm] | TASK_OVERRIDES.get((task, arm), {})
        config = replace(config, agent=replace(config.agent, name=arm.lower(), kwargs=kwargs))
    return shortened(config) if quick else config


def measure(spec: Row, work: Path) -> Row:
    """One agent: its final return, its speed and its learning curve."""
    config = agent_config(spec["task"], spec["arm"], spec["seed"], spec["quick"])
    curve = ReturnCurve(config.steps // CURVE_POINTS)
    started = time.monotonic()
    agent = train_rl(config, curve)
    seconds = time.monotonic() - started
    return spec | {
        "env": config.env.id,
        "steps": config.steps,
        "true_return": float(true_returns(agent, config, config.eval_episodes).mean()),
        "random_return": float(random_returns(config, config.eval_episodes).mean()),
        "seconds": seconds,
        "steps_per_second": config.steps / seconds,
        "curve": curve.points,
    }


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean returns by task and agent, steps per second, and returns as shares of PPO's.

    A share, the mean over tasks, is 0 for the random policy and 1 for PPO.
    """
    found: dict[str, float] = {}
    for arm in ARMS:
        by_task = {task: rows_of(rows, task, arm) for task in TASKS}
        done = {task: mine for task, mine in by_task.items() if len(mine) >= seeds_wanted(rows)}
        for task, mine in done.items():
            found[f"{task}_{arm.lower()}"] = mean_of(mine, "true_return")
        if len(done) == len(TASKS):
            every = [row for mine in done.values() for row in mine]
            found[f"{arm.lower()}_steps_per_second"] = mean_of(every, "steps_per_second")
    return found | _shares(rows, found)


def _shares(rows: Sequence[Row], found: Mapping[str, float]) -> dict[str, float]:
    shares = {}
    for arm in (name.lower() for name in AGENTS):
        if all(f"{task}_{name}" in found for task in TASKS for name in (arm, "ppo")):
            random = {task: mean_of(rows_of(rows, task, "PPO"), "random_return") for task in TASKS}
            of_tasks = [
                (found[f"{task}_{arm}"] - random[task]) / (found[f"{task}_ppo"] - random[task])
                for task in TASKS
            ]
            shares[f"{arm}_over_ppo"] = float(np.mean(of_tasks))
    return shares


def specs(quick: bool) -> Sequence[Row]:
    """Specs by seed, so that a study half done has as many seeds of every agent."""
    return [
        {"task": task, "arm": arm, "seed": seed, "quick": quick}
        | {"settings": settings_key(agent_config(task, arm, seed, quick))}
        for seed in SEEDS[: 1 if quick else None]
        for arm in ARMS
        for task in TASKS
    ]


STUDY = Study(
    name="agents",
    specs=specs,
    measure=measure,
    headline=headline,
    columns=(
        "task",
        "arm",
        "seed",
        "steps",
        "true_return",
        "random_return",
        "seconds",
        "steps_per_second",
    ),
    picture=draw_curves,
)
