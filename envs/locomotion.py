"""MuJoCo's runners and swimmers. A fall costs the healthy reward, and ends nothing.

Gymnasium's v5 environments pay an unhealthy step no healthy reward (1, for Humanoid 5) and end the
episode. Here the episode goes on. As comparisons are blind to a constant, that is the paper's
arrangement: a penalty for every fallen step, which the predictor has to learn.

The reward leaves out what a clip does not show: the cost of torques, as in the paper, and Ant's and
Humanoid's cost of contact forces (Christiano et al. 2017, appendix A). For the same reason the
observations leave out contact forces and, for Humanoid, inertias and actuator forces.
"""

from __future__ import annotations

from typing import ClassVar

from gymnasium.envs.mujoco import (
    ant_v5,
    half_cheetah_v5,
    hopper_v5,
    humanoid_v5,
    swimmer_v5,
    walker2d_v5,
)

from envs.gymnasium_v5 import V5Env


class HalfCheetahEnv(V5Env, half_cheetah_v5.HalfCheetahEnv):
    """HalfCheetah-v5, which never ends early, without control cost: the forward speed, in m/s."""

    fixed: ClassVar = {"ctrl_cost_weight": 0.0}
    metadata = half_cheetah_v5.HalfCheetahEnv.metadata | {
        "instruction": "Choose the clip in which the cheetah runs forward (to the right) faster.",
        "true_reward": "forward speed",
    }


class HopperEnv(V5Env, hopper_v5.HopperEnv):
    """Hopper-v5 without termination and control cost: forward speed, and 1 while healthy."""

    fixed: ClassVar = {"terminate_when_unhealthy": False, "ctrl_cost_weight": 0.0}
    metadata = hopper_v5.HopperEnv.metadata | {
        "instruction": "Choose the clip in which the hopper moves forward (to the right) faster, "
        "upright and on its foot.",
        "true_reward": "forward speed, and 1 while up",
    }


class Walker2dEnv(V5Env, walker2d_v5.Walker2dEnv):
    """Walker2d-v5 without termination and control cost: forward speed, and 1 while healthy."""

    fixed: ClassVar = {"terminate_when_unhealthy": False, "ctrl_cost_weight": 0.0}
    metadata = walker2d_v5.Walker2dEnv.metadata | {
        "instruction": "Choose the clip in which the walker moves forward (to the right) faster, "
        "upright and on its feet.",
        "true_reward": "forward speed, and 1 while up",
    }


class SwimmerEnv(V5Env, swimmer_v5.SwimmerEnv):
    """Swimmer-v5, which never ends early, without control cost: the forward speed, in m/s."""

    fixed: ClassVar = {"ctrl_cost_weight": 0.0}
    metadata = swimmer_v5.SwimmerEnv.metadata | {
        "instruction": "Choose the clip in which the swimmer moves forward (to the right) faster.",
        "true_reward": "forward speed",
    }


class AntEnv(V5Env, ant_v5.AntEnv):
    """Ant-v5 without termination, control and contact cost: forward speed, and 1 while healthy.

    v5 calls a torso between 0.2 and 1 m high healthy, which an ant on its back has too: here the
    torso also has to be the right way up. The observation has the 27 positions and
    velocities; v5's other 78 numbers are contact forces.
    """

    fixed: ClassVar = {
        "terminate_when_unhealthy": False,
        "ctrl_cost_weight": 0.0,
        "contact_cost_weight": 0.0,
        "include_cfrc_ext_in_observation": False,
    }
    metadata = ant_v5.AntEnv.metadata | {
        "instruction": "Choose the clip in which the ant moves forward (to the right) faster, "
        "on its feet.",
        "true_reward": "forward speed, and 1 while up",
    }

    @property
    def is_healthy(self) -> bool:
        _, x, y, _ = self.data.qpos[3:7]  # the quaternion of the torso
        return bool(super().is_healthy) and x**2 + y**2 < 0.5


class HumanoidEnv(V5Env, humanoid_v5.HumanoidEnv):
    """Humanoid-v5 without termination, control and contact cost.

    The reward is 1.25 times the forward speed, and 5 while healthy: a torso between 1 and 2 m
    high. The observation has the 45 positions and velocities of v5's 348 numbers.
    """

    fixed: ClassVar = {
        "terminate_when_unhealthy": False,
        "ctrl_cost_weight": 0.0,
        "contact_cost_weight": 0.0,
        "include_cinert_in_observation": False,
        "include_cvel_in_observation": False,
        "include_qfrc_actuator_in_observation": False,
        "include_cfrc_ext_in_observation": False,
    }
    metadata = humanoid_v5.HumanoidEnv.metadata | {
        "instruction": "Choose the clip in which the humanoid moves forward (to the right) faster, "
        "upright.",
        "true_reward": "1.25 forward speed, and 5 while up",
    }
