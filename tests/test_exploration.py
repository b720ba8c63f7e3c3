"""The reward for states that are far from all others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.random import default_rng
from stable_baselines3 import PPO, SAC

import prefrl
from prefrl.exploration import MEMORY, NEIGHBOUR, StateEntropy, explore
from prefrl.types import PrefrlError

SPACE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = np.zeros(0)


def test_a_state_is_paid_by_its_distance_to_the_kth_nearest() -> None:
    """A line of states one apart: in units of their spread, the k-th is k/2 steps away inside."""
    line = np.stack([np.arange(101.0), np.zeros(101)], axis=1).astype(np.float32)
    rewards = StateEntropy(SPACE, default_rng(0)).predict(line, ACTIONS)
    inside = -(-NEIGHBOUR // 2) / line[:, 0].std()
    assert rewards[10:-10] == pytest.approx(np.log1p(inside), rel=1e-3)
    assert rewards[0] == pytest.approx(np.log1p(NEIGHBOUR / line[:, 0].std()), rel=1e-3)


def test_what_is_new_is_worth_more_and_no_number_of_it_counts_by_its_unit() -> None:
    rng = default_rng(0)
    crowd = rng.normal(size=(500, 2)).astype(np.float32) * [1, 1000]
    far = np.float32([[8, 0], [0, 8000]])
    rewards = StateEntropy(SPACE, rng).predict(np.concatenate([crowd, far]), ACTIONS)
    assert rewards[-2:].min() > np.quantile(rewards[:-2], 0.99)
    assert rewards[-2] == pytest.approx(rewards[-1], rel=0.3)


def test_it_remembers_the_states_before_and_no_more_than_it_has_room_for() -> None:
    entropy = StateEntropy(SPACE, default_rng(0))
    here = np.zeros((4, 50, 2), np.float32) + default_rng(1).normal(size=(4, 50, 2)) / 100
    first = entropy.predict(here.astype(np.float32), ACTIONS)
    assert first.shape == (4, 50)
    entropy.predict((here + 5).astype(np.float32), ACTIONS)
    again = entropy.predict((here + 5).astype(np.float32), ACTIONS)
    assert again.mean() < first.mean(), "it has been there before, and the spread is larger"
    for _ in range(3):
        entropy.predict(default_rng(2).normal(size=(MEMORY, 2)).astype(np.float32), ACTIONS)
    assert len(entropy._met) == MEMORY


def test_an_agent_explores_and_is_then_as_it_was() -> None:
    env = prefrl.make_env("Pendulum-v1", n_envs=2, seed=0)
    reward = prefrl.RewardEnsemble(env.observation_space, env.action_space, hidden=(16,))
    agent = PPO(
        "MlpPolicy", env, n_steps=64, n_epochs=2, seed=0, verbose=0,
        rollout_buffer_class=prefrl.RelabelledRolloutBuffer,
        rollout_buffer_kwargs={"recorder": env, "reward": reward},
    )  # fmt: skip
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    explorers: list[bool] = []

    def explored(now: dict[str, Any], _: dict[str, Any]) -> bool:
        policy = now["self"].policy.state_dict()
        explorers.append(any((policy[name] != value).any() for name, value in before.items()))
        return True

    learn = agent.learn
    agent.learn = lambda steps, **kwargs: learn(steps, explored, **kwargs)  # type: ignore
    explore(agent, 256, default_rng(0))
    assert env.steps_taken == 256
    assert explorers[0] is False and explorers[-1] is True, "it learned on the way"
    for name, value in agent.policy.state_dict().items():
        assert (value == before[name]).all(), name
    assert not agent.policy.optimizer.state, "no momentum of the explorer's is left"
    buffer = agent.rollout_buffer
    assert isinstance(buffer, prefrl.RelabelledRolloutBuffer)
    assert buffer.reward is reward and buffer.scale is not None
    assert buffer.scale.rms.count < 1, "the spread of another reward's returns says nothing"


def test_an_agent_without_rollouts_says_so() -> None:
    env = prefrl.make_env("Pendulum-v1", n_envs=1, seed=0)
    with pytest.raises(PrefrlError, match=r"agent.explore_steps = 100: SAC keeps no rollouts"):
        explore(SAC("MlpPolicy", env, buffer_size=10), 100, default_rng(0))
