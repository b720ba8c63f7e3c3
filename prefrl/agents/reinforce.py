"""Plain policy gradient: REINFORCE with a baseline."""

from __future__ import annotations

from typing import Any

from stable_baselines3 import A2C


class REINFORCE(A2C):
    """One step up the gradient for each rollout, of whole returns less a baseline.

    It is A2C without what came after Williams: returns are not mixed with values on the way
    (gae_lambda 1), the rollout is long enough to hold them, and advantages have mean 0 and
    variance 1. As everywhere in Stable-Baselines3 a rollout that ends within an episode has the
    value of what is missing added.

    Args:
      n_steps: of each environment between two steps of the gradient.
    Source: Williams 1992, "Simple statistical gradient-following algorithms for connectionist
    reinforcement learning"; as a program, Karpathy 2016, "Deep Reinforcement Learning: Pong from
    Pixels", from which RMSProp and the standardised returns are.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: Any = 3e-3,
        n_steps: int = 256,
        gae_lambda: float = 1.0,
        normalize_advantage: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gae_lambda=gae_lambda,
            normalize_advantage=normalize_advantage,
            **kwargs,
        )
