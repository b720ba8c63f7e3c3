"""A hopper that has to do backflips: behaviour that is hard to write a reward for."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco import hopper_v5
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from envs.contacts import Contacts
from envs.flips import FlightTurns, FlipCounter, turned
from envs.locomotion import HopperEnv

LANDED = 2.0
"""Reward of a landed flip, on top of the turn itself."""
FALLEN = 0.04
"""Cost of a second in which anything but the foot touches the floor."""


class HopperBackflipEnv(HopperEnv):
    """Hopper-v5 that has to turn backward in the air and land on its foot, again and again.

    The true reward, for simulated labelers and for evaluation: the share of a backward turn that a
    step of a flight makes (`turned`), plus LANDED for each flip that it completes (see
    `FlipCounter`), less FALLEN for the time that anything but the foot is on the floor. So

    - rolling and spinning on the floor, and bouncing off the torso or the legs, earn nothing and
      cost FALLEN;
    - rocking earns nothing: `FlightTurns` takes back what the floor turns forward again;
    - a flip that crashes keeps its part of the turn, or a labeler could not tell it from lying
      still; the landed one earns more than three times as much;
    - a fall costs little beside a turn, or no agent would try.

    The observation is the hopper's height, sine and cosine of its torso's angle (as an angle it
    would also count the turns), three joint angles, six velocities, and whether its foot and
    whether anything else is on the floor (0 or 1), which a clip shows too.

    Args:
      reward: "landed", or "handwritten" for OpenAI's own backflip reward, which took two hours to
        write: see `handwritten`.
    Attributes:
      flips: landed since the last reset, whatever the reward.
    """

    metadata = HopperEnv.metadata | {
        "instruction": "Choose the clip in which the hopper comes closer to a backflip: a full "
        "backward turn in the air, landed on its foot.",
        "true_reward": "backward turns in the air, 2 for each landed, less time on the floor",
    }

    def __init__(self, reward: str = "landed", **kwargs: Any) -> None:
        if reward not in ("landed", "handwritten"):
            raise ValueError(f"reward = {reward!r} must be 'landed' or 'handwritten'")
        super().__init__(**kwargs)
        EzPickle.__init__(self, reward=reward, **kwargs)
        self.observation_space = spaces.Box(-np.inf, np.inf, (14,), np.float64)
        self._reward = reward
        self._floor = Contacts(self.model, "floor")
        self._forget()

    def _forget(self) -> None:
        self._counter = FlipCounter(self.dt, angle=float(link_angles(self.data.qpos).mean()))
        self._turns = FlightTurns()

    @property
    def flips(self) -> int:
        return self._counter.flips

    def step(  # type: ignore[override]
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step; action (3,), observation (14,)."""
        obs, _, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        reward = self._judge(foot=bool(obs[-2]), body=bool(obs[-1]))
        if self._reward == "handwritten":
            reward = handwritten(hopper_v5.HopperEnv._get_obs(self), action)  # type: ignore[no-untyped-call]
        return obs, reward, False, truncated, info | {"flips": self.flips}

    def _judge(self, foot: bool, body: bool) -> float:
        before = self._counter.angle
        landed = self._counter.update(link_angles(self.data.qpos), foot=foot, body=body)
        turn = turned(self._counter.angle) - turned(before)
        paid = self._turns.update(turn, self._counter.flying, bool(landed))
        return paid + LANDED * landed - FALLEN * self.dt * body

    def reset_model(self) -> NDArray[np.float64]:
        obs: NDArray[np.float64] = super().reset_model()  # type: ignore[no-untyped-call]
        self._forget()
        return obs

    def _get_obs(self) -> NDArray[np.float64]:
        _, height, angle, *joints = self.data.qpos
        posture = [height, np.sin(angle), np.cos(angle), *joints]
        on_floor = self._floor.now(self.data)
        contact = ["foot_geom" in on_floor, bool(on_floor - {"foot_geom"})]
        return np.concatenate([posture, self.data.qvel, contact])


def link_angles(qpos: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles of torso, thigh, leg and foot against the vertical, (4,); backward is negative.

    Args:
      qpos: the hopper's, (6,). Its three joints turn about the opposite axis of its torso's.
    """
    angles: NDArray[np.float64] = np.cumsum(qpos[2:] * [1, -1, -1, -1])
    return angles


def handwritten(obs: NDArray[np.float64], action: NDArray[np.float32]) -> float:
    """OpenAI's hand-written reward of a backflip, to compare the learned one with.

    Args:
      obs: Hopper-v5's observation of the state that the step led to, (11,): height, torso angle,
        joint angles, then the velocities of x, z, torso and joints.
      action: (3,).
    Source: the article "Learning from human preferences" that OpenAI published with Christiano et
      al. 2017.
    """
    backroll, height, backslide = -obs[7], obs[0], -obs[5]
    vel_act = action @ obs[8:11]
    return float(backroll * (1 + 0.3 * height + 0.1 * vel_act + 0.05 * backslide))
