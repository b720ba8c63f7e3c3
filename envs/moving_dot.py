"""A white dot that has to be brought to the middle: the smallest task that is seen in pixels."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

SIZE = 43
"""Pixels of a side. The reward model's stack of kernels 7, 5, 3, 3 with strides 3, 2, 1, 1 needs
43, SB3's NatureCNN 36."""
DOT = 3
STEP = 2
FARTHEST = SIZE - DOT
MIDDLE = FARTHEST // 2
SCALE = 5
"""Pixels that `render` draws for one."""

# Row and column by action: stay, left, right, up, down.
MOVES = STEP * np.array([(0, 0), (0, -1), (0, 1), (-1, 0), (1, 0)])


class MovingDotEnv(gym.Env[NDArray[np.uint8], np.int64]):
    """A dot of 3x3 pixels that starts anywhere and moves by two pixels a step.

    Observation (1, 43, 43), uint8: 255 where the dot is, else 0. Actions: stay, left, right, up,
    down; the picture's edge stops it. The reward is 0 in the middle and falls evenly with the
    distance, to -1 in a corner.

    Args:
      render_mode: "rgb_array" or None.
    """

    metadata = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": ["rgb_array"],
        "render_fps": 15,
        "instruction": "Choose the clip in which the dot is closer to the middle.",
        "true_reward": "minus the distance to the middle",
    }

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (1, SIZE, SIZE), np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))
        self._corner = np.zeros(2, dtype=np.int64)  # the dot's upper left pixel: row, column

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._corner = STEP * self.np_random.integers(0, FARTHEST // STEP + 1, size=2)
        return self._picture(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        self._corner = np.clip(self._corner + MOVES[action], 0, FARTHEST)
        distance = float(np.hypot(*(self._corner - MIDDLE)))
        return self._picture(), -distance / float(np.hypot(MIDDLE, MIDDLE)), False, False, {}

    def render(self) -> NDArray[np.uint8] | None:
        """The same picture five times larger, (215, 215, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        large = self._picture()[0].repeat(SCALE, axis=0).repeat(SCALE, axis=1)
        return np.repeat(large[..., None], 3, axis=2)

    def render_state(self) -> NDArray[np.int64]:
        """Row and column of the dot's upper left pixel, (2,)."""
        return self._corner.copy()

    def set_render_state(self, state: NDArray[np.int64]) -> None:
        """Put the dot where `render_state` found it."""
        self._corner = np.clip(state, 0, FARTHEST)

    def _picture(self) -> NDArray[np.uint8]:
        picture = np.zeros((1, SIZE, SIZE), dtype=np.uint8)
        row, column = self._corner
        picture[0, row : row + DOT, column : column + DOT] = 255
        return picture
