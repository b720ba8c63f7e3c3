"""Exploration before the first answers: a reward for states that are far from all others."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.random import Generator
from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.agents.relabel import RelabelledRolloutBuffer, buffer_of
from prefrl.agents.snapshot import AgentSnapshot
from prefrl.agents.spec import is_finite
from prefrl.spaces import to_vectors
from prefrl.types import Array, PrefrlError

NEIGHBOUR = 5
MEMORY = 8192
"""States among which the nearest ones are looked for; at most half of them are of one rollout."""


class StateEntropy:
    """Rewards a step by the distance of its state to the k-th nearest that was met before.

    It replaces the ensemble in a buffer that scores itself. The mean logarithm of
    these distances is, up to a constant, the entropy of the states; one is added to each, so that
    states on top of each other cost no infinity. Each number of a state counts by its spread.

    Args:
      space: of observations, vectors.
      rng: chooses what is remembered.
    Source: Lee et al. 2021 (PEBBLE), arXiv 2106.05091, section 4.1.
    """

    guessing, updates = False, 0

    def __init__(self, space: gym.Space[Any], rng: Generator) -> None:
        self._space, self._rng = space, rng
        self._met: Array = np.empty((0, 0), np.float32)

    def predict(self, obs: Array, actions: Array) -> Array:
        """Raw observations (..., *shape) to rewards (...); the actions are not looked at."""
        states = to_vectors(self._space, torch.as_tensor(obs)).numpy(force=True)
        rows = states.reshape(-1, states.shape[-1])
        self._remember(rows)
        spread = self._met.std(0)
        scale = torch.as_tensor(np.where(spread > 1e-6, spread, 1), dtype=torch.float32)
        met = torch.as_tensor(self._met) / scale
        k = min(NEIGHBOUR + 1, len(met))  # a state that is remembered is nearest to itself
        parts = torch.split(torch.as_tensor(rows) / scale, 1024)
        near = [torch.cdist(part, met).kthvalue(k, dim=1).values for part in parts]
        rewards: Array = torch.log1p(torch.cat(near)).numpy(force=True)
        return rewards.reshape(states.shape[:-1])

    def _remember(self, rows: Array) -> None:
        """As many of the new states as make room among the old ones, which go at random."""
        known = self._met.reshape(-1, rows.shape[1])
        new = rows[self._rng.permutation(len(rows))[: MEMORY // 2]]
        kept = known[self._rng.permutation(len(known))[: MEMORY - len(new)]]
        self._met = np.concatenate([kept, new]).astype(np.float32)


def rollouts_of(agent: BaseAlgorithm, steps: int) -> RelabelledRolloutBuffer:
    """The buffer of an agent that can explore.

    Raises:
      PrefrlError: the agent keeps no rollouts.
    """
    buffer = buffer_of(agent)
    if not isinstance(buffer, RelabelledRolloutBuffer):
        raise PrefrlError(
            f"agent.explore_steps = {steps}: {type(agent).__name__} keeps no rollouts; leave it "
            "at 0, or train ppo, a2c, trpo or reinforce"
        )
    return buffer


def explore(agent: BaseAlgorithm, steps: int, rng: Generator) -> None:
    """Let an agent go where it has not been, before it is told what is liked.

    What it leaves are its steps, in the recorder and in how observations are normalised. Policy,
    optimizer and the scale of returns are as before, also where it is stopped on the way.
    PEBBLE's explorer learns on; PPO from there is slow on Hopper, on the true reward too
    (runs/LOG.md).

    Raises:
      PrefrlError: the agent keeps no rollouts.
    """
    buffer, snapshot = rollouts_of(agent, steps), AgentSnapshot(agent)
    try:
        with buffer.scored_by(StateEntropy(buffer.recorder.observation_space, rng)):
            agent.learn(steps, reset_num_timesteps=False)
    finally:  # a run that is stopped here keeps no explorer in its checkpoint
        if is_finite(agent):  # weights that have diverged stay, to be found out
            snapshot.restore()
