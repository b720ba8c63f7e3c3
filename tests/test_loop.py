"""The loop's own decisions: how much it asks, and when the gate counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecNormalize

import prefrl
from prefrl.agents.snapshot import AgentSnapshot
from prefrl.config import LabelConfig, RewardConfig
from prefrl.loop import PreferenceLoop
from prefrl.queries import Candidates
from prefrl.recorder import act_at_random
from prefrl.reward.fit import FitSettings
from prefrl.reward.fitters import InlineFitter
from prefrl.run import fit_settings
from prefrl.store import ComparisonStore
from prefrl.types import Preference, PrefrlError, Query

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


Pass = tuple[bool, Mapping[str, float]]


def of_pendulum(**ensemble: Any) -> tuple[PPO, prefrl.RewardEnsemble]:
    env = prefrl.make_env("Pendulum-v1", n_envs=2, seed=0)
    reward = prefrl.RewardEnsemble(env.observation_space, env.action_space, **ensemble)
    agent = PPO(
        "MlpPolicy", env, n_steps=64, n_epochs=1, seed=0,
        rollout_buffer_class=prefrl.RelabelledRolloutBuffer,
        rollout_buffer_kwargs={"recorder": env, "reward": reward},
    )  # fmt: skip
    return agent, reward


def passes(
    labeler: Any,
    ask_above: float = NEVER,
    steps: int = 1600,
    store: Path | None = None,
    **asking: Any,
) -> list[Pass]:
    """Each pass that asked: whether the ensemble was informed before it, and what it measured."""
    agent, reward = of_pendulum(hidden=(16,))
    usual = {"segment_length": 10, "warmup_steps": 512, "ask_every": 128, "first_share": 0.4}
    settings = LabelConfig(ask_above=ask_above, schedule="constant", **(usual | asking))
    found: list[Pass] = []
    informed: list[bool] = []  # after each fit; the next pass asks by it

    def on_pass(row: Mapping[str, float]) -> None:
        if "candidates" in row and informed:
            found.append((informed[-1], row))
        informed.append(bool(reward.informed))

    prefrl.learn(
        agent, reward, labeler, labels=100, steps=steps, asking=settings, store=store,
        on_pass=on_pass,
    )  # fmt: skip
    return found


def test_the_gate_is_open_while_the_ensemble_does_no_better_than_guessing() -> None:
    """Members that know nothing agree: a gate that counted then would never ask again."""
    found = passes("shuffled")
    uninformed = [row for informed, row in found if not informed]
    assert len(uninformed) >= 4
    for row in uninformed:
        assert row["gate_share"] == 1
        assert row["disagreement_p90"] < NEVER, "the gate would have dropped these"
    assert uninformed[-1]["labels"] == uninformed[-1]["offered"] > 40


def test_an_informed_ensemble_asks_nobody_under_the_gate() -> None:
    rows = [row for informed, row in passes(Knowing(), steps=2400) if informed]
    assert len(rows) >= 4
    assert all(row["gate_share"] == 0 for row in rows)
    assert len({row["labels"] for row in rows}) == 1, "not one more, once it knew something"
    assert rows[-1]["labels"] < rows[-1]["offered"], "the schedule offered more"


@pytest.mark.parametrize("ask_above", [0.0, 0.2])
def test_no_more_is_asked_than_the_schedule_offers(ask_above: float) -> None:
    rows = [row for _, row in passes(Knowing(), ask_above)]
    assert rows[-1]["offered"] <= 100
    assert all(row["labels"] <= row["offered"] for row in rows)
    spent = [row["labels"] == row["offered"] for row in rows]
    assert all(spent) == (ask_above == 0), "all of it without a gate, and less with one"


class Watching(Knowing):
    """Remembers what it was told and asked, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float]] = []

    def observe_episode(self, true_return: float, length: int) -> None:
        self.events.append(("episode", true_return))

    def label(self, query: Query) -> Preference:
        self.events.append(("query", max(query.left.step, query.right.step)))
        return super().label(query)


