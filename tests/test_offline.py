"""Queries about a run that nobody trains."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, default_rng

import prefrl.offline
from prefrl.config import from_mapping, load, presets
from prefrl.offline import ask_offline
from prefrl.queries import STRATEGIES, Candidates, disagreement, mutual_information
from prefrl.run import load_trained, newest_checkpoint, train
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.types import Array, PrefrlError, Query

SMALL = {
    "env": {"n_envs": 2},
    "labels": {"budget": 20, "warmup_steps": 512, "ask_every": 512, "ask_above": 0.5},
    "reward": {"fit": "sync", "max_epochs": 2, "refit_epochs": 1},
    "agent": {"kwargs": {"n_steps": 128, "n_epochs": 1}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder. Its gate lets nothing through."""
    preset = load(presets()["prefrl/CartPole-v0"])
    path = tmp_path_factory.mktemp("trained") / "run"
    run = RunDir.create(path, from_mapping(SMALL, replace(preset, steps=1500)))
    train(run.config(), run)
    run.unlock()
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunDir:
    return RunDir.open(Path(shutil.copytree(trained, tmp_path / "run")))


def step_of(run: RunDir) -> int:
    return max(int(path.name) for path in run.checkpoints.glob("0*"))


def waiting(run: RunDir) -> list[Query]:
    """The open queries, oldest first."""
    found = []
    with ComparisonStore(run.store_path) as store:
        while query := store.claim("test"):
            found.append(query)
        for query in found:
            store.release(query.id or 0, "test")
    return found


def told(queries: list[Query]) -> list[tuple[Any, ...]]:
    return [
        (
            *(query.step, query.disagreement),
            *(a.tobytes() for s in (query.left, query.right) for a in (s.obs, s.actions)),
        )
        for query in queries
    ]


def test_as_many_as_wanted_about_the_newest_agent(run: RunDir) -> None:
    assert ask_offline(run, 7, default_rng(0)) == 7
    asked = waiting(run)
    assert len(asked) == 7
    length = run.config().labels.segment_length
    for query in asked:
        assert query.step == step_of(run)
        assert np.isfinite(query.disagreement)
        for segment in (query.left, query.right):
            assert len(segment) == length and segment.obs.std() > 0
            assert segment.step == step_of(run)
            assert segment.render_states is not None and len(segment.render_states) == length
    assert len(set(told(asked))) >= 6, "a pair may be drawn twice"


def test_the_generator_says_which_and_the_process_does_not(run: RunDir) -> None:
    def asked(seed: int) -> list[tuple[Any, ...]]:
        with ComparisonStore(run.store_path) as store:
            store.expire(10**9)
        ask_offline(run, 5, default_rng(seed))
        return told(waiting(run))

    first = asked(1)
    assert asked(1) == first
    assert not set(asked(2)) & set(first)
    code = (
        "import sys; from pathlib import Path; from numpy.random import default_rng\n"
        "from prefrl.offline import ask_offline; from prefrl.rundir import RunDir\n"
        "print(ask_offline(RunDir.open(Path(sys.argv[1])), 5, default_rng(1)))"
    )
    with ComparisonStore(run.store_path) as store:
        store.expire(10**9)
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["5"]
    assert told(waiting(run)) == first


def test_what_is_of_an_older_agent_expires_and_of_this_one_stays(run: RunDir) -> None:
    with ComparisonStore(run.store_path) as store:
        query = replace(store.comparisons()[0].query, id=None)
        now = step_of(run)
        store.add([replace(query, step=step) for step in (0, now - 1, now, now)])
    ask_offline(run, 3, default_rng(0))
    assert [query.step for query in waiting(run)] == [now] * 5
    with ComparisonStore(run.store_path) as store:
        assert store.counts().expired == 2


def test_the_runs_strategy_chooses_without_the_gate(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Candidates, int, Array]] = []

    def watched(candidates: Candidates, n: int, rng: Generator) -> Array:
        chosen = STRATEGIES["mutual-information"](candidates, n, rng)
        seen.append((candidates, n, chosen))
        return chosen

    monkeypatch.setitem(STRATEGIES, "watched", watched)
    config = run.config()
    run.write_config(replace(config, labels=replace(config.labels, strategy="watched")))
    ask_offline(run, 6, default_rng(0))
    ((candidates, n, chosen),) = seen
    gain = mutual_information(candidates.returns)
    assert n == 6 and len(gain) == 6 * config.labels.oversample
    assert gain[chosen].min() >= np.delete(gain, chosen).max()
    asked = [query.disagreement for query in waiting(run)]
    assert asked == pytest.approx(disagreement(candidates.returns)[chosen].tolist())
    assert max(asked) < config.labels.ask_above
    with ComparisonStore(run.store_path) as store:
        assert len(candidates.asked) == len(store.comparisons()) > 0


def test_the_agent_sees_what_it_saw_in_training(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Normalised by the checkpoint's statistics; the segments keep what the environment said."""
    agent, reward = load_trained(run.config(), newest_checkpoint(run))
    stats: Any = agent.get_vec_normalize_env()
    stats.obs_rms.mean = np.full(4, 3.0)
    seen: list[Array] = []
    predict = agent.predict

    def watched(obs: Array, **kwargs: Any) -> Any:
        seen.append(obs)
        return predict(obs, **kwargs)

    monkeypatch.setattr(agent, "predict", watched)
    monkeypatch.setattr(prefrl.offline, "load_trained", lambda *_: (agent, reward))
    ask_offline(run, 2, default_rng(0))
    looked = {row.tobytes() for obs in seen for row in obs}
    assert waiting(run)
    for query in waiting(run):
        raw = query.left.obs
        assert all(row.tobytes() in looked for row in stats.normalize_obs(raw))
        assert not any(row.tobytes() in looked for row in raw)


def test_a_run_without_a_checkpoint(tmp_path: Path) -> None:
    config = from_mapping(SMALL | {"env": {"id": "Pendulum-v1"}})
    run = RunDir.create(tmp_path / "run", config)
    with pytest.raises(PrefrlError, match="has no checkpoint yet: train it first"):
        ask_offline(run, 3, default_rng(0))
    run.unlock()


def test_an_agent_whose_episodes_are_shorter_than_a_segment(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefrl.offline, "policy_segments", lambda *_, **__: [])
    with ComparisonStore(run.store_path) as store:
        store.add([replace(store.comparisons()[0].query, id=None, step=0)])
    with pytest.raises(PrefrlError, match=r"no episode of the agent .* train it on first"):
        ask_offline(run, 3, default_rng(0))
    assert len(waiting(run)) == 1, "what was there stays"


def test_a_trained_ensemble_pays_as_it_did_when_it_was_saved(run: RunDir) -> None:
    """With its members' disagreement, where that counted."""
    config = replace(run.config(), steps=4000)
    reward = replace(config.reward, bonus=0.5, pessimism=1.0)
    _, loaded = load_trained(replace(config, reward=reward), newest_checkpoint(run))
    over = step_of(run) / config.steps
    assert loaded.disagreement_weight == pytest.approx(0.5 * (1 - over) - over)
    assert load_trained(config, newest_checkpoint(run))[1].disagreement_weight == 0
