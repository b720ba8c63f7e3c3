"""An agent's weights, to reset it to."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from torch import Tensor

from prefrl.agents.relabel import RelabelledRolloutBuffer, buffer_of


class AgentSnapshot:
    """What an agent knows now: its networks, and where their optimizers stand.

    What it has met since is not forgotten: a recorder's steps, a replay buffer, how observations
    are normalised.
    """

    def __init__(self, agent: BaseAlgorithm) -> None:
        self._agent = agent
        self._parameters: Any = deepcopy(agent.get_parameters())
        self._tensors = {name: value.detach().clone() for name, value in tensors_of(agent).items()}

    def restore(self) -> None:
        """Reset the agent to it, and the scale of its returns to none."""
        put_back(self._agent, self._parameters, self._tensors)
        buffer = buffer_of(self._agent)
        if isinstance(buffer, RelabelledRolloutBuffer):
            buffer.reset_scale()


def put_back(
    agent: BaseAlgorithm, parameters: dict[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Make an agent's networks and optimizers what they were.

    Args:
      parameters: what its `get_parameters` returned.
      tensors: what `tensors_of` did.
    """
    agent.set_parameters(parameters, exact_match=True, device=agent.device)
    own = tensors_of(agent)
    for name, saved in tensors.items():
        own[name].data.copy_(saved)  # in place: an optimizer holds it


def tensors_of(agent: BaseAlgorithm) -> dict[str, Tensor]:
    """What an agent learns besides its networks: SAC's entropy coefficient."""
    return {name: recursive_getattr(agent, name) for name in agent._get_torch_save_params()[1]}
