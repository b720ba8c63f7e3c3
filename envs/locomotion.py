"""MuJoCo's planar runners. A fall costs the healthy reward, step by step, and ends nothing.

Gymnasium's v5 rewards an unhealthy step with the forward speed less the torque cost, and
without the healthy reward of 1. As comparisons are blind to a constant, that is the paper's
arrangement: a penalty of 1 for every fallen step, which the predictor has to learn.
Sources: Gymnasium's `_get_rew` of hopper_v5 and walker2d_v5; Christiano et al. 2017, appendix A.
"""

from __future__ import annotations

from typing import Any

from gymnasium.envs.mujoco import half_cheetah_v5, hopper_v5, walker2d_v5
from gymnasium.utils import EzPickle


class HalfCheetahEnv(half_cheetah_v5.HalfCheetahEnv):
    """HalfCheetah-v5, which never ends early, with an instruction."""

    metadata = half_cheetah_v5.HalfCheetahEnv.metadata | {
        "instruction": "Choose the clip in which the cheetah runs forward (to the right) faster."
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        EzPickle.__init__(self, **kwargs)
        self.metadata = type(self).metadata | self.metadata


class HopperEnv(hopper_v5.HopperEnv):
    """Hopper-v5 without termination; takes its other keyword arguments."""

    metadata = hopper_v5.HopperEnv.metadata | {
        "instruction": "Choose the clip in which the hopper moves forward (to the right) faster, "
        "upright and on its foot."
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(terminate_when_unhealthy=False, **kwargs)
        EzPickle.__init__(self, **kwargs)
        self.metadata = type(self).metadata | self.metadata


class Walker2dEnv(walker2d_v5.Walker2dEnv):
    """Walker2d-v5 without termination; takes its other keyword arguments."""

    metadata = walker2d_v5.Walker2dEnv.metadata | {
        "instruction": "Choose the clip in which the walker moves forward (to the right) faster, "
        "upright and on its feet."
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(terminate_when_unhealthy=False, **kwargs)
        EzPickle.__init__(self, **kwargs)
        self.metadata = type(self).metadata | self.metadata
