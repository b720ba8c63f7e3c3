"""A two-jointed arm that reaches for a target."""

from __future__ import annotations

from typing import ClassVar

from gymnasium.envs.mujoco import reacher_v5

from envs.gymnasium_v5 import V5Env


class ReacherEnv(V5Env, reacher_v5.ReacherEnv):
    """Reacher-v5, which never ends early: minus the fingertip's distance to the target, in m.

    v5's penalty for torques is left out, as nobody can see them (Christiano et al. 2017,
    appendix A).
    """

    fixed: ClassVar = {"reward_control_weight": 0.0}
    metadata = reacher_v5.ReacherEnv.metadata | {
        "instruction": "Choose the clip in which the arm's tip is closer to the red target.",
        "true_reward": "minus the distance to the target",
    }
