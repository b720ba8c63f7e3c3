"""Speed of drawing segments, against Gymnasium's own pictures of the same size.

Each row draws a random policy in two ways by turns, in one process: recorded steps with
`SegmentRenderer`, which sets each state, and play with `render()` after each step, in an
environment as `gymnasium.make` returns it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from prefrl.bench.study import Row, Study
from prefrl.environments import resolve
from prefrl.quiet import quiet_mujoco
from prefrl.render import SegmentRenderer, mujoco
from prefrl.render_states import render_states
from prefrl.types import Array, PrefrlError

FAMILIES = {
    "mujoco": ("HalfCheetah-v5", "Hopper-v5", "Ant-v5"),
    "classic": ("Pendulum-v1", "CartPole-v1"),
    "ale": ("prefrl/Pong-v0",),
}
SIZE = 240
"""Pixels of a side of a MuJoCo picture; the other families have a fixed size."""
REPEATS, SECONDS = 5, 3.0
"""Repeats of a row, and seconds for which each side of a repeat draws."""


def measure(spec: Row, work: Path) -> Row:
    """Medians over the repeats of both sides and of their ratio."""
    quiet_mujoco()
    states = _states(spec["env"])
    with SegmentRenderer(spec["env"], size=SIZE) as renderer:
        default = _default(spec["env"], spec["family"] == "mujoco")
        pairs = np.array(
            [
                (_redrawn(renderer, states, spec["seconds"]), _live(default, spec["seconds"]))
                for _ in range(spec["repeats"])
            ]
        )  # (repeats, 2)
        backend = renderer.backend
        if backend:
            mujoco.free(default)
        default.close()
    fast, usual = np.median(pairs, axis=0)
    return spec | {
        "backend": backend,
        "frames_per_second": float(fast),
        "default_frames_per_second": float(usual),
        "ratio": float(np.median(pairs[:, 0] / pairs[:, 1])),
    }


def _states(env_id: str, steps: int = 100) -> Sequence[Array]:
    """Render states of a random policy."""
    env = gym.make(resolve(env_id))
    env.action_space.seed(0)
    env.reset(seed=0)
    offered = render_states(env)
    if offered is None:
        raise PrefrlError(f"{env_id} offers no render states to draw: take it out of FAMILIES")
    states = []
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        states.append(offered.read())
        if terminated or truncated:
            env.reset()
    env.close()
    return states


def _default(env_id: str, is_mujoco: bool) -> gym.Env[Any, Any]:
    size: dict[str, Any] = {"width": SIZE, "height": SIZE} if is_mujoco else {}
    env = gym.make(resolve(env_id), render_mode="rgb_array", **size)
    env.action_space.seed(0)
    env.reset(seed=0)
    env.render()  # the first picture also loads what the others share
    return env


def _redrawn(renderer: SegmentRenderer, states: Sequence[Array], seconds: float) -> float:
    """Frames per second."""
    endless, drawn, started = cycle(states), 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        renderer.frame(next(endless))
        drawn += 1
    return drawn / taken


def _live(env: gym.Env[Any, Any], seconds: float) -> float:
    """Frames per second."""
    if mujoco.is_mujoco(env):
        mujoco.make_current(env)
    drawn, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        env.render()
        drawn += 1
        if terminated or truncated:
            env.reset()
    return drawn / taken


def specs(quick: bool) -> Sequence[Row]:
    repeats, seconds = (2, 1.0) if quick else (REPEATS, SECONDS)
    return [
        {"family": family, "env": env_id, "repeats": repeats, "seconds": seconds}
        for family, ids in FAMILIES.items()
        for env_id in ids
    ]


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Medians over each family's environments."""
    found: dict[str, float] = {}
    for family in FAMILIES:
        mine = [row for row in rows if row["family"] == family]
        for name, key in (("speedup", "ratio"), ("frames_per_second", "frames_per_second")):
            values = [row[key] for row in mine]
            found[f"{family}_{name}"] = float(np.median(values)) if values else math.nan
    return found


STUDY = Study(
    name="rendering",
    specs=specs,
    measure=measure,
    headline=headline,
    columns=(
        "family",
        "env",
        "backend",
        "repeats",
        "frames_per_second",
        "default_frames_per_second",
        "ratio",
    ),
)