def test_a_labeler_knows_the_random_policys_episodes_before_its_first_answer() -> None:
    """The margins of the skip and equal teachers are shares of the mean return."""
    labeler = Watching()
    passes(labeler, warmup_steps=1024, steps=1600)
    kinds = [kind for kind, _ in labeler.events]
    assert kinds[: kinds.index("query")] == ["episode"] * 4  # 2 copies, 512 steps, 200 an episode


def test_episodes_are_kept_in_their_order_and_their_predicted_returns_are_of_all_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loops, run = list[PreferenceLoop](), PreferenceLoop.run

    def watched(loop: PreferenceLoop) -> None:
        loops.append(loop)
        run(loop)

    monkeypatch.setattr(PreferenceLoop, "run", watched)
    (agent, reward), labeler = of_pendulum(hidden=(16,)), Watching()
    buffer: Any = agent.rollout_buffer
    predicted = list[tuple[float, float]]()

    def on_pass(row: Mapping[str, float]) -> None:
        if "episodes" in row:
            predicted.append((row["predicted_return"], 200 * buffer.predicted_reward))

    asking, quick = replace(ASKING, ask_every=512), FitSettings(max_epochs=1, refit_epochs=1)
    prefrl.learn(
        agent, reward, labeler, labels=20, steps=3200, asking=asking, fit=quick, on_pass=on_pass
    )
    ended = [value for kind, value in labeler.events if kind == "episode"]
    assert len(set(ended)) == len(ended) > 12
    assert [value for value, _ in loops[0].progress.late_episodes] == ended[-10:]
    returns, expected = np.transpose(predicted)
    assert len(predicted) > 3 and np.abs(expected).min() > 0.01
    np.testing.assert_allclose(returns, expected, rtol=1e-6)


@pytest.mark.parametrize("ask_every", [16, 128])
def test_candidates_are_recent_however_often_it_asks(ask_every: int) -> None:
    """16 steps of two copies hold no segment of 10 that is all new."""
    labeler = Watching()
    passes(labeler, ask_above=0.0, ask_every=ask_every, pool_size=100)
    newest = [step for kind, step in labeler.events if kind == "query"]
    assert max(newest) > 1400


def test_what_was_asked_first_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """k-center keeps its distance from the first batch too."""
    known: list[int] = []

    def strategy(candidates: Candidates, n: int, rng: Generator) -> Any:
        known.append(len(candidates.asked))
        assert candidates.asked.shape[1] == candidates.features.shape[1]
        assert len(np.unique(candidates.asked, axis=0)) == len(candidates.asked)
        assert candidates.features.std() == pytest.approx(1, abs=0.5), "scaled, and no two alike"
        return rng.permutation(len(candidates.features))[:n]

    monkeypatch.setitem(prefrl.STRATEGIES, "remembering", strategy)
    passes(Knowing(), ask_above=0.0, strategy="remembering")
    assert known[0] == 40
    assert known == sorted(known) and known[-1] > 60


def test_a_person_may_be_quicker_than_the_labeler(
    tmp_path: Path,
) -> None:
    """Somebody answers one query of the batch that the labeler is busy with."""
    where = tmp_path / "store.sqlite"

    class Beaten(Knowing):
        def label(self, query: Query) -> Preference:
            if query.id == 3:
                with prefrl.ComparisonStore(where) as other:
                    other.answer(3, Preference.TIE, "anna")
            return super().label(query)

    passes(Beaten(), store=where)
    with prefrl.ComparisonStore(where) as store:
        told = {c.query.id: c.labeler for c in store.comparisons()}
    assert told[3] == "anna"
    assert len(told) >= 40 and set(told.values()) == {"anna", "knowing"}


