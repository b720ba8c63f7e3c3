"""gSDE: a policy that plays makes the noise that it was trained to make."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from stable_baselines3 import PPO, SAC

from prefrl import RewardEnsemble, checkpoints
from prefrl.agents.player import Player
from prefrl.config import from_mapping, load, presets
from prefrl.evaluate import policy_segments, true_returns
from prefrl.render.play import play
from prefrl.run import build_agent, build_env, build_reward, load_trained, ring_steps
from prefrl.types import Array

SMALL = {"env": {"n_envs": 2}, "agent": {"explore_steps": 0, "kwargs": {"n_steps": 64}}}
CONFIG = from_mapping(SMALL, load(presets()["Pendulum-v1"]))
EVERY = CONFIG.agent.kwargs["sde_sample_freq"]


def untrained() -> tuple[PPO, RewardEnsemble]:
    with closing(build_env(CONFIG.env, CONFIG.seed, ring_steps(CONFIG))) as env:
        reward = build_reward(CONFIG, env.observation_space, env.action_space)
        agent = build_agent(CONFIG, env, reward)
    assert isinstance(agent, PPO) and agent.use_sde
    return agent, reward


def spread(agent: PPO) -> float:
    return float(agent.policy.action_dist.exploration_mat.detach().std())  # type: ignore[union-attr]


def test_a_loaded_agent_has_the_noise_of_its_weights(tmp_path: Path) -> None:
    agent, reward = untrained()
    agent.policy.log_std.data.fill_(-3.0)
    saved = checkpoints.save(tmp_path, agent, reward, {"step": 100})
    loaded, _ = load_trained(CONFIG, saved)
    assert isinstance(loaded, PPO)
    assert spread(loaded) == pytest.approx(np.exp(-3), rel=0.5)
    assert spread(agent) > 0.5, "what SB3 draws when it is built"


class Matrices:
    """Stands in for `predict`, and keeps the noise that was there."""

    def __init__(self, agent: PPO, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Array] = []
        usual = agent.predict

        def predict(*arguments: Any, **more: Any) -> Any:
            matrix: Any = agent.policy.action_dist.exploration_mat  # type: ignore[union-attr]
            self.seen.append(matrix.numpy(force=True).copy())
            return usual(*arguments, **more)

        monkeypatch.setattr(agent, "predict", predict)

    def changes(self) -> list[int]:
        """Steps before which it was drawn."""
        pairs = zip(self.seen, self.seen[1:], strict=False)
        return [0, *(i for i, (a, b) in enumerate(pairs, 1) if not np.array_equal(a, b))]


def test_it_is_drawn_as_often_as_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, reward = untrained()
    before = spread(agent)
    matrices = Matrices(agent, monkeypatch)
    list(islice(play(agent, reward, CONFIG.env, seed=0), 3 * EVERY))
    assert matrices.changes() == [0, EVERY, 2 * EVERY]
    assert spread(agent) != before, "and at the beginning"
    for plays in (
        lambda: policy_segments(agent, CONFIG, default_rng(0), 2, rows=60),
        lambda: true_returns(agent, CONFIG, 2, deterministic=False),
    ):
        matrices.seen.clear()
        plays()
        assert matrices.changes() == list(range(0, len(matrices.seen), EVERY))


def test_mean_actions_draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, _ = untrained()
    matrices = Matrices(agent, monkeypatch)
    true_returns(agent, CONFIG, 2)
    assert matrices.changes() == [0]


def test_each_rollout_has_its_own_where_no_frequency_is_set() -> None:
    agent = PPO("MlpPolicy", "Pendulum-v1", n_steps=64, use_sde=True)
    player, drawn = Player(agent, 1), []
    for _ in range(2 * 64 + 1):
        player.predict(np.zeros((1, 3), np.float32))
        drawn.append(spread(agent))
    assert len(set(drawn)) == 3


def test_an_actor_with_critics() -> None:
    agent = SAC("MlpPolicy", "Pendulum-v1", buffer_size=10, use_sde=True)
    before = agent.actor.action_dist.exploration_mat.clone()  # type: ignore[union-attr]
    Player(agent, 3).predict(np.zeros((3, 3), np.float32))
    drawn = agent.actor.action_dist  # type: ignore[union-attr]
    assert not torch.equal(drawn.exploration_mat, before)
    assert len(drawn.exploration_matrices) == 3


def test_an_agent_without_such_noise_plays_as_it_did() -> None:
    agent = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
    seen = np.zeros((2, 3), np.float32)
    torch.manual_seed(0)
    actions = agent.predict(seen)[0]
    torch.manual_seed(0)
    np.testing.assert_array_equal(Player(agent, 2).predict(seen)[0], actions)
