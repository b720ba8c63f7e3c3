"""State-dependent exploration (gSDE) of a policy that plays and is not trained.

SB3 keeps the matrix of its noise beside the weights: no checkpoint has it, and `predict` never
draws another one.

Source: Raffin et al. 2021, arXiv 2005.05719, section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm


class Player:
    """An agent at play: its `predict`, with noise that is drawn anew as often as in training.

    Args:
      n_envs: environments that it plays in side by side.
    """

    def __init__(self, agent: BaseAlgorithm, n_envs: int) -> None:
        self._agent, self._n_envs, self._step = agent, n_envs, 0

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """The same as the agent's."""
        agent = self._agent
        if agent.use_sde and not deterministic:
            often = agent.sde_sample_freq
            every = often if often > 0 else getattr(agent, "n_steps", 1)
            if self._step % every == 0:
                renew_noise(agent, self._n_envs)
        self._step += 1
        return agent.predict(
            observation, state=state, episode_start=episode_start, deterministic=deterministic
        )


def renew_noise(agent: BaseAlgorithm, n_envs: int) -> None:
    """Draw the noise of so many environments by today's weights; nothing where there is none."""
    if agent.use_sde:
        policy: Any = getattr(agent, "actor", None) or agent.policy
        with torch.no_grad():
            policy.reset_noise(n_envs)
