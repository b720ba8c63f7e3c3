"""The reward for states that are far from all others."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from numpy.random import default_rng
from stable_baselines3 import PPO, SAC
from torch import Tensor

import prefrl
from prefrl.agents.exploration import MEMORY, NEIGHBOUR, StateEntropy, explore
from prefrl.config import from_mapping
from prefrl.run import check
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


def test_a_large_rollout_leaves_room_for_what_was_met_before() -> None:
    entropy = StateEntropy(SPACE, default_rng(0))
    before, since = (np.full((2 * MEMORY, 2), x, np.float32) for x in (0, 1))
    entropy.predict(before, ACTIONS)
    entropy.predict(since, ACTIONS)
    assert (entropy._met[:, 0] == 0).mean() == (entropy._met[:, 0] == 1).mean() == 0.5


def explorer() -> tuple[PPO, dict[str, Tensor]]:
    """An agent, and what its policy knows."""
    env = prefrl.make_env("Pendulum-v1", n_envs=2, seed=0)
    reward = prefrl.RewardEnsemble(env.observation_space, env.action_space, hidden=(16,))
    agent = PPO(
        "MlpPolicy", env, n_steps=64, n_epochs=2, seed=0, verbose=0,
        rollout_buffer_class=prefrl.RelabelledRolloutBuffer,
        rollout_buffer_kwargs={"recorder": env, "reward": reward},
    )  # fmt: skip
    return agent, {name: value.clone() for name, value in agent.policy.state_dict().items()}


def has_policy(agent: PPO, before: dict[str, Tensor]) -> bool:
    policy = agent.policy.state_dict()
    return all(bool((policy[name] == value).all()) for name, value in before.items())


def assert_as_new(agent: PPO, before: dict[str, Tensor], reward: object) -> None:
    """Nothing of what it learned while it explored is left."""
    buffer = agent.rollout_buffer
    assert isinstance(buffer, prefrl.RelabelledRolloutBuffer)
    assert has_policy(agent, before) and not agent.policy.optimizer.state
    assert buffer.reward is reward and buffer.scale is not None
    assert buffer.scale.rms.count < 1, "the spread of another reward's returns says nothing"


def test_an_agent_explores_and_is_then_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, before = explorer()
    train, learned = agent.train, []

    def watched() -> None:
        train()
        learned.append(not has_policy(agent, before))

    monkeypatch.setattr(agent, "train", watched)
    reward = agent.rollout_buffer.reward  # type: ignore[attr-defined]
    explore(agent, 256, default_rng(0))
    assert learned == [True, True]
    assert_as_new(agent, before, reward)
    assert agent.rollout_buffer.recorder.steps_taken == 256  # type: ignore[attr-defined]


def test_one_that_is_stopped_on_the_way_is_as_it_was_too(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, before = explorer()
    train, reward = agent.train, agent.rollout_buffer.reward  # type: ignore[attr-defined]

    def stopped() -> None:
        train()
        raise KeyboardInterrupt

    monkeypatch.setattr(agent, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        explore(agent, 256, default_rng(0))
    assert_as_new(agent, before, reward)


def test_an_agent_without_rollouts_says_so() -> None:
    env = prefrl.make_env("Pendulum-v1", n_envs=1, seed=0)
    with pytest.raises(PrefrlError, match=r"agent.explore_steps = 100: SAC keeps no rollouts"):
        explore(SAC("MlpPolicy", env, buffer_size=10), 100, default_rng(0))


def test_an_agent_that_cannot_explore_is_refused_before_anything_is_asked() -> None:
    config = from_mapping(
        {"env": {"id": "Pendulum-v1"}, "agent": {"name": "sac", "explore_steps": 500}}
    )
    with pytest.raises(PrefrlError, match=r"agent.explore_steps = 500: SAC keeps no rollouts"):
        check(config)
