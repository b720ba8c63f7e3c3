"""Evaluation on literal numbers, and what it keeps from one call to the next."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from short_runs import TINY
from watched import Watched

from prefrl import evaluate
from prefrl.config import RunConfig, from_mapping
from prefrl.evaluate import Reference, committed_reference, judge, reference_key
from prefrl.evaluation import Evaluation, evaluate_run
from prefrl.recorder import act_at_random
from prefrl.run import build_env, ring_steps
from prefrl.rundir import RunDir
from prefrl.types import Array, Segment


def test_a_score_is_measured_between_random_and_rl() -> None:
    reference = Reference(random_return=-100, rl_return=300, source="")
    assert [reference.score(x) for x in (-100, 100, 300, 400)] == [0, 0.5, 1, 1.25]
    assert math.isnan(Reference(7, 7, "RL learned nothing").score(8))
    assert math.isnan(Reference(0, -10, "RL did worse").score(-20)), "and worse still is no 2"


class Believes:
    """An ensemble whose members predict known returns, (M, N); its rewards spread them evenly."""

    def __init__(self, returns: Any) -> None:
        self._returns = np.array(returns, dtype=np.float64)

    def member_returns(self, segments: list[Segment]) -> Array:
        return self._returns

    def predict(self, obs: Array, actions: Array) -> Array:
        steps = actions.shape[1]
        return np.repeat(self._returns.mean(0)[:, None] / steps, steps, axis=1)


def judged(truth: list[float], returns: Any, threshold: float = 0.1) -> dict[str, Any]:
    """What `judge` finds on segments of four steps with these true returns."""
    segments = [
        Segment(np.zeros((4, 1)), np.zeros((4, 1)), np.full(4, value / 4)) for value in truth
    ]
    rng = np.random.default_rng(0)
    return judge(Believes(returns), segments, threshold, rng, 4000)  # type: ignore[arg-type]


def test_a_perfect_predictor() -> None:
    truth = [0.0, 1.0, 2.0, 3.0]
    found = judged(truth, [truth, truth])
    assert found["accuracy"] == 1
    assert found["correlation"] == pytest.approx(1)
    assert found["pearson_distance"] == pytest.approx(0, abs=1e-6)
    assert found["gate"] == {
        "error_above": None, "error_below": 0.0, "share_above": 0.0, "threshold": 0.1,
    }  # fmt: skip


def test_a_predictor_that_has_it_upside_down() -> None:
    truth = [0.0, 1.0, 2.0, 3.0]
    found = judged(truth, [[-x for x in truth]])
    assert found["accuracy"] == 0
    assert found["correlation"] == pytest.approx(-1)
    assert found["pearson_distance"] == pytest.approx(1)
    # sure of itself and never right: off by its whole confidence
    confidence = np.average(
        found["reliability"]["confidence"], weights=found["reliability"]["count"]
    )
    assert found["ece"] == pytest.approx(confidence)


def test_seven_in_ten_right_at_a_confidence_of_seven_in_ten_is_calibrated() -> None:
    right = np.array([True] * 7 + [False] * 3)
    table = evaluate._reliability(np.full(10, 0.7), right)
    assert table == {"confidence": [pytest.approx(0.7)], "accuracy": [0.7], "count": [10]}
    assert evaluate._ece(table, 10) == pytest.approx(0)
    boastful = evaluate._reliability(np.full(10, 0.95), right)
    assert evaluate._ece(boastful, 10) == pytest.approx(0.25)


def test_the_gate_is_judged_on_both_sides() -> None:
    """Segments 0 to 2 are told apart by all members; 3 divides them, and their mean is wrong."""
    truth = [0.0, 10.0, 20.0, 30.0]
    members = [[0.0, 10.0, 20.0, 30.0], [0.0, 10.0, 20.0, -60.0]]
    gate = judged(truth, members)["gate"]
    assert gate["error_below"] == 0
    assert gate["error_above"] > 0
    assert gate["share_above"] == pytest.approx(0.5, abs=0.05)  # 3 of the 6 pairs


def test_segments_of_equal_return_judge_nothing() -> None:
    assert judged([1.0, 1.0], [[0.0, 5.0]]) == {}


def configured(**agent: Any) -> RunConfig:
    return from_mapping({"env": {"id": "Pendulum-v1"}, "agent": {"kwargs": agent}})


def test_a_committed_reference_is_of_the_same_settings(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert committed_reference(configured(), path) is None
    key = reference_key(configured(gamma=0.9))
    rows = [{"key": key, "random_return": -10 * i, "rl_return": i} for i in (1, 3)]
    path.write_text(json.dumps({"rows": rows}))
    assert committed_reference(configured(gamma=0.99), path) is None
    found = committed_reference(configured(gamma=0.9), path)
    assert found is not None
    assert (found.random_return, found.rl_return) == (-20, 2)
    assert "mean of 2 seeds" in found.source


def test_training_cuts_episodes_and_evaluation_does_not() -> None:
    cut = from_mapping({
        "env": {"id": "Pendulum-v1", "n_envs": 2, "train_time_limit": 50}, "steps": 256,
        "labels": {"warmup_steps": 128},
        "agent": {"kwargs": {"n_steps": 128, "batch_size": 64, "n_epochs": 1}},
    })  # fmt: skip
    agent = evaluate.train_rl(cut)
    assert [episode["l"] for episode in agent.ep_info_buffer or []] == [50] * 4
    whole = dataclasses.replace(cut, env=dataclasses.replace(cut.env, train_time_limit=0))
    for deterministic in (True, False):
        returns = [evaluate.true_returns(agent, c, 2, deterministic) for c in (cut, whole)]
        np.testing.assert_array_equal(*returns)
    assert reference_key(cut) != reference_key(whole)

    recorder = build_env(cut.env, 0, ring_steps(cut))
    recorder.reset()
    for step in range(1, 101):
        _, _, dones, infos = recorder.step(np.zeros((2, 1), dtype=np.float32))
        assert dones.all() == dones.any() == (step % 50 == 0)
        assert all(info["TimeLimit.truncated"] for info in infos) == dones.all()
    recorder.close()


def test_a_trained_reference_and_its_leak_audit_are_kept(
    prefrl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = evaluate.measure_reference

    def above_random(config: RunConfig) -> Reference:
        """RL on so few steps may end below random, and then there is no score."""
        return dataclasses.replace(really(config), rl_return=0.0)

    monkeypatch.setattr(evaluate, "measure_reference", above_random)
    assert prefrl("train", "Pendulum-v1", *TINY, "--run", "run").status == 0
    assert _evaluation()["normalised_score"] is None
    done = prefrl("eval", "run", "--leak-audit")
    assert done.status == 0, done.err
    audited = _evaluation()
    assert list(audited["leak_audit"]) == list(evaluate.LEAKS)
    assert all(f"training the same agent on {leak}" in done.out for leak in evaluate.LEAKS)
    span = audited["rl_return"] - audited["random_return"]
    score = (audited["true_return"] - audited["random_return"]) / span
    assert audited["normalised_score"] == pytest.approx(score)

    done = prefrl("eval", "run")
    assert "training the same agent" not in done.out
    assert _evaluation() == audited


def test_levels_that_are_alike_leave_no_score(
    prefrl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = Reference(5.0, 5.0, "alike")
    monkeypatch.setattr(evaluate, "measure_reference", lambda config: alike)
    monkeypatch.setattr(evaluate, "LEAKS", ("constant+1",))
    assert prefrl("train", "Pendulum-v1", *TINY, "--run", "run").status == 0
    assert prefrl("eval", "run", "--leak-audit").status == 0
    audited = _evaluation()
    assert audited["normalised_score"] is None
    assert audited["leak_audit"] == {"constant+1": None}
    assert "NaN" not in Path("run/report/evaluation.json").read_text()


def test_a_run_is_evaluated_from_python(prefrl: Callable[..., Any]) -> None:
    assert prefrl("train", "Pendulum-v1", *TINY, "--run", "run").status == 0
    written = _evaluation()
    lines: list[str] = []
    found = evaluate_run(RunDir.open(Path("run")), say=lines.append)
    assert _evaluation() == written == json.loads(found.to_json())
    assert found.true_return == pytest.approx(found.true_returns.mean())
    assert found.reference is None and found.normalised_score is None and found.leak_audit == {}
    assert [line.split()[0] for line in lines] == ["true", "predictor", "no"]


def test_an_evaluation_without_finite_returns_has_no_score() -> None:
    reference = Reference(0.0, 10.0, "known")
    found = Evaluation(5, np.array([math.nan, 1.0]), None, reference, "key")
    assert found.normalised_score is None
    assert json.loads(found.to_json()) == {
        "step": 5,
        "true_return": None,
        "true_returns": [None, 1.0],
        "episodes": 2,
        "normalised_score": None,
        "leak_audit": {},
        "random_return": 0.0,
        "rl_return": 10.0,
        "reference": "known",
        "reference_key": "key",
    }
    assert dataclasses.replace(found, true_returns=np.array([5.0])).normalised_score == 0.5


def _evaluation() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("run/report/evaluation.json").read_text())
    return content


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (6,)), spaces.Discrete(3)])
@pytest.mark.parametrize("lead", [(7,), (5, 2)])
def test_a_constant_reward_has_one_number_for_each_step(
    space: spaces.Space[Any], lead: tuple[int, ...]
) -> None:
    """A rollout is (T, E, ...), a replay batch (B, ...)."""
    actions = np.zeros(lead + (space.shape or ()))
    paid = evaluate.ConstantReward(-1.0, space).predict(np.zeros((*lead, 3)), actions)
    assert paid.shape == lead and (paid == -1).all()


def test_random_returns_favour_no_short_episodes() -> None:
    """Of CartPole's 22 steps on average; the first to end of eight copies take 20."""
    config = from_mapping({"env": {"id": "CartPole-v1"}})
    returns = evaluate.random_returns(config, 800)
    assert returns.shape == (800,) and returns.std() > 5
    assert returns.mean() == pytest.approx(22.2, abs=1.3)  # three standard errors
    twenty = [evaluate.random_returns(config, 20).tolist() for _ in range(2)]
    assert twenty[0] == twenty[1]


