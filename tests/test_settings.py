"""Settings reach what they set: a short run with each is another run than one without.

What each of them does there is tested where it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prefrl.cli_train import _must_match
from prefrl.config import PRESETS, from_mapping, load
from prefrl.run import train
from prefrl.rundir import RunDir
from prefrl.types import PrefrlError

BASE: Mapping[str, Any] = {
    "env": {"n_envs": 4},
    "steps": 3000,
    "labels": {
        "budget": 40,
        "first_share": 0.5,
        "ask_above": 0.0,
        "segment_length": 10,
        "warmup_steps": 1024,
        "ask_every": 512,
    },
    "reward": {"fit": "sync", "max_epochs": 3, "members": 2, "hidden": [8]},
    "agent": {
        "explore_steps": 0,
        "critic_epochs": 0,
        "kwargs": {"n_steps": 64, "batch_size": 64, "n_epochs": 1},
    },
}
CHANGES: list[dict[str, dict[str, Any]]] = [
    *({"agent": {name: value}} for name, value in (
        ("explore_steps", 512), ("critic_epochs", 2), ("normalize_return", False),
        ("restart_at", 0.5),
    )),
    *({"labels": {name: value}} for name, value in (
        ("warmup_hold", 5), ("on_policy_share", 0.5), ("reuse", 0.5), ("half_rate_at", 1.0),
        ("oversample", 3), ("max_comparisons", 25), ("strategy", "entropy"), ("pool_size", 60),
        ("tie_below", 5.0),
    )),
    *({"reward": {name: value}} for name, value in (
        ("bonus", 2.0), ("pessimism", 0.5), ("sampled_steps", 3), ("crop", 0.5), ("noise", 0.3),
        ("pseudo_labels", 0.6), ("dynamics", 0.5), ("dynamics", 1.0), ("restart", True),
        ("l2", 0.05), ("target", "returns"), ("refit_part", 10), ("output_std", 2.0),
    )),
]  # fmt: skip


def weights(folder: Path, changes: Mapping[str, Any]) -> Tensor:
    """Of the agent and of the reward of a run, in a row."""
    config = from_mapping(changes, from_mapping(BASE, load(PRESETS / "pendulum.toml")))
    with RunDir.create(folder, config) as run:
        agent, reward = train(config, run)
    every = (*agent.policy.parameters(), *reward.net.parameters())
    return torch.cat([parameter.detach().flatten() for parameter in every])


def test_a_setting_reaches_what_it_sets(tmp_path: Path) -> None:
    usual = weights(tmp_path / "usual", {})
    assert torch.equal(weights(tmp_path / "again", {}), usual), "or nothing below says anything"
    runs = [weights(tmp_path / str(i), changes) for i, changes in enumerate(CHANGES)]
    same = [
        (changes, before)
        for i, (changes, run) in enumerate(zip(CHANGES, runs, strict=True))
        for before, other in zip([{}, *CHANGES[:i]], [usual, *runs[:i]], strict=True)
        if torch.equal(run, other)
    ]
    assert not same


def test_a_resumed_run_keeps_every_key_of_its_tables() -> None:
    old = from_mapping({"agent": {"kwargs": {"n_steps": 64, "gamma": 0.9}}})
    fewer = from_mapping({"agent": {"kwargs": {"n_steps": 64}}})
    _must_match(old, from_mapping({"env": {"vec": "dummy"}, "reward": {"fit": "sync"}}, old))
    with pytest.raises(PrefrlError, match=r"change agent\.kwargs\.gamma from 0\.9 to None"):
        _must_match(old, fewer)
    with pytest.raises(PrefrlError, match=r"change agent\.kwargs\.gamma from None to 0\.9"):
        _must_match(fewer, old)
