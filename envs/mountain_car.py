"""A car in a valley that has to reach the right-hand hilltop and stay there."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.classic_control import continuous_mountain_car
from numpy.typing import NDArray


class MountainCarContinuousEnv(continuous_mountain_car.Continuous_MountainCarEnv):
    """MountainCarContinuous-v0 whose episode goes on at the goal.

    The reward of a step is 1 while the car is at the goal (position of at least 0.45), less
    0.1 times the squared force. Gymnasium describes both ends of the track as inelastic walls
    but stops the car at the left one only, as no episode of its own goes on to the right one;
    here both stop it. Beyond the hilltop (position 0.52) the car rests against the right wall
    without any force.
    """

    metadata = continuous_mountain_car.Continuous_MountainCarEnv.metadata | {
        "instruction": "Choose the clip in which the car is at the flag, "
        "or gains more height on its way there.",
        "true_reward": "1 while at the flag, less 0.1 force squared",
    }

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step; action (1,), observation (2,): position and velocity."""
        obs, _, _, truncated, info = super().step(action)
        if obs[0] >= self.max_position and obs[1] > 0:
            obs = np.array([self.max_position, 0], dtype=np.float32)
            self.state = obs.copy()
        force = float(np.clip(action[0], self.min_action, self.max_action))
        reward = float(obs[0] >= self.goal_position) - 0.1 * force**2
        return obs, reward, False, truncated, info
