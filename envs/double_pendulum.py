"""Two poles, one on the other, on a cart, to be kept upright."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco import inverted_double_pendulum_v5
from numpy.typing import NDArray

from envs.gymnasium_v5 import V5Env

CAMERA = {
    "trackbodyid": 0,
    "distance": 3.3,  # all of the rail and of the poles, upright or hanging, fills the picture
    "lookat": np.zeros(3),
    "elevation": -5.0,
}


class InvertedDoublePendulumEnv(V5Env, inverted_double_pendulum_v5.InvertedDoublePendulumEnv):
    """InvertedDoublePendulum-v5 whose episode goes on after the fall.

    The reward is v5's: 10 while the tip is higher than 1 m, less 0.01 x^2 + (y - 2)^2 for a tip at
    (x, y) and what the poles' speeds cost. So a fall costs 10 a step (Christiano et al. 2017,
    appendix A), and poles that whirl about cost tens more. There is no torque penalty to
    leave out. The observation is v5's without the last number, the force of the stop at the
    rail's end, which no picture shows.
    """

    metadata = inverted_double_pendulum_v5.InvertedDoublePendulumEnv.metadata | {
        "instruction": "Choose the clip in which both poles are kept upright for longer, "
        "and more quietly.",
        "true_reward": "10 while upright, less distance and speeds",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"default_camera_config": CAMERA} | kwargs)
        self.observation_space = spaces.Box(-np.inf, np.inf, (8,), np.float64)

    def step(  # type: ignore[override]
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step; action (1,), observation (8,): x, sines, cosines, and three velocities."""
        obs, reward, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        return obs, float(reward), False, truncated, info

    def _get_obs(self) -> NDArray[np.float64]:
        obs: NDArray[np.float64] = super()._get_obs()  # type: ignore[no-untyped-call]
        return obs[:-1]
