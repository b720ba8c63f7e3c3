"""The critic after a change of the reward: refitted before the actor learns from it."""

from __future__ import annotations

import torch
from numpy.random import Generator
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn

from prefrl.types import Array

_BATCH = 512


class Critic:
    """Keeps an agent's value estimates in step with the reward.

    After a refit of the reward the critic still estimates the old one, so the first advantages
    are wrong. What SB3 has added where a time limit cut an episode is the old
    critic's estimate, and stays so in the rollout that is taught.

    Args:
      agent: of Stable-Baselines3; its critic alone is changed, and nothing that the actor uses.
      epochs: passes over the rollout.
      rng: shuffles it.
    """

    def __init__(self, agent: OnPolicyAlgorithm, epochs: int, rng: Generator) -> None:
        self._agent, self._epochs, self._rng = agent, epochs, rng
        rate = agent.policy.optimizer.param_groups[0]["lr"]
        self._optimizer = torch.optim.Adam(_own_parameters(agent), rate)

    def refit(self, obs: Array, returns: Array) -> tuple[Array, Tensor]:
        """Teach it a rollout's returns under the new reward.

        Args:
          obs: as the policy sees them, (T, E, ...).
          returns: (T, E).
        Returns:
          The values of the rollout, (T, E), and those of the observations after it, (E, 1).
        """
        device, policy = self._agent.device, self._agent.policy
        seen = torch.as_tensor(obs.reshape(-1, *obs.shape[2:]), device=device)
        targets = torch.as_tensor(returns.ravel(), dtype=torch.float32, device=device)
        for _ in range(self._epochs):
            order = torch.as_tensor(self._rng.permutation(len(targets)), device=device)
            for index in torch.split(order, _BATCH):
                errors = policy.predict_values(seen[index]).flatten() - targets[index]
                self._optimizer.zero_grad()
                errors.square().mean().backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
        with torch.no_grad():
            values = torch.cat([policy.predict_values(part) for part in torch.split(seen, _BATCH)])
            after = torch.as_tensor(self._agent._last_obs, device=device)
            return values.reshape(returns.shape).numpy(force=True), policy.predict_values(after)


def _own_parameters(agent: OnPolicyAlgorithm) -> list[nn.Parameter]:
    """Those that nothing but the value depends on, where actor and critic share layers too."""
    policy = agent.policy
    parts = [policy.value_net, getattr(policy.mlp_extractor, "value_net", nn.Identity())]
    return [parameter for part in parts for parameter in part.parameters()]
