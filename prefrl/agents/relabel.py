"""SB3 buffers whose rewards come from the ensemble.

On-policy: the whole rollout is scored in one batch, with one ensemble, before advantages
are computed. Off-policy: transitions are scored when they are sampled, so no stored reward
is ever stale (PEBBLE, Lee et al. 2021, arXiv 2106.05091, section 4.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.random import Generator
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from torch import Tensor

from prefrl.agents.critic import Critic
from prefrl.recorder import Recorder
from prefrl.types import Array, PrefrlError


def buffer_of(agent: BaseAlgorithm) -> Any:
    """The rollout or replay buffer of an agent; None where it has neither."""
    return getattr(agent, "rollout_buffer", None) or getattr(agent, "replay_buffer", None)


class Reward(Protocol):
    """What a buffer scores with.

    Attributes:
      guessing: it is not worth following.
      updates: counts its changes.
    """

    guessing: Any
    updates: int

    def predict(self, obs: Array, actions: Array) -> Array:
        """Rewards (...), float32, of raw observations and actions (..., *shape)."""


class ReturnScale:
    """Running standard deviation of the discounted return, as VecNormalize keeps it.

    It outlives changes of the ensemble: members are normalised on a fixed reference batch,
    so rewards before and after a fit are in the same units.

    Args:
      n_envs: environments side by side.
      gamma: discount.
    """

    def __init__(self, n_envs: int, gamma: float) -> None:
        self.rms = RunningMeanStd(shape=())
        self._returns = np.zeros(n_envs)
        self._gamma = gamma

    def scaled(self, rewards: Array, dones: Array) -> Array:
        """Take in a rollout's rewards and scale them.

        Args:
          rewards: (T, E).
          dones: whether each step ended an episode, (T, E).
        Returns:
          (T, E), clipped to [-10, 10] like VecNormalize's.
        """
        returns = discounted_returns(rewards, dones, self._gamma, self._returns)
        self.rms.update(returns.ravel())
        self._returns = returns[-1] * ~dones[-1]
        scaled: Array = np.clip(rewards / np.sqrt(self.rms.var + 1e-8), -10, 10)
        return scaled


def discounted_returns(rewards: Array, dones: Array, gamma: float, start: Array) -> Array:
    """Discounted sums of past rewards, starting from 0 after each episode's end.

    Args:
      rewards, dones: (T, E).
      start: the sums before the first step, (E,).
    Returns:
      (T, E).
    """
    returns = np.empty(rewards.shape)
    running = start
    for t in range(len(rewards)):
        running = gamma * running + rewards[t]
        returns[t] = running
        running = running * ~dones[t]
    return returns


class RelabelledRolloutBuffer(RolloutBuffer):
    """Rollout buffer for PPO, A2C and TRPO that scores itself.

    The recorder hands SB3 zeros, so what the buffer holds is SB3's time-limit bootstrap
    alone; the predicted rewards are added to it. While the ensemble guesses, no action of
    the rollout counts as better or worse than another; an entropy bonus goes on by itself.

    Args:
      recorder: the wrapper that the agent's steps went through.
      reward: the ensemble.
      normalize_return: divide rewards by the spread of the discounted return.
    """

    def __init__(
        self,
        *args: Any,
        recorder: Recorder,
        reward: Reward,
        normalize_return: bool = True,
        **kwargs: Any,
    ) -> None:
        self.recorder, self.reward = recorder, reward
        self.critic: Critic | None = None
        """Refitted whenever the reward has changed; None: it is not."""
        self._scored_by = -1
        super().__init__(*args, **kwargs)
        self.predicted_reward = 0.0
        """Mean predicted reward of a step of the last rollout, before scaling."""
        self.scale = ReturnScale(self.n_envs, self.gamma) if normalize_return else None

    def reset_scale(self) -> None:
        """Forget the spread of the returns so far."""
        if self.scale is not None:
            self.scale = ReturnScale(self.n_envs, self.gamma)

    @contextmanager
    def scored_by(self, reward: Reward) -> Iterator[None]:
        """Score with another reward for a while."""
        own, self.reward = self.reward, reward
        try:
            yield
        finally:
            self.reward = own

    def compute_returns_and_advantage(self, last_values: Tensor, dones: Array) -> None:
        if self.reward.guessing:
            self.predicted_reward = 0.0
            self.advantages[:], self.returns = 0, self.values.copy()
            return
        rewards = self.reward.predict(*self.recorder.rollout(self.buffer_size))
        self.predicted_reward = float(rewards.mean())
        if self.scale is not None:
            rewards = self.scale.scaled(rewards, self.recorder.dones(self.buffer_size))
        self.rewards += rewards
        if self.critic is not None and self.reward.updates != self._scored_by:
            super().compute_returns_and_advantage(last_values, dones)
            self.values, last_values = self.critic.refit(self.observations, self.returns)
        self._scored_by = self.reward.updates
        super().compute_returns_and_advantage(last_values, dones)


def keep_in_step(agent: BaseAlgorithm, epochs: int, rng: Generator) -> None:
    """Have an agent's critic follow the reward, see `Critic`.

    Raises:
      PrefrlError: the agent keeps no rollouts.
    """
    buffer = buffer_of(agent)
    if not isinstance(agent, OnPolicyAlgorithm) or not isinstance(buffer, RelabelledRolloutBuffer):
        raise PrefrlError(
            f"agent.critic_epochs = {epochs}: {type(agent).__name__} learns from a replay buffer, "
            "which is scored each time it is sampled; leave it at 0"
        )
    buffer.critic = Critic(agent, epochs, rng)


class _ScoredOnRead:
    """Replaces the rewards of a replay buffer: reading an index scores it."""

    def __init__(self, buffer: ReplayBuffer, reward: Reward) -> None:
        self._buffer, self._reward = buffer, reward
        self.last_mean = 0.0

    def __setitem__(self, index: Any, rewards: Array) -> None:
        """Forget the recorder's zeros."""

    def __getitem__(self, index: Any) -> Array:
        actions = self._buffer.actions[index]
        space = self._buffer.action_space
        if isinstance(space, spaces.Box):  # SB3 stores them flat, and scaled to [-1, 1]
            actions = actions.reshape(*actions.shape[:-1], *space.shape)
            actions = space.low + 0.5 * (actions + 1) * (space.high - space.low)
        elif isinstance(space, spaces.Discrete):
            actions = actions[..., 0]
        obs = self._buffer.observations[index]
        if isinstance(self._buffer.observation_space, spaces.Discrete):
            obs = obs[..., 0]
        rewards = self._reward.predict(obs, actions)
        self.last_mean = float(rewards.mean())
        return rewards.astype(np.float32)


class RelabelledReplayBuffer(ReplayBuffer):
    """Replay buffer for SAC that scores transitions when they are sampled.

    Args:
      reward: the ensemble.
    """

    def __init__(self, *args: Any, reward: Reward, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reward = reward
        self._scored = _ScoredOnRead(self, reward)
        self.rewards = self._scored  # type: ignore[assignment]

    @property
    def predicted_reward(self) -> float:
        """Mean predicted reward of a step of the last batch."""
        return self._scored.last_mean
