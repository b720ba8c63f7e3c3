"""EnvPool's Atari games, played as `envs.atari.AtariEnv` plays them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from gymnasium.envs.registration import registry

from prefrl.types import Array

TAKES = frozenset({"game", "penalty", "hidden"})
"""Keyword arguments of `envs.atari.AtariEnv`, all but `render_mode`."""
KWARGS: dict[str, Any] = {
    "stack_num": 1,
    "use_fire_reset": False,  # it presses FIRE for a frame alone, and in games that need none
    "img_height": 210,  # raw screens: the score is painted black before they are made smaller
    "img_width": 160,
}
"""For EnvPool: whole screens, each the maximum of the last two of four frames."""


def is_game(env_id: str) -> bool:
    """Whether an id of Gymnasium's registry is an AtariEnv.

    EnduroStayEven is not: it reads the game's memory within a step.
    """
    return env_id in registry and registry[env_id].entry_point == "envs.atari:AtariEnv"


def task_name(game: str) -> str:
    """EnvPool's id of a ROM, "SpaceInvaders-v5"."""
    return "".join(word.capitalize() for word in game.split("_")) + "-v5"


def is_same(env: Any) -> bool:
    """Whether EnvPool plays an AtariEnv's game in the same way.

    EnvPool expects every screen to have 210 rows and every game an action that does nothing.
    """
    return tuple(env.ale.getScreenDims()) == (210, 160) and env.can_wait


class AtariCopies:
    """Copies of one game, side by side (see `prefrl.pools.vec.Copies`).

    As in `AtariEnv` the end of a game is not reported, and the action that starts a game, or
    resumes it after a lost life, is taken for the agent within the step. A step has no render
    state, because EnvPool does not expose the emulator's.

    Args:
      pool: EnvPool's, made with KWARGS.
      n: copies.
      shape: of an observation, (stacked frames, height, width).
      hidden: rectangles (top, bottom, left, right) of the screen to paint black.
      penalty: points that the end of a game costs.
      resume: the action that starts a game; 0 is no action.
    """

    def __init__(
        self,
        pool: Any,
        n: int,
        shape: Sequence[int],
        hidden: Sequence[Sequence[int]],
        penalty: float,
        resume: int,
    ) -> None:
        self._pool, self._penalty, self._resume = pool, penalty, resume
        self._hidden = [
            (slice(top, bottom), slice(left, right)) for top, bottom, left, right in hidden
        ]
        self._lives = np.zeros(n, dtype=np.int32)
        self._frames = np.zeros((n, *shape), dtype=np.uint8)

    def reset(self, which: Array) -> Array:
        frames = self._shown(self._begin(which))
        self._frames[which] = frames[:, None]
        return self._frames[which]

    def step(self, actions: Array) -> tuple[Array, Array, Array, None]:
        lives = self._lives.copy()
        screens, rewards, over = self._act(np.arange(len(lives)), actions)
        if self._resume:
            waiting = np.flatnonzero(~over & (self._lives < lives))
            if len(waiting):
                screens[waiting], more, over[waiting] = self._resumed(waiting)
                rewards[waiting] += more
        ended = np.flatnonzero(over)
        if len(ended):
            rewards[ended] -= self._penalty
            screens[ended] = self._begin(ended)
        self._frames[:, :-1] = self._frames[:, 1:]
        self._frames[:, -1] = self._shown(screens)
        return self._frames.copy(), rewards, np.zeros_like(over), None

    def _begin(self, which: Array) -> Array:
        """New games, after 1 to 30 frames without action; their first screens, (N, 210, 160)."""
        self._pool.reset(which)
        return self._resumed(which)[0]

    def _resumed(self, which: Array) -> tuple[Array, Array, Array]:
        return self._act(which, np.full(len(which), self._resume))

    def _act(self, which: Array, actions: Array) -> tuple[Array, Array, Array]:
        """A step of some copies: screens (N, 210, 160), points and whether games are over (N,)."""
        screens, points, over, _, info = self._pool.step(actions, which)
        self._lives[which] = info["lives"]
        return screens[:, 0].copy(), points.copy(), over.copy()

    def _shown(self, screens: Array) -> Array:
        """Frames (N, height, width) of screens (N, 210, 160), painting these in place."""
        for rows, columns in self._hidden:
            screens[:, rows, columns] = 0
        size = self._frames.shape[:1:-1]  # (width, height)
        return np.stack([cv2.resize(s, size, interpolation=cv2.INTER_AREA) for s in screens])
