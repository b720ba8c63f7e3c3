"""A cheetah that has to move forward on one leg."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.contacts import Contacts
from envs.locomotion import HalfCheetahEnv

STANDING = frozenset({"bshin", "bfoot"})
RAISED = frozenset({"fshin", "ffoot"})
CLEARANCE = 0.2
"""Height of a raised front foot's middle, in m; on the floor it is at 0.05 to 0.1."""
LOW_COST, COST = 10.0, 20.0
"""Cost of a step with the front leg not raised, and of one in which it touches the floor or the
cheetah has fallen: several times what running on both legs earns. At 10 for both, tapping the floor
with the front foot in each stride pays off; at 10 and 30 one seed of two stood still."""


class HalfCheetahOneLegEnv(HalfCheetahEnv):
    """HalfCheetah-v5 that has to move forward (to the right) on its back leg, front leg raised.

    The true reward is the forward speed in m/s, less COST in a step in which anything but the back
    leg's foot and shin touches the floor, or the cheetah is upside down, and less LOW_COST in any
    other step with the front leg not raised. Raised means a front foot CLEARANCE above the floor: a
    cheetah that gallops on both legs is in the air most of the time, with its front foot on the
    floor for few steps. The back leg has the stronger motors: 120, 90 and 60 Nm against 120, 60
    and 30.

    The observation is HalfCheetah-v5's, and 1 or 0 for each of these in the step: the back leg
    touched the floor, the front leg did, the front leg was not raised, the cheetah has fallen.
    All of them can be seen in a clip.

    Attributes:
      distance: metres moved forward since the last reset.
      share_touching: share of the time since then with the front foot or shin on the floor.
      share_low: share of the steps with the front leg not raised.
      share_fallen: share of the steps in which the trunk, the head or a thigh touched the floor,
        or with the cheetah upside down.
    """

    metadata = HalfCheetahEnv.metadata | {
        "instruction": "Choose the clip in which the cheetah moves forward (to the right) faster "
        "on its back leg alone, with its front leg off the floor.",
        "true_reward": f"forward speed, less {COST:.0f} while not on the back leg alone, "
        f"{LOW_COST:.0f} with the front leg low",
    }

    _on_floor: frozenset[str] = frozenset()  # in the latest step

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = spaces.Box(-np.inf, np.inf, (21,), np.float64)
        self._floor = Contacts(self.model, "floor")
        self._forget()

    def _forget(self) -> None:
        self._start = float(self.data.qpos[0])
        self._steps = self._touching = self._low = self._fallen = 0

    @property
    def distance(self) -> float:
        return float(self.data.qpos[0]) - self._start

    @property
    def share_touching(self) -> float:
        return self._touching / max(self._steps * self.frame_skip, 1)

    @property
    def share_low(self) -> float:
        return self._low / max(self._steps, 1)

    @property
    def share_fallen(self) -> float:
        return self._fallen / max(self._steps, 1)

    def step(  # type: ignore[override]
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step; action (6,), observation (21,)."""
        obs, speed, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        touching, low, fallen = map(bool, obs[-3:])
        self._steps += 1
        self._low += low
        self._fallen += fallen
        cost = COST if touching or fallen else LOW_COST * low
        return obs, float(speed) - cost, False, truncated, info

    def _step_mujoco_simulation(self, ctrl: NDArray[np.float32], n_frames: int) -> None:
        self.data.ctrl[:] = ctrl
        on_floor = set[str]()
        for _ in range(n_frames):  # a foot that bounces may be up again by the end of the step
            mujoco.mj_step(self.model, self.data)
            now = self._floor.latest(self.data)
            on_floor |= now
            self._touching += bool(now & RAISED)
        self._on_floor = frozenset(on_floor)

    def reset_model(self) -> NDArray[np.float64]:
        super().reset_model()  # type: ignore[no-untyped-call]
        self._forget()
        self._on_floor = frozenset(self._floor.now(self.data))
        return self._get_obs()

    def _get_obs(self) -> NDArray[np.float64]:
        touching = bool(self._on_floor & RAISED)
        low = touching or self.data.geom("ffoot").xpos[2] <= CLEARANCE
        upside_down = math.cos(self.data.qpos[2]) < 0
        fallen = bool(self._on_floor - STANDING - RAISED) or upside_down
        seen = [bool(self._on_floor & STANDING), touching, low, fallen]
        return np.concatenate([super()._get_obs(), seen])  # type: ignore[no-untyped-call]
