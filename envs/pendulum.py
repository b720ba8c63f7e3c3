"""A pendulum to swing up and hold."""

from __future__ import annotations

from gymnasium.envs.classic_control import pendulum


class PendulumEnv(pendulum.PendulumEnv):
    """Gymnasium's Pendulum-v1, which never ends early, with an instruction."""

    metadata = pendulum.PendulumEnv.metadata | {
        "instruction": "Choose the clip in which the pendulum is closer to standing still, "
        "upright.",
        "true_reward": "minus angle, speed and torque squared",
    }
