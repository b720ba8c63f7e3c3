"""A cheetah that is to move forward on one leg."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.contacts import touching
from envs.locomotion import HalfCheetahEnv

STANDING = frozenset({"bshin", "bfoot"})
RAISED = frozenset({"fshin", "ffoot"})
COST = 10.0
"""Of a step in which anything but the standing leg touches the floor: more than running on both
legs is worth, so that the front leg comes up before anything else counts."""


class HalfCheetahOneLegEnv(HalfCheetahEnv):
    """HalfCheetah-v5 that is to move forward (to the right) on its back leg, the front leg raised.

    The true reward is the forward speed in m/s, less COST where anything but the back leg's foot
    and shin is on the floor: the front foot above all, but also the trunk, the head or a thigh, as
    sitting and sliding on one's back are not moving on one leg either. The back leg has the
    stronger motors: 120, 90 and 60 Nm against 120, 60 and 30.

    The observation is HalfCheetah-v5's, and 1 or 0 for each of these on the floor: the back leg,
    the front leg, anything else. Everybody who watches sees them.

    Attributes:
      distance: metres moved forward since the last reset.
      share_touching: share of the steps since then with the front foot or shin on the floor.
      share_fallen: share of the steps with the trunk, the head or a thigh on the floor.
    """

    metadata = HalfCheetahEnv.metadata | {
        "instruction": "Choose the clip in which the cheetah moves forward (to the right) faster "
        "on its back leg alone, with its front leg off the floor.",
        "true_reward": "forward speed, less 10 while not on the back leg alone",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = spaces.Box(-np.inf, np.inf, (20,), np.float64)
        self._forget()

    def _forget(self) -> None:
        self._start = float(self.data.qpos[0])
        self._steps = self._touching = self._fallen = 0

    @property
    def distance(self) -> float:
        return float(self.data.qpos[0]) - self._start

    @property
    def share_touching(self) -> float:
        return self._touching / max(self._steps, 1)

    @property
    def share_fallen(self) -> float:
        return self._fallen / max(self._steps, 1)

    def step(  # type: ignore[override]
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step; action (6,), observation (20,)."""
        obs, speed, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        front, rest = bool(obs[-2]), bool(obs[-1])
        self._steps += 1
        self._touching += front
        self._fallen += rest
        reward = float(speed) - COST * (front or rest)
        return obs, reward, False, truncated, info

    def reset_model(self) -> NDArray[np.float64]:
        obs: NDArray[np.float64] = super().reset_model()  # type: ignore[no-untyped-call]
        self._forget()
        return obs

    def _get_obs(self) -> NDArray[np.float64]:
        on_floor = touching(self.model, self.data, "floor")
        rest = on_floor - STANDING - RAISED
        contact = [bool(part) for part in (on_floor & STANDING, on_floor & RAISED, rest)]
        return np.concatenate([super()._get_obs(), contact])  # type: ignore[no-untyped-call]
