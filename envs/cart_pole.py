"""A pole on a cart, to be kept upright and to be picked up again after a fall."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.envs.classic_control import cartpole
from numpy.typing import NDArray


class CartPoleEnv(cartpole.CartPoleEnv):
    """CartPole-v1 whose episode goes on after the fall.

    The reward of a step is 1 while the pole is within 12 degrees of upright and the cart is
    on its track, |x| < 2.4; else 0. Two stops, both inelastic, keep the state bounded and
    inside Gymnasium's observation space: buffers at the track's ends, |x| = 2.4, and a stop
    of the hinge at 24 degrees. A fallen pole rests on it, and a fast cart gets it up again.
    """

    metadata = cartpole.CartPoleEnv.metadata | {
        "instruction": "Choose the clip in which the pole is kept upright for longer, "
        "away from the ends of the track.",
        "true_reward": "1 while the pole is upright and the cart on its track",
    }

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)

    def step(
        self, action: int | np.ndarray[Any, Any]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step; action 0 (push left) or 1, observation (4,): x, x', angle, angle'."""
        self.steps_beyond_terminated = None  # or it warns that the pole has fallen before
        _, _, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        assert self.state is not None
        self.state = self._stopped(*self.state)
        x, _, angle, _ = self.state
        upright = abs(angle) < self.theta_threshold_radians and abs(x) < self.x_threshold
        return self.state.astype(np.float32), float(upright), False, truncated, info

    def _stopped(
        self, x: float, x_dot: float, angle: float, angle_dot: float
    ) -> NDArray[np.float64]:
        """The state after the stops took up what ran into them.

        A stop's impulse acts on one coordinate alone, so the momentum that belongs to the
        other one is kept: (4/3) m l^2 angle' + m l cos(angle) x' at a buffer, and
        (M + m) x' + m l cos(angle) angle' at the stop of the hinge.
        """
        x_end, angle_end = self.x_threshold, 2 * self.theta_threshold_radians
        at_buffer, at_stop = abs(x) >= x_end, abs(angle) >= angle_end
        x = math.copysign(x_end, x) if at_buffer else x
        angle = math.copysign(angle_end, angle) if at_stop else angle
        if at_buffer and x * x_dot > 0:
            angle_dot += 0.75 * math.cos(angle) * x_dot / self.length
            x_dot = 0.0
        if at_stop and angle * angle_dot > 0:
            x_dot += self.polemass_length * math.cos(angle) * angle_dot / self.total_mass
            angle_dot = 0.0
            if at_buffer and x * x_dot > 0:
                x_dot = 0.0  # both hold at once
        return np.array([x, x_dot, angle, angle_dot])
