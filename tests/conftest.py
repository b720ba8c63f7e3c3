"""What the tests share: one torch thread, small segments, a small ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import settings

from prefrl.reward.ensemble import RewardEnsemble
from prefrl.types import Array, Segment

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("prefrl", deadline=None, max_examples=50)
settings.load_profile("prefrl")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Again before each test: training sets the number of threads too."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def segment_of() -> Callable[..., Segment]:
    """Builds a segment from its observations (T, D) and, where they matter, its true rewards."""

    def build(
        obs: Array | Sequence[Any],
        true_rewards: Array | Sequence[float] | None = None,
        actions: Array | None = None,
    ) -> Segment:
        states = np.asarray(obs, dtype=np.float32)
        steps = len(states)
        rewards = np.zeros(steps) if true_rewards is None else np.asarray(true_rewards)
        taken = np.zeros((steps, 1), dtype=np.float32) if actions is None else actions
        return Segment(states, taken, rewards)

    return build


@pytest.fixture(scope="session")
def ensemble_of() -> Callable[..., RewardEnsemble]:
    """Builds an ensemble on D-vectors and actions of one number, scaled unless told otherwise."""

    def build(
        obs_size: int = 3,
        scaled: bool = True,
        seed: int = 0,
        action_space: gym.Space[Any] | None = None,
        **kwargs: Any,
    ) -> RewardEnsemble:
        observation = spaces.Box(-np.inf, np.inf, (obs_size,), np.float32)
        action = action_space or spaces.Box(-2, 2, (1,), np.float32)
        generator = torch.Generator().manual_seed(seed)
        kwargs = {"hidden": (8,)} | kwargs
        ensemble = RewardEnsemble(observation, action, generator=generator, **kwargs)
        if scaled:
            rows = torch.randn(256, ensemble.input_mean.numel(), generator=generator)
            ensemble.set_inputs(rows)
            ensemble.set_scale(rows)
        return ensemble

    return build
