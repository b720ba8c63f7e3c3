"""Enduro, driven alongside other cars instead of past them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.atari import FRAME_SKIP, AtariEnv

# Addresses in the console's memory, found by experiment: the phase changes by 24 less the
# speed in nine frames of ten and rests in the others, and the cars that leave or enter the
# nearest slot are those that the game counts: in 54,000 frames of random driving each one that
# changed its count, and no other.
SPEED, PHASE = 22, 25
SLOTS = slice(27, 34)
"""Seven stretches of road, nearest first; 0 where there is no car."""
STRETCH = 256
"""Length of one, in units of the phase."""
TRAFFIC_PACE = 24
"""Speed of every other car; ours is from 6 to 120."""
MILE = 5120
"""Speed times frames in which the panel's counter goes up by one."""
LEVEL = 208
"""Where a car in the nearest slots is level with ours: 256 * slot + phase."""
ALONGSIDE = 128
"""Gap, in units of the phase, from which a car is no longer alongside: two car lengths ahead."""


class EnduroStayEvenEnv(AtariEnv):
    """Enduro as in `AtariEnv`, with the true reward of driving alongside other cars.

    Christiano et al. 2017, section 3.2, trained this behaviour on people's comparisons and give
    no reward for it; this one is ours, for simulated labelers and for evaluation. A step earns

        evenness * (1 + alongside) / 2 - cars overtaken - cars that overtook

    with evenness = max(0, 1 - |speed - 24| / 24), as all other cars drive at 24, and alongside
    = max(0, 1 - gap / 128) for the car that is nearest to being level, both averaged over the
    step's four frames. So keeping pace on an empty road earns 0.5 a step, level with a car 1;
    crawling at the lowest speed earns 0.125 less 1 for every car that goes by, and beyond twice
    the pace only the cost of the cars overtaken is left.

    Cars are also counted where the game itself stops counting: with 200 still to pass (it does
    not count those that go by) and with none left. Driving like this misses the day's quota: the
    game ends after 13,300 frames and the next one starts, at no cost. `score` and `game_scores` are
    sums of this reward.

    Args:
      render_mode: "rgb_array" or None.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__("enduro", penalty=0, render_mode=render_mode)
        self.metadata = self.metadata | {
            "instruction": "Choose the clip in which the car stays level with another car for "
            "longer, and neither overtakes nor is overtaken.",
            "true_reward": "keeping pace with a car, less cars overtaken or overtaking",
        }

    def _console(self, game: str) -> gym.Env[Any, Any]:
        self.traffic = Traffic(super()._console(game))
        return self.traffic

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        self.traffic.clear()
        return super().reset(seed=seed, options=options)


class Traffic(gym.Wrapper[Any, Any, Any, Any]):
    """Counts and rewards what the other cars do, frame by frame; the game's score is dropped.

    Attributes:
      frames: since `clear`, as everything below.
      passed: cars overtaken.
      passed_by: cars that overtook.
      distance: driven, in miles as Enduro's panel shows them.
      alongside: sum over frames of the closeness to a car, in [0, 1]; see EnduroStayEvenEnv.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._memory = self._read()
        self.clear()

    def clear(self) -> None:
        """Start counting from zero."""
        self.frames = self.passed = self.passed_by = 0
        self.distance = self.alongside = 0.0

    def per_1000_frames(self) -> dict[str, float]:
        """passed, passed_by and distance of 1,000 frames on average; alongside, in [0, 1000]."""
        names = ("passed", "passed_by", "distance", "alongside")
        return {name: 1000 * getattr(self, name) / max(self.frames, 1) for name in names}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(seed=seed, options=options)
        self._memory = self._read()
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = super().step(action)
        before, self._memory = self._memory, self._read()
        passed, passed_by = _overtaken(before, self._memory)
        speed, alongside = int(self._memory[SPEED]), _alongside(self._memory)
        self.frames += 1
        self.passed += passed
        self.passed_by += passed_by
        self.distance += speed / MILE
        self.alongside += alongside
        evenness = max(0.0, 1 - abs(speed - TRAFFIC_PACE) / TRAFFIC_PACE)
        reward = evenness * (1 + alongside) / 2 / FRAME_SKIP - passed - passed_by
        return obs, reward, terminated, truncated, info

    def _read(self) -> NDArray[np.uint8]:
        memory: NDArray[np.uint8] = self.env.unwrapped.ale.getRAM()  # type: ignore[attr-defined]
        return memory


def _overtaken(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> tuple[bool, bool]:
    """Whether a car left the nearest slot to the back, and whether one came in from there.

    The slots move on when the phase wraps round, which no speed does within half a stretch.
    """
    change = int(now[PHASE]) - int(before[PHASE])
    nearest = SLOTS.start
    return (
        change > STRETCH // 2 and bool(before[nearest]),
        change < -STRETCH // 2 and bool(now[nearest]),
    )


def _alongside(memory: NDArray[np.uint8]) -> float:
    """1 with a car level with ours, falling to 0 at a gap of ALONGSIDE."""
    places = STRETCH * np.flatnonzero(memory[SLOTS]) + int(memory[PHASE])
    gap = float(np.abs(places - LEVEL).min(initial=ALONGSIDE))
    return 1 - gap / ALONGSIDE
