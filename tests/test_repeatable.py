"""The same seed gives the same run; another seed gives another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prefrl.config import PRESETS, RunConfig, from_mapping, load
from prefrl.run import train
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.store.blobs import encode_segment

SHORT = {
    "steps": 6144,
    "labels": {"budget": 60, "warmup_steps": 2048, "ask_every": 2048},
    "reward": {"fit": "sync"},
    "agent": {"kwargs": {"n_steps": 128}},
}

Run = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[tuple[object, ...]]]


def run(folder: Path, seed: int) -> Run:
    """Policy weights, reward weights and all answers of a short synchronous run."""
    config: RunConfig = from_mapping(SHORT | {"seed": seed}, load(PRESETS / "pendulum.toml"))
    with RunDir.create(folder, config) as made:
        agent, reward = train(config, made)
    with ComparisonStore(folder / "store.sqlite") as store:
        answers = [
            (
                *(c.id, c.query.id, c.preference, c.labeler, c.query.step),
                *(repr(c.query.disagreement), c.query.left.step, c.query.right.step),
                *(encode_segment(c.query.left), encode_segment(c.query.right)),
            )
            for c in store.comparisons()
        ]
    return agent.policy.state_dict(), reward.state_dict(), answers


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("runs") / "first", seed=3)


def test_the_same_seed_gives_the_same_weights_and_answers(first: Run, tmp_path: Path) -> None:
    again = run(tmp_path / "again", seed=3)
    for one, other in zip(first[:2], again[:2], strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name
    assert len(first[2]) > 30
    assert first[2] == again[2]


def test_another_seed_gives_others(first: Run, tmp_path: Path) -> None:
    other = run(tmp_path / "other", seed=4)
    assert any(not torch.equal(first[0][name], other[0][name]) for name in first[0])
    assert first[2] != other[2]