class Still:
    """A policy that always takes the same action, of so many numbers, and counts how often."""

    use_sde = False

    def __init__(self, numbers: int = 1) -> None:
        self._numbers, self.steps = numbers, 0

    def get_vec_normalize_env(self) -> None:
        return None

    def predict(self, obs: Array, deterministic: bool, **_: Any) -> tuple[Array, None]:
        self.steps += 1
        return np.full((len(obs), self._numbers), 0.5, dtype=np.float32), None


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_segments_of_a_policy_that_takes_a_share_of_its_actions_at_random(share: float) -> None:
    config = from_mapping({"env": {"id": "Pendulum-v1"}, "labels": {"segment_length": 10}})
    rng = np.random.default_rng(0)
    policy: Any = Still()
    segments = evaluate.policy_segments(policy, config, rng, n=50, random_share=share)
    taken = np.concatenate([segment.actions for segment in segments])
    assert (taken != 0.5).mean() == pytest.approx(share, abs=0.1)
    assert len({segment.obs.tobytes() for segment in segments}) == 50


def test_each_environment_draws_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"id": "Pendulum-v1", "n_envs": 4}
    config = from_mapping({"env": env, "labels": {"segment_length": 10}})
    step, taken = evaluate.Recorder.step, list[Array]()

    def watched(recorder: Any, actions: Array) -> Any:
        taken.append(actions[:, 0].copy())
        return step(recorder, actions)

    monkeypatch.setattr(evaluate.Recorder, "step", watched)
    policy: Any = Still()
    evaluate.policy_segments(policy, config, np.random.default_rng(0), 1, 200, random_share=0.5)
    drawn = [row[row != 0.5] for row in taken]  # of the four actions, those at random
    assert {len(row) for row in drawn} == {0, 1, 2, 3, 4}
    assert all(len(set(row)) == len(row) for row in drawn)


