"""The agent cannot see the true reward: where it is NaN, the same is learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from prefrl.config import RunConfig, from_mapping
from prefrl.labelers import LABELERS
from prefrl.run import train
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.types import Array, Preference, PrefrlError, Query


class OwnReward(gym.RewardWrapper[Array, Array]):
    """Pendulum with its true reward, or with NaN in its place."""

    def __init__(self, nan: bool, **kwargs: Any) -> None:
        super().__init__(gym.make("Pendulum-v1", **kwargs).unwrapped)
        self._nan = nan

    def reward(self, reward: Any) -> float:
        return float("nan") if self._nan else float(reward)


class Watcher:
    """Likes the clip in which the pendulum is higher; looks at observations alone."""

    name = "watcher"
    immediate = True

    def label(self, query: Query) -> Preference:
        left, right = (segment.obs[:, 0].sum() for segment in (query.left, query.right))
        return Preference.LEFT if left > right else Preference.RIGHT

    def observe_episode(self, true_return: float, length: int) -> None:
        pass


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LABELERS, "watcher", lambda rng: Watcher())
    spec = gym.envs.registration.EnvSpec(
        "OwnReward-v0", entry_point=OwnReward, max_episode_steps=40, disable_env_checker=True
    )
    monkeypatch.setitem(gym.registry, spec.id, spec)


def configured(nan: bool, seed: int = 0, labeler: str = "watcher") -> RunConfig:
    return from_mapping(
        {
            "steps": 900,
            "seed": seed,
            "checkpoint_every": 10_000,
            "env": {"id": "OwnReward-v0", "n_envs": 2, "kwargs": {"nan": nan}},
            "labels": {
                "labeler": labeler, "budget": 30, "warmup_steps": 200, "ask_every": 128,
                "segment_length": 10, "ask_above": 0.01,
            },
            "reward": {"hidden": [8], "max_epochs": 4, "fit": "sync"},
            "agent": {
                "kwargs": {
                    "n_steps": 64, "batch_size": 64, "n_epochs": 2,
                    "policy_kwargs": {"net_arch": [8]},
                },
            },
        }
    )  # fmt: skip


@dataclass
class Outcome:
    weights: Mapping[str, torch.Tensor]
    answers: list[tuple[Any, ...]]
    passes: list[dict[str, Any]]
    true_rewards: Array


def outcome(folder: Path, config: RunConfig) -> Outcome:
    run = RunDir.create(folder, config)
    try:
        agent, reward = train(config, run)
    finally:
        run.unlock()
    with ComparisonStore(run.store_path) as store:
        rows = store.comparisons()
    answers = [
        (c.id, c.preference, s.step, s.obs.tobytes(), s.actions.tobytes())
        for c in rows
        for s in (c.query.left, c.query.right)
    ]
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    for line in lines:
        line.pop("true_return", None)
        line.pop("steps_per_second")
    weights = {f"policy.{k}": v for k, v in agent.policy.state_dict().items()}
    weights |= {f"reward.{k}": v for k, v in reward.state_dict().items()}
    true_rewards = np.concatenate([c.query.left.true_rewards for c in rows])
    return Outcome(weights, answers, lines, true_rewards)


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_true_reward_of_nan_trains_to_the_same_weights(tmp_path: Path) -> None:
    shown = outcome(tmp_path / "shown", configured(nan=False))
    hidden = outcome(tmp_path / "hidden", configured(nan=True))
    assert np.isfinite(shown.true_rewards).all()
    assert np.isnan(hidden.true_rewards).all(), "the environment did pay nothing but NaN"
    assert all(torch.isfinite(value).all() for value in hidden.weights.values())
    assert same(shown.weights, hidden.weights)
    assert hidden.answers == shown.answers
    assert len(hidden.answers) >= 2 * 8
    assert json.dumps(hidden.passes) == json.dumps(shown.passes)
    assert len(hidden.passes) >= 3

    other = outcome(tmp_path / "other", configured(nan=True, seed=1))
    assert not same(hidden.weights, other.weights)


def test_an_oracle_cannot_judge_by_nan(tmp_path: Path) -> None:
    with pytest.raises(PrefrlError, match=r"true reward is nan.*--labeler human"):
        outcome(tmp_path / "run", configured(nan=True, labeler="oracle"))
