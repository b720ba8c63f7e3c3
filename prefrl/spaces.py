"""Which spaces a reward can be learned on, and how their elements become vectors."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from prefrl.types import PrefrlError


def check_spaces(env_id: str, observation: gym.Space[Any], action: gym.Space[Any]) -> None:
    """Refuse, by name and before training, spaces that cannot be learned on.

    Raises:
      PrefrlError: names the space and the remedy.
    """
    if isinstance(observation, spaces.Dict | spaces.Tuple):
        raise PrefrlError(
            f"{env_id} has {type(observation).__name__} observations: wrap it in "
            "gymnasium.wrappers.FlattenObservation to train on them"
        )
    if isinstance(observation, spaces.Box) and len(observation.shape) >= 3:
        raise PrefrlError(
            f"{env_id} has image observations {observation.shape}: rewards are learned on "
            "vectors; choose or wrap an environment with vector observations"
        )
    for kind, space in (("observations", observation), ("actions", action)):
        if not isinstance(space, spaces.Box | spaces.Discrete):
            raise PrefrlError(
                f"{env_id} has {type(space).__name__} {kind}: Box and Discrete are supported; "
                "wrap the environment to use one of them"
            )


def vector_size(space: gym.Space[Any]) -> int:
    """Length of the vector that stands for one element of the space."""
    return int(spaces.utils.flatdim(space))


def to_vectors(space: gym.Space[Any], values: Tensor) -> Tensor:
    """Elements of a space as float vectors: Box flattened, Discrete one-hot.

    Args:
      values: (..., *space.shape).
    Returns:
      (..., vector_size(space)).
    """
    if isinstance(space, spaces.Discrete):
        return functional.one_hot(values.long() - int(space.start), int(space.n)).float()
    assert space.shape is not None
    lead = values.shape[: values.dim() - len(space.shape)]
    return values.float().reshape(*lead, vector_size(space))