def test_the_reference_is_rl_with_both_normalisations() -> None:
    small = {"steps": 600, "env": {"id": "Pendulum-v1", "n_envs": 2}}
    kwargs = {"agent": {"kwargs": {"n_steps": 64, "n_epochs": 1}}, "labels": {"warmup_steps": 128}}
    stats = evaluate.train_rl(from_mapping(small | kwargs)).get_vec_normalize_env()
    assert stats is not None and stats.norm_obs and stats.norm_reward
    assert stats.ret_rms.count > 500, "the true reward went through it"


def test_the_reference_is_of_the_configurations_discount_and_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, seeds = evaluate.make_vec_env, []

    def watched(env_id: str, n_envs: int, seed: int, *rest: Any) -> Any:
        seeds.append(seed)
        return make(env_id, n_envs, seed, *rest)

    monkeypatch.setattr(evaluate, "make_vec_env", watched)
    kwargs = {"gamma": 0.9, "n_steps": 64, "n_epochs": 1}
    small = {"env": {"id": "Pendulum-v1", "n_envs": 2}, "labels": {"warmup_steps": 128}}
    config = from_mapping(small | {"steps": 300, "seed": 7, "agent": {"kwargs": kwargs}})
    stats = evaluate.train_rl(config).get_vec_normalize_env()
    assert stats is not None and stats.gamma == 0.9 and seeds == [7]


