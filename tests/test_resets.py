"""An agent that is reset knows what it knew before it had learned anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from torch import Tensor

import prefrl
from prefrl.agents.snapshot import AgentSnapshot, tensors_of
from prefrl.config import PRESETS, RunConfig, from_mapping, load
from prefrl.loop import PreferenceLoop
from prefrl.run import train
from prefrl.rundir import RunDir
from prefrl.streams import Stage, stream
from prefrl.types import PrefrlError


def short(**agent: Any) -> RunConfig:
    """Pendulum in 4,000 steps, one pass every 512."""
    changes = {
        "labels": {"budget": 20, "warmup_steps": 1024, "ask_every": 512, "first_share": 0.5},
        "reward": {"fit": "sync", "max_epochs": 2, "members": 2, "hidden": [8]},
        "agent": {"explore_steps": 0}
        | agent
        | {"kwargs": {"n_steps": 64, "batch_size": 64, "n_epochs": 1}},
        "steps": 4000,
        "checkpoint_every": 512,
    }
    return from_mapping(changes, load(PRESETS / "pendulum.toml"))


def weights(agent: Any) -> list[Tensor]:
    return [p.detach().clone() for p in agent.policy.parameters()]


def same(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(bool((a == b).all()) for a, b in zip(some, others, strict=True))


@pytest.fixture
def restarts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[Tensor]]]:
    """Of the runs that follow: each restart's step, and the weights it leaves."""
    seen: list[tuple[int, list[Tensor]]] = []
    restart = PreferenceLoop._restart

    def watched(loop: PreferenceLoop) -> None:
        before = loop.progress.restarted
        restart(loop)
        if loop.progress.restarted and not before:
            seen.append((loop.recorder.steps_taken, weights(loop.agent)))

    monkeypatch.setattr(PreferenceLoop, "_restart", watched)
    return seen


def test_a_run_begins_anew_once_with_the_reward_it_has(
    tmp_path: Path,
    restarts: list[tuple[int, list[Tensor]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, untrained = PreferenceLoop.run, []

    def watched(loop: PreferenceLoop) -> None:
        untrained.extend(weights(loop.agent))
        start(loop)

    monkeypatch.setattr(PreferenceLoop, "run", watched)
    run = RunDir.create(tmp_path / "run", short(restart_at=0.5))
    agent, reward = train(short(restart_at=0.5), run)
    run.unlock()
    assert [step for step, _ in restarts] == [2048], "the first pass after half of the steps"
    assert same(restarts[0][1], untrained)
    assert not same(weights(agent), untrained), "it has learned since"
    assert reward.updates > 2, "and the reward has not begun anew"


def test_one_that_is_resumed_begins_anew_from_the_same_weights(
    tmp_path: Path, restarts: list[tuple[int, list[Tensor]]]
) -> None:
    config = short(restart_at=0.5)
    for name, stop in (("whole", 4000), ("parted", 1500)):
        run = RunDir.create(tmp_path / name, config)
        train(from_mapping({"steps": stop}, short()) if stop < 4000 else config, run)
        if stop < 4000:
            assert len(restarts) == 1, "not before it is due"
            train(config, run)
        train(config, run)  # nothing left to do, and no second restart
        run.unlock()
    assert len(restarts) == 2
    assert same(restarts[0][1], restarts[1][1])


def test_one_that_is_resumed_is_paid_for_disagreement_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, weighed = PPO.learn, []

    def watched(agent: PPO, *args: Any, **kwargs: Any) -> PPO:
        weighed.append(agent.rollout_buffer.reward.disagreement_weight)  # type: ignore[attr-defined]
        return learn(agent, *args, **kwargs)

    monkeypatch.setattr(PPO, "learn", watched)
    config = from_mapping({"reward": {"bonus": 0.5}}, short())
    run = RunDir.create(tmp_path / "run", config)
    train(from_mapping({"steps": 2000}, config), run)
    train(config, run)
    run.unlock()
    assert weighed[0] == 0, "before its second fit"
    assert weighed[1] == pytest.approx(0.5 * (1 - 2000 / config.steps), abs=0.05)


def test_one_that_is_resumed_draws_other_numbers_than_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, seeds = list[tuple[Stage, int]](), list[int | None]()
    set_random_seed = PPO.set_random_seed

    def watched(seed: int, stage: Stage, part: int = 0) -> Any:
        drawn.append((stage, part))
        return stream(seed, stage, part)

    def seeded(agent: PPO, seed: int | None = None) -> None:
        seeds.append(seed)
        set_random_seed(agent, seed)

    monkeypatch.setattr("prefrl.run.stream", watched)
    monkeypatch.setattr(PPO, "set_random_seed", seeded)
    config = from_mapping({"steps": 1500}, short())
    run = RunDir.create(tmp_path / "run", config)
    train(config, run)
    assert {(Stage.LABELER, 0), (Stage.LOOP, 0)} <= set(drawn) and set(seeds) == {config.seed}
    train(from_mapping({"steps": 1600}, config), run)
    run.unlock()
    step = drawn[-1][1]
    assert step >= 1500 and {(Stage.LABELER, step), (Stage.LOOP, step)} <= set(drawn)
    assert seeds[-1] != config.seed


def test_an_agent_with_a_replay_buffer_forgets_too_and_keeps_the_buffer() -> None:
    env = prefrl.make_env("Pendulum-v1", n_envs=1, seed=0)
    agent = SAC("MlpPolicy", env, buffer_size=500, learning_starts=20, seed=0)
    beginning, before = AgentSnapshot(agent), weights(agent)
    entropy = {name: value.clone() for name, value in tensors_of(agent).items()}
    agent.learn(60)
    assert not same(weights(agent), before)
    beginning.restore()
    assert same(weights(agent), before)
    assert all(bool((value == entropy[name]).all()) for name, value in tensors_of(agent).items())
    assert not agent.actor.optimizer.state
    assert agent.replay_buffer is not None and agent.replay_buffer.pos == 60
    agent.learn(30, reset_num_timesteps=False)
    assert all(np.isfinite(p.numpy()).all() for p in weights(agent))
    beginning.restore()
    assert same(weights(agent), before), "what it keeps is a copy"


@pytest.mark.parametrize("at", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(at: float) -> None:
    with pytest.raises(PrefrlError, match=r"agent.restart_at = .* it must be from 0 to 0.9"):
        short(restart_at=at)