def test_learn_refuses_an_agent_that_would_learn_nothing() -> None:
    env = prefrl.make_env("Pendulum-v1", n_envs=2, seed=0)
    reward, other = (
        prefrl.RewardEnsemble(env.observation_space, env.action_space) for _ in range(2)
    )
    plain = PPO("MlpPolicy", env, n_steps=64)
    with pytest.raises(PrefrlError, match="RolloutBuffer does not score itself"):
        prefrl.learn(plain, reward, labels=20, steps=2000)
    scored = PPO(
        "MlpPolicy", env, n_steps=64,
        rollout_buffer_class=prefrl.RelabelledRolloutBuffer,
        rollout_buffer_kwargs={"recorder": env, "reward": other},
    )  # fmt: skip
    with pytest.raises(PrefrlError, match="scores with another ensemble"):
        prefrl.learn(scored, reward, labels=20, steps=2000)
    asking = LabelConfig(warmup_steps=512, segment_length=10)
    prefrl.learn(scored, other, labels=20, steps=600, asking=asking)
    with pytest.raises(PrefrlError, match="have taken 640 already: raise steps="):
        prefrl.learn(scored, other, labels=20, steps=600, asking=asking)


def test_returns_that_nobody_saw_scale_no_replayed_reward() -> None:
    env = prefrl.make_env("Pendulum-v1", n_envs=1, seed=0)
    reward = prefrl.RewardEnsemble(env.observation_space, env.action_space)
    agent = SAC(
        "MlpPolicy", VecNormalize(env), buffer_size=10,
        replay_buffer_class=prefrl.RelabelledReplayBuffer,
        replay_buffer_kwargs={"reward": reward},
    )  # fmt: skip
    with pytest.raises(PrefrlError, match=r"VecNormalize\(env, norm_reward=False\)"):
        prefrl.learn(agent, reward, labels=20, steps=2000)


def test_learn_refuses_a_rollout_that_the_recorder_does_not_hold() -> None:
    env = prefrl.make_env("Pendulum-v1", n_envs=2, seed=0, ring_steps=256)
    reward = prefrl.RewardEnsemble(env.observation_space, env.action_space)
    agent = PPO(
        "MlpPolicy", env, n_steps=512,
        rollout_buffer_class=prefrl.RelabelledRolloutBuffer,
        rollout_buffer_kwargs={"recorder": env, "reward": reward},
    )  # fmt: skip
    with pytest.raises(PrefrlError, match=r"has 512 steps .* keeps 256: raise ring_steps="):
        prefrl.learn(agent, reward, labels=20, steps=2000, asking=ASKING)


ASKING = LabelConfig(warmup_steps=512, segment_length=10, ask_every=128)


