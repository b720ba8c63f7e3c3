"""An agent as it was, to begin anew from."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.agents.relabel import RelabelledRolloutBuffer, ReturnScale, buffer_of
from prefrl.checkpoints import put_back, tensors_of


class Beginning:
    """What an agent knows now: its networks, and where their optimizers stand.

    What it has met since is not forgotten: a recorder's steps, a replay buffer, how observations
    are normalised.
    """

    def __init__(self, agent: BaseAlgorithm) -> None:
        self._agent = agent
        self._parameters: Any = deepcopy(agent.get_parameters())
        self._tensors = {name: value.detach().clone() for name, value in tensors_of(agent).items()}

    def restore(self) -> None:
        """Make the agent what it was; the scale of its returns begins anew too."""
        put_back(self._agent, self._parameters, self._tensors)
        buffer = buffer_of(self._agent)
        if isinstance(buffer, RelabelledRolloutBuffer) and buffer.scale is not None:
            buffer.scale = ReturnScale(buffer.n_envs, buffer.gamma)
