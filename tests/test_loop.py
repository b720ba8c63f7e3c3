"""The loop's own decisions: how much it asks, and when the gate counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from numpy.random import Generator, default_rng
from stable_baselines3 import PPO

import prefrl
from prefrl.config import LabelConfig
from prefrl.types import Preference, Query

NEVER = 0.5  # the most that members can disagree: three never reach it


class Knowing:
    """Likes the clip in which the pendulum turns more to the left."""

    name = "knowing"
    immediate = True

    def label(self, query: Query) -> Preference:
        left, right = (segment.obs[:, 2].sum() for segment in (query.left, query.right))
        return Preference.LEFT if left > right else Preference.RIGHT

    def observe_episode(self, true_return: float, length: int) -> None:
        """Nothing depends on it."""


class CoinToss(Knowing):
    """Answers that say nothing."""

    name = "coin-toss"

    def __init__(self, rng: Generator) -> None:
        self._rng = rng

    def label(self, query: Query) -> Preference:
        return Preference.LEFT if self._rng.random() < 0.5 else Preference.RIGHT


def passes(labeler: Any, ask_above: float = NEVER) -> list[tuple[bool, Mapping[str, float]]]:
    """Each pass that asked: whether the ensemble was informed before it, and what it measured."""
    env = prefrl.make_env("Pendulum-v1", n_envs=2, seed=0)
    reward = prefrl.RewardEnsemble(env.observation_space, env.action_space, hidden=(16,))
    agent = PPO(
        "MlpPolicy", env, n_steps=64, n_epochs=1, seed=0,
        rollout_buffer_class=prefrl.RelabelledRolloutBuffer,
        rollout_buffer_kwargs={"recorder": env, "reward": reward},
    )  # fmt: skip
    asking = LabelConfig(
        segment_length=10, warmup_steps=512, ask_every=128, ask_above=ask_above, first_share=0.4,
        schedule="constant",
    )  # fmt: skip
    found: list[tuple[bool, Mapping[str, float]]] = []
    informed: list[bool] = []  # after each fit; the next pass asks by it

    def on_pass(row: Mapping[str, float]) -> None:
        if "candidates" in row and informed:
            found.append((informed[-1], row))
        informed.append(bool(reward.informed))

    prefrl.learn(agent, reward, labeler, labels=100, steps=1600, asking=asking, on_pass=on_pass)
    return found


def test_the_gate_is_open_while_the_ensemble_does_no_better_than_guessing() -> None:
    """Members that know nothing agree: a gate that counted then would never ask again."""
    found = passes(CoinToss(default_rng(0)))
    uninformed = [row for informed, row in found if not informed]
    assert len(uninformed) >= 4
    for row in uninformed:
        assert row["gate_share"] == 1
        assert row["disagreement_p90"] < NEVER, "the gate would have dropped these"
    assert uninformed[-1]["labels"] == uninformed[-1]["offered"] > 40


def test_an_informed_ensemble_asks_nobody_under_the_gate() -> None:
    found = passes(Knowing())
    assert len(found) >= 4 and all(informed for informed, _ in found)
    assert all(row["gate_share"] == 0 for _, row in found)
    assert [row["labels"] for _, row in found] == [40] * len(found)
    assert found[-1][1]["offered"] > 60, "the schedule offered more"


@pytest.mark.parametrize("ask_above", [0.0, 0.2])
def test_no_more_is_asked_than_the_schedule_offers(ask_above: float) -> None:
    rows = [row for _, row in passes(Knowing(), ask_above)]
    assert rows[-1]["offered"] <= 100
    assert all(row["labels"] <= row["offered"] for row in rows)
    spent = [row["labels"] == row["offered"] for row in rows]
    assert all(spent) == (ask_above == 0), "all of it without a gate, and less with one"
