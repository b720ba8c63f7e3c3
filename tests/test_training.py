"""Every environment with a preset trains for 5,000 steps on an oracle's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prefrl.config import from_mapping, load, presets
from prefrl.metrics import read_metrics
from prefrl.run import train
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.types import Preference

PRESETS = presets()
SHORT = {
    "labels": {
        "budget": 40, "first_share": 0.5, "ask_above": 0.0,
        "warmup_steps": 2048, "ask_every": 1024, "pool_size": 100,
    },
    "reward": {"fit": "sync", "max_epochs": 2, "refit_epochs": 1},
    "agent": {"explore_steps": 0, "kwargs": {"n_steps": 128, "batch_size": 128, "n_epochs": 2}},
}  # fmt: skip


@pytest.mark.parametrize("path", PRESETS.values(), ids=[path.stem for path in PRESETS.values()])
def test_every_environment_trains_on_an_oracles_answers(path: Path, tmp_path: Path) -> None:
    config = from_mapping(SHORT, replace(load(path), steps=5000))
    run = RunDir.create(tmp_path / "run", config)
    agent, reward = train(config, run)
    rows = read_metrics(run.metrics_path)
    assert rows[-1]["step"] >= 5000
    assert rows[0]["labels"] < rows[-1]["labels"] <= 40, "nothing was asked while it trained"

    with ComparisonStore(run.store_path) as store:
        answers = store.comparisons()
    for answer in answers:
        left, right = answer.query.left.true_return, answer.query.right.true_return
        better = Preference.LEFT if left > right else Preference.RIGHT
        seen = left != right and abs(left - right) >= config.labels.tie_below
        assert answer.preference is (better if seen else Preference.TIE) or (
            config.labels.tie_below > 0 and answer.preference is better  # eyes that got used to it
        )

    segments = [answer.query.left for answer in answers]
    assert {len(segment) for segment in segments} == {config.labels.segment_length}
    predicted = reward.member_returns(segments)  # (M, N)
    assert np.isfinite(predicted).all()
    assert predicted.std(axis=1).min() > 0, "a member that tells no segment from another"
    assert all(bool(p.isfinite().all()) for p in agent.policy.parameters())
    run.unlock()
