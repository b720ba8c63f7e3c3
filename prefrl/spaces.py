"""Which spaces a reward can be learned on, and how their elements are put before a net."""

from __future__ import annotations

from math import prod
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
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
    many_axes = isinstance(observation, spaces.Box) and len(observation.shape) >= 3
    if many_axes and not is_image_space(observation):
        raise PrefrlError(
            f"{env_id} has observations of shape {observation.shape} and {observation.dtype}: an "
            "image is (channels, height, width) of uint8 from 0 to 255; wrap the environment to "
            "make it one, or to flatten it"
        )
    for kind, space in (("observations", observation), ("actions", action)):
        if not isinstance(space, spaces.Box | spaces.Discrete):
            raise PrefrlError(
                f"{env_id} has {type(space).__name__} {kind}: Box and Discrete are supported; "
                "wrap the environment to use one of them"
            )
        if isinstance(space, spaces.Discrete) and space.start != 0:
            raise PrefrlError(
                f"{env_id} has {kind} from {space.start} on, and SB3's agents count from 0: wrap "
                "the environment to shift them"
            )
        if space.shape == () and isinstance(space, spaces.Box):
            raise PrefrlError(
                f"{env_id} has {kind} without an axis: wrap the environment to give them the shape "
                "(1,)"
            )
    if isinstance(action, spaces.Box):
        _check_continuous(env_id, action)


def _check_continuous(env_id: str, action: spaces.Box) -> None:
    """Refuse actions that a Gaussian policy's cannot stand for, as they are executed."""
    if action.dtype is None or action.dtype.kind != "f":
        raise PrefrlError(
            f"{env_id} has Box actions of {action.dtype}, and agents act with fractions: wrap the "
            "environment to take floats, or use Discrete"
        )
    if not action.is_bounded("both"):
        raise PrefrlError(
            f"{env_id} has Box actions without bounds: give its action space a finite low and high"
        )


def is_channels_last(space: gym.Space[Any]) -> bool:
    """Whether it holds images as cameras give them, (H, W, C)."""
    return (
        isinstance(space, spaces.Box)
        and is_image_space(space)
        and not is_image_space_channels_first(space)
    )


def net_shape(space: gym.Space[Any]) -> tuple[int, ...]:
    """Shape of what a net is given for an observation: (C, H, W) of an image, else (D,)."""
    if is_image_space(space):
        assert space.shape is not None
        return tuple(space.shape)
    return (vector_size(space),)


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
        return functional.one_hot(values.long(), int(space.n)).float()
    return flat(space, values).float()


def flat(space: gym.Space[Any], values: Tensor) -> Tensor:
    """Elements of a Box, (..., *space.shape), as rows of the same type, (..., D)."""
    assert space.shape is not None
    lead = values.shape[: values.dim() - len(space.shape)]
    return values.reshape(*lead, prod(space.shape))
