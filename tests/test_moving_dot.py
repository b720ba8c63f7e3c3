"""The dot: rewards and moves known on paper, and pictures that both kinds of net can read."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from numpy.random import default_rng
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from envs.moving_dot import FARTHEST, MIDDLE, MOVES, MovingDotEnv

STAY = np.int64(0)


def dot_at(row: int, column: int) -> MovingDotEnv:
    env = MovingDotEnv(render_mode="rgb_array")
    env.reset(seed=0)
    env.set_render_state(np.array([row, column]))
    return env


def test_gymnasium_contract() -> None:
    check_env(gym.make("envs:prefrl/MovingDot-v0", render_mode="rgb_array").unwrapped)


def test_an_episode_is_50_steps() -> None:
    env = gym.make("envs:prefrl/MovingDot-v0")
    env.reset(seed=0)
    ends = [env.step(STAY)[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


@pytest.mark.parametrize(
    ("row", "column", "reward"),
    [(20, 20, 0), (0, 0, -1), (40, 0, -1), (20, 10, -np.sqrt(1 / 8)), (30, 10, -0.5)],
)
def test_reward(row: int, column: int, reward: float) -> None:
    assert dot_at(row, column).step(STAY)[1] == pytest.approx(reward)


@pytest.mark.parametrize(
    ("action", "row", "column"), [(0, 10, 6), (1, 10, 4), (2, 10, 8), (3, 8, 6), (4, 12, 6)]
)
def test_moves(action: int, row: int, column: int) -> None:
    obs = dot_at(10, 6).step(np.int64(action))[0]
    expected = np.zeros((1, 43, 43), dtype=np.uint8)
    expected[0, row : row + 3, column : column + 3] = 255
    np.testing.assert_array_equal(obs, expected)


@pytest.mark.parametrize("action", range(5))
def test_the_edge_stops_it(action: int) -> None:
    for row, column in [(0, 0), (0, FARTHEST), (FARTHEST, 0), (FARTHEST, FARTHEST)]:
        obs = dot_at(row, column).step(np.int64(action))[0]
        assert obs.sum() == 9 * 255


def test_it_starts_anywhere_and_can_reach_the_middle() -> None:
    env = MovingDotEnv()
    starts = []
    for seed in range(200):
        env.reset(seed=seed)
        starts.append(env.render_state())
    assert np.min(starts) == 0 and np.max(starts) == FARTHEST
    assert not np.any((np.array(starts) - MIDDLE) % 2)


def mean_return(policy: Any, episodes: int = 30) -> float:
    env = gym.make("envs:prefrl/MovingDot-v0")
    total = 0.0
    for seed in range(episodes):
        obs, _ = env.reset(seed=seed)
        truncated = False
        while not truncated:
            obs, reward, _, truncated, _ = env.step(policy(obs))
            total += float(reward)
    return total / episodes


def test_heading_for_the_middle_pays() -> None:
    rng = default_rng(0)

    def towards(obs: Any) -> Any:
        place = np.argwhere(obs[0])[0]
        return np.abs(place + MOVES - MIDDLE).sum(axis=1).argmin()

    assert mean_return(towards) > -5
    assert mean_return(lambda obs: rng.integers(5)) < -20


def test_a_step_is_drawn_again() -> None:
    env, other = MovingDotEnv("rgb_array"), MovingDotEnv("rgb_array")
    env.reset(seed=1)
    rng = default_rng(0)
    for _ in range(30):
        env.step(rng.integers(5))
        other.set_render_state(env.render_state())
        picture = env.render()
        assert picture is not None and picture.shape == (215, 215, 3)
        np.testing.assert_array_equal(other.render(), picture)


def test_both_kinds_of_net_can_read_it() -> None:
    env = MovingDotEnv()
    assert isinstance(env.observation_space, gym.spaces.Box)
    picture = torch.as_tensor(env.reset(seed=0)[0])[None].float() / 255
    paper = [(7, 3), (5, 2), (3, 1), (3, 1)]  # kernels and strides of the reward model
    convolutions = [nn.LazyConv2d(16, kernel, stride) for kernel, stride in paper]
    assert nn.Sequential(*convolutions)(picture).shape == (1, 16, 1, 1)
    assert NatureCNN(env.observation_space)(picture).shape == (1, 512)
