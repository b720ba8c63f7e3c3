"""EnvPool's tasks that equal a Gymnasium environment, and how their states are read.

EnvPool 1.2 simulates with MuJoCo 3.6; Ant and Humanoid equal Gymnasium's on that version bit by
bit. Newer versions of MuJoCo differ in the last digits, and a little more for these two, whose
contacts they compute differently.

Environments that are missing here have no equal: those of users, those whose reward EnvPool does
not know (HopperBackflip, HalfCheetahOneLeg, DeceptiveGrasp, EnduroStayEven), and those that EnvPool
ends and resets where ours go on (CartPole-v0, InvertedDoublePendulum-v0,
MountainCarContinuous-v0). EnvPool's Pendulum differs: at the highest speed it still turns by what
the torque would have added, up to 0.05 rad a step further than Gymnasium's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefrl.types import Array


@dataclass(frozen=True)
class Task:
    """How one of EnvPool's tasks becomes one of Gymnasium's.

    Attributes:
      name: EnvPool's id.
      observe: what EnvPool returns, (E, *), to Gymnasium's observations, (E, *obs_shape).
      draw: what EnvPool returns and the actions, (E, *action_shape), to render states as
        `prefrl.render_states` reads them, (E, S).
      kwargs: for EnvPool.
      takes: keyword arguments of Gymnasium's environment that mean the same to EnvPool.
      bonus: what EnvPool's reward lacks, (E,), from what it returns.
    """

    name: str
    observe: Callable[[Array], Array]
    draw: Callable[[Array, Array], Array]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    takes: frozenset[str] = frozenset()
    bonus: Callable[[Array], Array] | None = None


_LOCOMOTION = frozenset(
    {
        "ctrl_cost_weight",
        "forward_reward_weight",
        "frame_skip",
        "reset_noise_scale",
        "terminate_when_unhealthy",
    }
)
_MAX_VELOCITY = 10.0
"""Bound to which Hopper's and Walker2d's observations clip velocities."""


def _locomotion(
    name: str,
    nq: int,
    nv: int,
    hidden: int = 1,
    more: int = 0,
    clipped: bool = False,
    bonus: Callable[[Array], Array] | None = None,
    **kwargs: Any,
) -> Task:
    """A runner or a swimmer.

    EnvPool returns all of its positions: those that the agent does not observe are needed to draw
    it again.

    Args:
      nq, nv: number of positions and velocities, which come first in what EnvPool returns.
      hidden: how many of the first positions are not observed.
      more: how many numbers are observed after the velocities.
      clipped: whether observed velocities are clipped.
    """
    end = nq + nv + more

    def observe(raw: Array) -> Array:
        obs = raw[:, hidden:end].copy()
        if clipped:
            velocities = obs[:, nq - hidden :]
            np.clip(velocities, -_MAX_VELOCITY, _MAX_VELOCITY, out=velocities)
        return obs

    def draw(raw: Array, actions: Array) -> Array:
        return raw[:, : nq + nv].copy()

    if clipped:
        kwargs |= {"velocity_min": -math.inf, "velocity_max": math.inf}
    kwargs["exclude_current_positions_from_observation"] = False
    return Task(name, observe, draw, kwargs, _LOCOMOTION, bonus)


def _as_is(raw: Array) -> Array:
    return raw.copy()


def _state(raw: Array, actions: Array) -> Array:
    """The state, which is what is observed."""
    return raw.astype(np.float64)


def _arm(raw: Array, actions: Array) -> Array:
    """Reacher's positions and velocities, (E, 8), the target's included.

    Args:
      raw: cosines and sines of both joints, target, velocities of both joints, (E, 10), and what
        follows from these.
    """
    angles = np.arctan2(raw[:, 2:4], raw[:, :2])
    at_rest = np.zeros((len(raw), 2))
    return np.concatenate((angles, raw[:, 4:6], raw[:, 6:8], at_rest), axis=1)


def _poles(raw: Array, actions: Array) -> Array:
    """InvertedDoublePendulum's positions and velocities, (E, 6).

    Args:
      raw: cart, sines and cosines of both poles, velocities, (E, 9), and a force.
    """
    angles = np.arctan2(raw[:, 1:3], raw[:, 3:5])
    return np.concatenate((raw[:, :1], angles, raw[:, 5:8]), axis=1)


def _ant_is_up(raw: Array) -> Array:
    """Healthy reward of `envs.locomotion.AntEnv`, (E,).

    Args:
      raw: from its positions on, (E, *): x, y, z, and the torso's quaternion.
    """
    z, x_tilt, y_tilt = raw[:, 2], raw[:, 4], raw[:, 5]
    up: Array = (z >= 0.2) & (z <= 1.0) & (x_tilt**2 + y_tilt**2 < 0.5)
    return up.astype(np.float32)


_FREE: dict[str, Any] = {"ctrl_cost_weight": 0.0}
_ENDLESS: dict[str, Any] = _FREE | {"terminate_when_unhealthy": False}
_TORSO: dict[str, Any] = _ENDLESS | {"contact_cost_weight": 0.0}

TASKS: dict[str, Task] = {
    "HalfCheetah-v5": _locomotion("HalfCheetah-v5", 9, 9),
    "Hopper-v5": _locomotion("Hopper-v5", 6, 6, clipped=True),
    "Walker2d-v5": _locomotion("Walker2d-v5", 9, 9, clipped=True),
    "Swimmer-v5": _locomotion("Swimmer-v5", 5, 5, hidden=2),
    "Ant-v5": _locomotion("Ant-v5", 15, 14, hidden=2, more=78),
    "Humanoid-v5": _locomotion("Humanoid-v5", 24, 23, hidden=2, more=303),
    "Reacher-v5": Task("Reacher-v5", _as_is, _arm),
    "InvertedPendulum-v5": Task("InvertedPendulum-v5", _as_is, _state),
    "InvertedDoublePendulum-v5": Task("InvertedDoublePendulum-v5", _as_is, _poles),
    "CartPole-v1": Task("CartPole-v1", _as_is, _state),
    "prefrl/HalfCheetah-v0": _locomotion("HalfCheetah-v5", 9, 9, **_FREE),
    "prefrl/Hopper-v0": _locomotion("Hopper-v5", 6, 6, clipped=True, **_ENDLESS),
    "prefrl/Walker2d-v0": _locomotion("Walker2d-v5", 9, 9, clipped=True, **_ENDLESS),
    "prefrl/Swimmer-v0": _locomotion("Swimmer-v5", 5, 5, hidden=2, **_FREE),
    "prefrl/Ant-v0": _locomotion(
        "Ant-v5", 15, 14, hidden=2, bonus=_ant_is_up, healthy_reward=0.0, **_TORSO
    ),
    "prefrl/Humanoid-v0": _locomotion("Humanoid-v5", 24, 23, hidden=2, **_TORSO),
    "prefrl/Reacher-v0": Task("Reacher-v5", _as_is, _arm, _FREE),
}
"""By Gymnasium's id; `tests/test_envpool.py` compares each with Gymnasium, step by step."""


class TaskCopies:
    """Copies of one task, side by side (see `prefrl.pools.vec.Copies`).

    Args:
      pool: EnvPool's.
    """

    def __init__(self, task: Task, pool: Any) -> None:
        self._task, self._pool = task, pool

    def reset(self, which: Array) -> Array:
        raw, _ = self._pool.reset(which)
        return self._task.observe(raw)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        raw, rewards, terminated, _, _ = self._pool.step(actions)
        if self._task.bonus is not None:
            rewards = rewards + self._task.bonus(raw)
        return self._task.observe(raw), rewards, terminated, self._task.draw(raw, actions)
