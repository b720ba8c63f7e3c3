"""Buffers that score themselves: rewards, time limits, advantages, scale, replay."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.random import default_rng
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from prefrl.agents.critic import Critic
from prefrl.agents.relabel import (
    RelabelledReplayBuffer,
    RelabelledRolloutBuffer,
    ReturnScale,
    discounted_returns,
    keep_in_step,
)
from prefrl.recorder import Recorder
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.types import Array, PrefrlError


class Clock(gym.Env[Array, Array]):
    """Observes (copy, step of the episode, step of the run) / 10, which a true reward of 1e6 hides.

    Episodes of `length` steps end by the time limit, or in truth.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(np.float32([-2, 0]), np.float32([6, 1]))

    def __init__(self, number: int = 0, length: int = 5, truncates: bool = True) -> None:
        self.number, self.length, self.truncates = number, length, truncates
        self.step_, self.total = 0, 0

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.step_ = 0
        return self._obs(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.step_ += 1
        self.total += 1
        over = self.step_ == self.length
        return self._obs(), 1e6, over and not self.truncates, over and self.truncates, {}

    def _obs(self) -> Array:
        return np.array([self.number, self.step_, self.total], np.float32) / 10


class Stub:
    """Stands for an ensemble: the reward is factor (10 obs[1] + action[0])."""

    guessing, updates = False, 0

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.calls = factor, 0

    def predict(self, obs: Array, actions: Array) -> Array:
        self.calls += 1
        rewards = self.factor * (10 * obs[..., 1] + actions[..., 0])
        return np.asarray(rewards, dtype=np.float32)


def clocks(n: int = 2, **kwargs: Any) -> Recorder:
    return Recorder(DummyVecEnv([lambda i=i: Clock(i, **kwargs) for i in range(n)]), 64)


def ppo(recorder: Recorder, venv: Any, reward: Any, normalize_return: bool = False) -> PPO:
    return PPO(
        "MlpPolicy", venv, n_steps=16, batch_size=32, n_epochs=1, learning_rate=0.0, gamma=0.5,
        seed=0, device="cpu", policy_kwargs={"net_arch": [8]},
        rollout_buffer_class=RelabelledRolloutBuffer,
        rollout_buffer_kwargs={
            "recorder": recorder, "reward": reward, "normalize_return": normalize_return,
        },
    )  # fmt: skip


def played(recorder: Recorder, steps: int, seed: int = 0) -> None:
    recorder.action_space.seed(seed)
    recorder.reset()
    for _ in range(steps):
        recorder.step(np.stack([recorder.action_space.sample() for _ in range(recorder.num_envs)]))


def test_a_rollout_is_scored_by_what_the_environment_saw() -> None:
    """Without an episode's end, rewards are the predictions and nothing else."""
    recorder, reward = clocks(length=1000), Stub()
    agent = ppo(recorder, recorder, reward)
    agent.learn(64)
    obs, actions = recorder.rollout(16)
    np.testing.assert_allclose(obs[:, 0, 2] * 10, np.arange(16, 32), rtol=1e-6)
    expected = 10 * obs[..., 1] + actions[..., 0]  # (T, E)
    np.testing.assert_allclose(agent.rollout_buffer.rewards, expected, rtol=1e-6)
    assert agent.rollout_buffer.predicted_reward == pytest.approx(expected.mean())
    assert reward.calls == 2, "once for a rollout, not once for a step"


def test_normalised_observations_are_for_the_policy_alone() -> None:
    recorder, reward = clocks(length=1000), Stub()
    agent = ppo(recorder, VecNormalize(recorder, norm_reward=False), reward)
    agent.learn(32)
    obs, actions = recorder.rollout(16)
    assert not np.allclose(agent.rollout_buffer.observations.reshape(-1, 3), obs.reshape(-1, 3))
    np.testing.assert_allclose(
        agent.rollout_buffer.rewards, 10 * obs[..., 1] + actions[..., 0], rtol=1e-6
    )


@pytest.mark.parametrize("truncates", [True, False])
def test_the_bootstrap_at_time_limits_stays(truncates: bool) -> None:
    """At a time limit SB3 adds gamma V(last observation); at a true end nothing."""
    recorder = clocks(length=5, truncates=truncates)
    agent = ppo(recorder, recorder, Stub())
    agent.learn(32)
    obs, actions = recorder.rollout(16)
    predicted = 10 * obs[..., 1] + actions[..., 0]
    added = agent.rollout_buffer.rewards - predicted
    ends = [4, 9, 14]
    for env in range(2):
        last = np.array([[env, 5, t + 1] for t in ends], np.float32) / 10
        with torch.no_grad():  # a learning rate of 0: the policy is what it was
            values = agent.policy.predict_values(torch.as_tensor(last)).numpy()[:, 0]
        expected = np.zeros(16)
        expected[ends] = 0.5 * values if truncates else 0
        np.testing.assert_allclose(added[:, env], expected, atol=1e-5)
        assert np.abs(values).min() > 1e-3


def test_advantages_on_literal_numbers() -> None:
    """gamma 1/2, lambda 1/2, predicted rewards 1, 2, 4, an episode's end after the second."""
    space = spaces.Box(-9, 9, (3,), np.float32)
    rewards = np.array([1.0, 2.0, 4.0], np.float32)

    class Literal:
        guessing, updates = False, 0

        def predict(self, obs: Array, actions: Array) -> Array:
            return rewards[:, None]

    recorder = clocks(1)
    played(recorder, 3)
    buffer = RelabelledRolloutBuffer(
        3, space, space, "cpu", gae_lambda=0.5, gamma=0.5, n_envs=1,
        recorder=recorder, reward=Literal(), normalize_return=False,
    )  # fmt: skip
    zero = np.zeros((1, 3), np.float32)
    for value, start, bootstrap in [(8.0, 1, 0.0), (4.0, 0, 3.0), (2.0, 1, 0.0)]:
        one = torch.zeros(1)
        buffer.add(zero, zero, np.array([bootstrap]), np.array([start]), one + value, one)
    buffer.compute_returns_and_advantage(torch.tensor([6.0]), np.array([False]))
    # the third: 4 + 6/2 - 2 = 5; the second ends its episode: 2 + 3 - 4 = 1;
    # the first: 1 + 4/2 - 8 = -5, and a quarter of the second's 1
    np.testing.assert_allclose(buffer.advantages[:, 0], [-4.75, 1.0, 5.0])
    np.testing.assert_allclose(buffer.returns[:, 0], [3.25, 5.0, 7.0])
    np.testing.assert_allclose(buffer.rewards[:, 0], [1.0, 5.0, 4.0])


@pytest.mark.parametrize("agent_class", [PPO, A2C, TRPO])
@pytest.mark.parametrize("guessing", [True, False])
def test_a_reward_that_guesses_teaches_nothing(agent_class: type[Any], guessing: bool) -> None:
    recorder, reward = clocks(), Stub()
    reward.guessing = guessing
    agent = agent_class(
        "MlpPolicy", recorder, n_steps=64, seed=0, device="cpu",
        rollout_buffer_class=RelabelledRolloutBuffer,
        rollout_buffer_kwargs={"recorder": recorder, "reward": reward},
    )  # fmt: skip
    acts = {k: v for k, v in agent.policy.named_parameters() if "value" not in k}
    before = {name: weights.detach().clone() for name, weights in acts.items()}
    agent.learn(512)
    assert all(torch.equal(weights, before[name]) for name, weights in acts.items()) == guessing
    assert agent.rollout_buffer.scale.rms.count < 1 if guessing else reward.calls == 4


def test_discounted_returns_on_paper() -> None:
    rewards = np.array([[1.0, 1.0], [2.0, 0.0], [4.0, 0.0], [8.0, 16.0]])
    dones = np.array([[False, False], [True, False], [False, False], [False, True]])
    nothing = np.zeros(2)
    # the second step ends the first copy's episode
    expected = [[1.0, 1.0], [2.5, 0.5], [4.0, 0.25], [10.0, 16.125]]
    assert discounted_returns(rewards, dones, 0.5, nothing).tolist() == expected
    assert discounted_returns(rewards, dones, 0.0, nothing).tolist() == rewards.tolist()
    later = discounted_returns(rewards[2:], dones[2:], 0.5, np.array([0.0, 0.5]))
    assert later.tolist() == expected[2:], "in two pieces as in one"
    assert nothing.tolist() == [0, 0]


class Paying(Clock):
    """Pays what it is told, which lets VecNormalize be asked the same."""

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(action[0]), terminated, truncated, info


def test_the_scale_is_that_of_vec_normalize() -> None:
    gamma, rng = 0.9, np.random.default_rng(0)
    rewards = rng.normal(1, 2, (40, 2))
    venv = VecNormalize(
        DummyVecEnv([lambda: Paying(0, 5), lambda: Paying(1, 7)]), norm_obs=False, gamma=gamma
    )
    venv.reset()
    steps = [venv.step(np.stack([row, row], axis=1)) for row in rewards]
    dones = np.stack([step[2] for step in steps])
    scale = ReturnScale(2, gamma)
    pieces = [scale.scaled(rewards[i : i + 8], dones[i : i + 8]) for i in range(0, 40, 8)]
    assert scale.rms.var == pytest.approx(venv.ret_rms.var)
    assert scale.rms.mean == pytest.approx(venv.ret_rms.mean)
    np.testing.assert_allclose(pieces[-1][-1], steps[-1][1], rtol=1e-6)


def test_the_scale_on_literal_numbers() -> None:
    scale = ReturnScale(1, gamma=0.0)
    going_on = np.zeros((4, 1), bool)
    first = scale.scaled(np.array([[3.0], [-3.0], [3.0], [-3.0]]), going_on)
    np.testing.assert_allclose(first, [[1.0], [-1.0], [1.0], [-1.0]], rtol=1e-3)
    # of eight numbers, four of +-3 and four of 5 and 13: mean 4.5, mean square 53, var 32.75
    second = scale.scaled(np.array([[5.0], [13.0], [5.0], [13.0]]), going_on)
    np.testing.assert_allclose(second[:2, 0], np.array([5, 13]) / 32.75**0.5, rtol=1e-3)


def test_scaled_rewards_are_clipped() -> None:
    scale = ReturnScale(1, gamma=0.0)
    rewards = np.zeros((400, 1))
    rewards[0], rewards[1] = 1.0, -1.0
    scaled = scale.scaled(rewards, np.zeros((400, 1), bool))
    assert scaled[:3, 0].tolist() == [10, -10, 0]


def test_a_reward_that_is_the_same_everywhere_stays_finite() -> None:
    scale = ReturnScale(2, gamma=0.9)
    assert not scale.scaled(np.zeros((8, 2)), np.zeros((8, 2), bool)).any()
    ones = ReturnScale(2, gamma=0.0).scaled(np.ones((8, 2)), np.zeros((8, 2), bool))
    assert np.isfinite(ones).all()


def test_rewards_are_scaled_and_the_bootstrap_is_not() -> None:
    found = []
    for normalize_return in (False, True):
        recorder = clocks(length=5)
        agent = ppo(recorder, recorder, Stub(50.0), normalize_return)
        agent.learn(32)
        found.append((agent.rollout_buffer, recorder))
    (plain, recorder), (scaled, same) = found
    obs, actions = recorder.rollout(16)
    np.testing.assert_array_equal(same.rollout(16)[1], actions)
    predicted = Stub(50.0).predict(obs, actions)
    bootstrap = plain.rewards - predicted
    assert np.abs(bootstrap).max() > 0.01
    expected = ReturnScale(2, 0.5).scaled(predicted, recorder.dones(16)) + bootstrap
    np.testing.assert_allclose(scaled.rewards, expected, atol=1e-3)
    for buffer in (plain, scaled):
        assert buffer.predicted_reward == pytest.approx(predicted.mean(), rel=1e-5)


def sac(recorder: Recorder, reward: Any, **kwargs: Any) -> SAC:
    return SAC(
        "MlpPolicy", recorder, buffer_size=500, batch_size=16, learning_starts=30, seed=0,
        train_freq=4, device="cpu", policy_kwargs={"net_arch": [8]},
        replay_buffer_class=RelabelledReplayBuffer, replay_buffer_kwargs={"reward": reward},
        **kwargs,
    )  # fmt: skip


def test_replay_rewards_are_those_of_the_executed_actions() -> None:
    """SB3 stores actions scaled to [-1, 1]; the reward is told what the environment saw."""
    recorder, reward = clocks(length=7), Stub()
    agent = sac(recorder, reward)
    agent.learn(60)
    buffer = agent.replay_buffer
    assert isinstance(buffer, RelabelledReplayBuffer)
    sample = buffer.sample(200)
    obs, actions = recorder.rollout(recorder.recorded)
    by_obs = dict(zip(map(tuple, obs.reshape(-1, 3)), actions.reshape(-1, 2)[:, 0], strict=True))
    assert np.ptp(actions[..., 0]) > 4, "of all the range [-2, 6]"
    for seen, value in zip(sample.observations.numpy(), sample.rewards.numpy(), strict=True):
        assert value[0] == pytest.approx(10 * seen[1] + by_obs[tuple(seen)], abs=1e-4)
    assert sample.rewards.shape == (200, 1)
    assert sample.rewards.dtype == torch.float32
    assert buffer.predicted_reward == pytest.approx(float(sample.rewards.mean()), rel=1e-4)


def test_replay_rewards_follow_a_changed_ensemble() -> None:
    recorder, reward = clocks(length=7), Stub()
    agent = sac(recorder, reward)
    agent.learn(40)
    assert agent.replay_buffer is not None
    np.random.seed(0)  # SB3 samples from the global generator
    before = agent.replay_buffer.sample(50)
    reward.factor = -3.0
    np.random.seed(0)
    after = agent.replay_buffer.sample(50)
    torch.testing.assert_close(after.observations, before.observations)
    torch.testing.assert_close(after.rewards, -3 * before.rewards)


@pytest.mark.parametrize("truncates", [True, False])
def test_a_time_limit_is_no_end_to_a_critic(truncates: bool) -> None:
    recorder = clocks(length=4, truncates=truncates)
    agent = sac(recorder, Stub())
    agent.learn(60)
    assert agent.replay_buffer is not None
    sample = agent.replay_buffer.sample(300)
    at_end = sample.next_observations[:, 1].numpy() == np.float32(0.4)
    assert at_end.any()
    expected = at_end & (not truncates)
    np.testing.assert_array_equal(sample.dones[:, 0].numpy() > 0, expected)


def test_discrete_observations_can_be_replayed() -> None:
    observation, action = spaces.Discrete(3), spaces.Box(-2, 6, (1,), np.float32)
    ensemble = RewardEnsemble(observation, action, 2, hidden=(4,))
    states, taken = np.array([0, 1, 2]), np.array([[6.0], [-2.0], [2.0]], np.float32)
    inputs = ensemble.encode(states, taken)
    ensemble.set_inputs(inputs)
    ensemble.set_scale(inputs)
    buffer = RelabelledReplayBuffer(9, observation, action, "cpu", n_envs=1, reward=ensemble)
    for state, scaled in zip(states, ([[1.0]], [[-1.0]], [[0.0]]), strict=True):
        one = np.array([state])
        buffer.add(one, one, np.array(scaled), np.zeros(1), np.zeros(1), [{}])
    sample = buffer.sample(40)
    assert sample.rewards.shape == (40, 1)
    by_state = dict(zip(states.tolist(), ensemble.predict(states, taken).tolist(), strict=True))
    expected = [by_state[int(s)] for s in sample.observations[:, 0]]
    np.testing.assert_allclose(sample.rewards[:, 0], expected, rtol=1e-5)


def test_actions_of_several_axes_can_be_replayed() -> None:
    """SB3 keeps them flat."""
    low, high = np.array([[-1, -2], [-3, -4]], np.float32), np.array([[1, 2], [3, 4]], np.float32)
    observation, action = spaces.Box(-9, 9, (1,), np.float32), spaces.Box(low, high)
    ensemble = RewardEnsemble(observation, action, 2, hidden=(4,))
    taken = np.stack([low, high, np.array([[0.5, 0], [-1.5, 4]], np.float32)])
    states = np.zeros((3, 1), np.float32)
    inputs = ensemble.encode(states, taken)
    ensemble.set_inputs(inputs)
    ensemble.set_scale(inputs)
    buffer = RelabelledReplayBuffer(3, observation, action, "cpu", n_envs=1, reward=ensemble)
    for i, scaled in enumerate((taken / high).reshape(3, 1, 4)):
        one = np.full((1, 1), i, np.float32) * 0
        buffer.add(one, one, scaled, np.zeros(1), np.zeros(1), [{}])
    expected = ensemble.predict(states, taken)
    np.testing.assert_allclose(buffer.rewards[np.arange(3), 0], expected, rtol=1e-5)


def test_a_critic_is_taught_a_reward_that_has_changed_and_the_actor_is_not() -> None:
    recorder, reward = clocks(length=1000), Stub()
    agent = ppo(recorder, recorder, reward)  # a learning rate of 0: whatever moves is the critic
    agent.learn(16 * 2)
    before = {name: p.clone() for name, p in agent.policy.named_parameters()}
    buffer = agent.rollout_buffer
    assert isinstance(buffer, RelabelledRolloutBuffer)
    keep_in_step(agent, 30, default_rng(0))
    agent.policy.optimizer.param_groups[0]["lr"] = 0.01
    buffer.critic = Critic(agent, 30, default_rng(0))
    agent.policy.optimizer.param_groups[0]["lr"] = 0.0
    reward.updates, reward.factor = 1, 5.0
    agent.learn(16 * 2, reset_num_timesteps=False)
    moved = {n for n, p in agent.policy.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all("value" in name for name in moved)
    taught = {name: p.clone() for name, p in agent.policy.named_parameters()}
    agent.learn(16 * 2, reset_num_timesteps=False)
    assert all(torch.equal(p, taught[n]) for n, p in agent.policy.named_parameters()), "as it was"


def test_advantages_after_a_refit_are_by_the_new_values() -> None:
    recorder, reward = clocks(length=1000), Stub()
    agent = ppo(recorder, recorder, reward)
    agent.policy.optimizer.param_groups[0]["lr"] = 0.03
    keep_in_step(agent, 200, default_rng(0))
    agent.policy.optimizer.param_groups[0]["lr"] = 0.0
    agent.learn(16 * 2)
    buffer = agent.rollout_buffer
    with torch.no_grad():
        seen = torch.as_tensor(buffer.observations).reshape(-1, 3)
        values = agent.policy.predict_values(seen).numpy().ravel()
    np.testing.assert_allclose(buffer.values.ravel(), values, atol=1e-5)
    np.testing.assert_allclose(buffer.advantages, buffer.returns - buffer.values, atol=1e-5)
    with torch.no_grad():
        after = agent.policy.predict_values(torch.as_tensor(agent._last_obs)).numpy().ravel()
    ends = slice(15, None, 16)  # SB3 lays copies one after the other
    gained = buffer.rewards[-1] + 0.5 * after - buffer.values.ravel()[ends]
    np.testing.assert_allclose(buffer.advantages.ravel()[ends], gained, atol=1e-5)
    assert np.corrcoef(buffer.values.ravel(), buffer.returns.ravel())[0, 1] > 0.5


def test_an_agent_with_a_replay_buffer_needs_no_refit() -> None:
    env = clocks()
    agent = SAC("MlpPolicy", env, buffer_size=10)
    with pytest.raises(PrefrlError, match=r"agent.critic_epochs = 3: SAC learns from a replay"):
        keep_in_step(agent, 3, default_rng(0))
