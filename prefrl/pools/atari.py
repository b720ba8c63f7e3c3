"""EnvPool's Atari games, played as `envs.atari.AtariEnv` plays them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from prefrl.types import Array

IDS = frozenset(
    f"prefrl/{name}-v0"
    for name in (
        "Atari",
        "BeamRider",
        "Breakout",
        "Enduro",
        "Pong",
        "Qbert",
        "Seaquest",
        "SpaceInvaders",
    )
)
"""Gymnasium's ids; EnduroStayEven reads the game's memory within a step, and is not among them."""
TAKES = frozenset({"game", "penalty", "hidden"})
"""Keyword arguments of `envs.atari.AtariEnv`: all but how it draws."""
KWARGS: dict[str, Any] = {
    "stack_num": 1,
    "use_fire_reset": False,  # it presses FIRE for a frame alone, and in games that need none
    "img_height": 210,  # raw screens: the score is painted black before they are made smaller
    "img_width": 160,
}
"""For EnvPool: whole screens, each the maximum of the last two of four frames."""
SIZE = 84
STACKED = 4


def task_name(game: str) -> str:
    """EnvPool's id of a ROM, "SpaceInvaders-v5"."""
    return "".join(word.capitalize() for word in game.split("_")) + "-v5"


def is_same(env: Any) -> bool:
    """Whether EnvPool plays an AtariEnv's game alike.

    It takes all screens to have 210 rows, and all games to know an action that does nothing.
    """
    return tuple(env.ale.getScreenDims()) == (210, 160) and env.can_wait


class AtariCopies:
    """Copies of one game, side by side; `prefrl.pools.vec.Copies` says what they do.

    As in `AtariEnv` no end of a game is told, and what starts a game and goes on after a lost life
    is done for the agent within the step. A step has no render state: EnvPool does not give away
    the emulator's.

    Args:
      pool: EnvPool's, made with KWARGS.
      n: copies.
      hidden: rectangles (top, bottom, left, right) of the screen to paint black.
      penalty: points that the end of a game costs.
      resume: the action that starts a game; 0 is no action.
    """

    def __init__(
        self, pool: Any, n: int, hidden: Sequence[Sequence[int]], penalty: float, resume: int
    ) -> None:
        self._pool, self._penalty, self._resume = pool, penalty, resume
        self._hidden = [
            (slice(top, bottom), slice(left, right)) for top, bottom, left, right in hidden
        ]
        self._lives = np.zeros(n, dtype=np.int32)
        self._frames = np.zeros((n, STACKED, SIZE, SIZE), dtype=np.uint8)

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
        """(N, 210, 160), which are painted on, to (N, 84, 84)."""
        for rows, columns in self._hidden:
            screens[:, rows, columns] = 0
        return np.stack(
            [cv2.resize(s, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for s in screens]
        )