@pytest.mark.parametrize(
    ("ensemble", "settings", "wanted"),
    [
        ({"n_members": 1}, {}, "reward.members = 1 never disagrees"),
        ({}, {"fit": FitSettings(dynamics=0.5)}, r"RewardEnsemble\(..., predicts_dynamics=True\)"),
        ({}, {"fit": FitSettings(sampled_steps=11)}, "sampled_steps = 11 is more than a segment"),
        ({"net": "mpl"}, {}, "unknown reward net 'mpl': did you mean 'mlp'?"),
        ({}, {"fit": FitSettings(noise=1.5)}, "reward.noise = 1.5 is out of range"),
        ({}, {"fit": FitSettings(target="return")}, "reward.target = 'return': it must be one"),
        ({}, {"fit": FitSettings(batch_size=0)}, "reward.batch_size = 0"),
    ],
)
def test_learn_refuses_what_an_ensemble_cannot_do(
    ensemble: dict[str, Any], settings: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(PrefrlError, match=wanted):
        prefrl.learn(*of_pendulum(**ensemble), labels=20, steps=2000, asking=ASKING, **settings)


def test_learn_explores_resets_and_weighs_disagreement_as_a_run_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restored: list[int] = []
    restore = AgentSnapshot.restore

    def watched(snapshot: AgentSnapshot) -> None:
        restored.append(recorder.steps_taken)
        restore(snapshot)

    monkeypatch.setattr(AgentSnapshot, "restore", watched)
    agent, reward = of_pendulum()
    recorder: Any = agent.get_env()
    weights: list[float] = []
    prefrl.learn(
        agent, reward, labels=20, steps=3000, asking=ASKING,
        explore_steps=512, restart_at=0.5, bonus=0.4, pessimism=0.2,
        on_pass=lambda row: weights.append(reward.disagreement_weight),
    )  # fmt: skip
    explored, reset = restored
    assert explored == 512 + 512, "after as many random steps"
    assert 1500 <= reset < 1500 + 2 * ASKING.ask_every
    assert weights[0] > 0 > weights[-1] == pytest.approx(-0.2, abs=0.02)


def test_learn_refuses_to_explore_with_what_keeps_no_rollouts() -> None:
    env = prefrl.make_env("Pendulum-v1", n_envs=1, seed=0)
    reward = prefrl.RewardEnsemble(env.observation_space, env.action_space)
    agent = SAC(
        "MlpPolicy", env, buffer_size=10,
        replay_buffer_class=prefrl.RelabelledReplayBuffer,
        replay_buffer_kwargs={"reward": reward},
    )  # fmt: skip
    with pytest.raises(PrefrlError, match=r"agent\.explore_steps = 512: SAC keeps no rollouts"):
        prefrl.learn(agent, reward, labels=20, steps=2000, asking=ASKING, explore_steps=512)
    assert env.steps_taken == 0, "before anything is stepped"


def test_learn_says_how_many_of_the_first_answers_are_missing(tmp_path: Path) -> None:
    waited: list[tuple[int, int]] = []

    def on_wait(missing: int, first: int) -> None:
        waited.append((missing, first))
        with ComparisonStore(tmp_path / "answers") as store:
            while query := store.claim("ann"):
                assert query.id is not None
                store.answer(query.id, Knowing().label(query), "ann")

    prefrl.learn(
        *of_pendulum(), labeler="human", labels=20, steps=700, asking=ASKING,
        store=tmp_path / "answers", on_wait=on_wait,
    )  # fmt: skip
    assert waited == [(10, 10), (0, 10)]


def test_learn_names_what_is_no_labeler_and_no_answer() -> None:
    class Wordy(Knowing):
        def label(self, query: Query) -> Any:
            return "left"

    with pytest.raises(PrefrlError, match=r"labeler = Wordy is a class: hand over .* Wordy\(...\)"):
        prefrl.learn(*of_pendulum(), labeler=Wordy, labels=20, steps=700, asking=ASKING)  # type: ignore[arg-type]
    with pytest.raises(
        PrefrlError, match=r"'knowing' answered 'left': it must be a prefrl\.Preference"
    ):
        prefrl.learn(*of_pendulum(), labeler=Wordy(), labels=20, steps=700, asking=ASKING)


def test_learn_has_a_labeler_with_a_persons_eyes_and_the_latest_answers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(*args: Any) -> InlineFitter:
        seen.append(args[-1])
        return InlineFitter(*args)

    monkeypatch.setattr("prefrl.api.InlineFitter", watched)
    asking = replace(ASKING, tie_below=1e9, max_comparisons=15, first_share=1.0)
    where = tmp_path / "store.sqlite"
    prefrl.learn(*of_pendulum(), labels=40, steps=700, asking=asking, store=where)
    with prefrl.ComparisonStore(where) as store:
        answers = [c.preference for c in store.comparisons()]
    assert seen == [15]
    assert answers.count(Preference.TIE) > 20, "a fifth is told apart all the same"


def test_learn_trains_on_a_store_that_others_answered(tmp_path: Path) -> None:
    where = tmp_path / "store.sqlite"
    passes(Knowing(), store=where)
    with prefrl.ComparisonStore(where) as store:
        before = store.counts()
        passes("store", store=where)
        assert store.counts() == before
    with pytest.raises(PrefrlError, match="temporary store holds no answers"):
        passes("store")


def test_a_random_policy_holds_its_actions_as_long_as_it_is_told() -> None:
    def held(hold: int) -> float:
        """Share of the steps whose action is the one before."""
        env = prefrl.make_env("CartPole-v1", n_envs=4, seed=0, ring_steps=2000)
        act_at_random(env, 8000, np.random.default_rng(0), hold)
        _, actions = env.rollout(2000)
        env.close()
        return float((actions[1:] == actions[:-1]).mean())

    assert abs(held(1) - 0.5) < 0.03  # of two actions
    assert abs(held(10) - 0.95) < 0.01


def test_learn_fits_as_a_run_does() -> None:
    assert FitSettings() == fit_settings(RewardConfig())
