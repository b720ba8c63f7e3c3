"""A policy that plays and is not trained."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm


class Player:
    """An agent at play: its `predict`, of raw observations and with noise as in training.

    SB3 keeps the noise of state-dependent exploration (gSDE) beside the weights: no checkpoint has
    it, and `predict` never draws another one. Here it is drawn as often as in training.

    Args:
      n_envs: environments that it plays in side by side.
    """

    def __init__(self, agent: BaseAlgorithm, n_envs: int) -> None:
        self._agent, self._n_envs, self._step = agent, n_envs, 0

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """The same as the agent's, of observations that nothing has normalised yet."""
        agent = self._agent
        stats = agent.get_vec_normalize_env()
        if stats is not None:
            observation = stats.normalize_obs(observation)
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
    """Draw the noise of n_envs environments by the current weights, where a policy has gSDE.

    Source: Raffin et al. 2021, arXiv 2005.05719, section 3.
    """
    if agent.use_sde:
        policy: Any = getattr(agent, "actor", None) or agent.policy
        with torch.no_grad():
            policy.reset_noise(n_envs)