SMALL = from_mapping(
    {
        "steps": 640,
        "env": {"id": "Pendulum-v1", "n_envs": 2},
        "labels": {"warmup_steps": 128},
        "agent": {"kwargs": {"n_steps": 64, "n_epochs": 1}},
    }
)


@pytest.mark.parametrize(
    ("leak", "paid"), [("constant+1", 1.0), ("constant-1", -1.0), ("random-network", None)]
)
def test_a_leak_audit_trains_on_what_it_says(leak: str, paid: float | None) -> None:
    """One that trained nothing would always find that nothing leaks."""
    agent: Any = evaluate.train_on_leak(SMALL, leak)
    buffer = agent.rollout_buffer
    assert agent.num_timesteps == SMALL.steps - SMALL.labels.warmup_steps
    if paid is not None:
        assert buffer.predicted_reward == paid
    else:
        assert buffer.predicted_reward != 0 and not buffer.reward.fitted


def test_a_random_network_pays_nothing_on_average_before_training() -> None:
    reward = evaluate.train_on_leak(SMALL, "random-network").rollout_buffer.reward  # type: ignore[attr-defined]
    recorder = build_env(SMALL.env, SMALL.seed, ring_steps(SMALL))
    act_at_random(recorder, SMALL.labels.warmup_steps, np.random.default_rng(SMALL.seed))
    paid = reward.predict(*recorder.rollout(64))  # the same steps as there
    recorder.close()
    assert paid.mean() == pytest.approx(0, abs=1e-4) and paid.std() > 0.1


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_policy_sees_what_it_saw_in_training(deterministic: bool) -> None:
    policy: Any = Watched()
    evaluate.true_returns(policy, SMALL, 2, deterministic)
    policy.check(deterministic)
    policy = Watched()
    evaluate.play_episode(policy, gym.make("Pendulum-v1"), 0)
    policy.check(True)


def test_a_policy_sees_observations_clipped_as_in_training() -> None:
    policy: Any = Watched()
    policy.env.clip_obs = 0.2
    evaluate.true_returns(policy, SMALL, 2)
    assert max(np.abs(seen).max() for seen in policy.seen) == pytest.approx(0.2)


class Pushes(Still):
    """Always pushes the cart to the right."""

    def predict(self, obs: Array, deterministic: bool, **_: Any) -> tuple[Array, None]:
        return np.array(1), None


def test_an_episode_ends_where_the_environment_ends_it() -> None:
    env, steps, over = gym.make("CartPole-v1"), 0, False
    env.reset(seed=3)
    while not over:
        over = env.step(1)[2]
        steps += 1
    policy, taken = Pushes(), list[int]()
    found = evaluate.play_episode(policy, env, 3, lambda: taken.append(1))  # type: ignore[arg-type]
    assert found == len(taken) == steps < 20


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [("odd/Endless-v0", {}), ("odd/Vector-v0", {"max_episode_steps": -1})],
)
def test_an_episode_that_nothing_ends_is_cut(
    env_id: str, kwargs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "LONGEST", 30)
    env = {"id": env_id, "module": "odd_envs", "kwargs": kwargs, "n_envs": 2}
    policy: Any = Still(3)
    returns = evaluate.true_returns(policy, from_mapping({"env": env}), 4)
    assert len(returns) == 4 and policy.steps == 2 * 30


def test_quality_is_of_a_mixture_and_of_the_final_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    anything: Any = None
    monkeypatch.setattr(evaluate, "policy_segments", lambda *_, random_share: [random_share] * 2)
    monkeypatch.setattr(evaluate, "judge", lambda _, segments, *__: {"accuracy": segments})
    found = evaluate.predictor_quality(anything, anything, SMALL, np.random.default_rng(0))
    assert sorted(found["accuracy"]) == [0, 0, 0.5, 0.5, 1, 1]
    assert found["on_policy"]["accuracy"] == [0, 0]


def test_the_likelihood_is_of_pairs_that_differ() -> None:
    truth = [0.0, 0.0, 4.0, 4.0]
    assert judged(truth, [truth])["nll"] == pytest.approx(math.log1p(math.exp(-4)))


def test_a_reference_is_of_rl_and_of_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "train_rl", lambda config: None)
    monkeypatch.setattr(evaluate, "true_returns", lambda *_: np.array([5.0, 7.0]))
    monkeypatch.setattr(evaluate, "random_returns", lambda *_: np.array([1.0, 3.0]))
    found = evaluate.measure_reference(SMALL)
    assert (found.random_return, found.rl_return) == (2, 6)
