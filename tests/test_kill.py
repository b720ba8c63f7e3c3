"""kill -9 at any moment: no acknowledged answer is lost, and training goes on."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefrl import checkpoints
from prefrl.metrics import read_metrics
from prefrl.store import ComparisonStore

# Few labels at a time, often; checkpoints often; far more steps than the lives last.
WORDS = shlex.split(
    "prefrl/CartPole-v0 --env-module acknowledging --run run --steps 1000000 --labels 10000 "
    "--schedule constant --ask-above 0 --n-envs 4 --set labels.first_share=0.004 "
    "--set labels.warmup_steps=512 --set labels.ask_every=256 --set checkpoint_every=512 "
    "--set agent.kwargs.n_steps=64 --set agent.kwargs.n_epochs=2 --set eval_episodes=1 "
    "--set reward.refit_epochs=1"
)


@pytest.mark.parametrize(
    ("kills", "fit"),
    [
        (2, "async"),
        pytest.param(20, "sync", marks=pytest.mark.slow),
        pytest.param(20, "async", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(1800)
def test_kill_and_resume(start: Callable[..., Any], tmp_path: Path, kills: int, fit: str) -> None:
    run, log = tmp_path / "run", tmp_path / "acknowledged.txt"
    rng = np.random.default_rng(kills)
    reached, lines = 0, 0
    for life in range(kills):
        known = (run / "config.toml").exists()
        words = ["--resume", "run"] if known else [*WORDS, "--fit", fit]
        started = start("train", *words, ACKNOWLEDGED=str(log))
        if life < 2 or rng.random() < 0.75:  # else at any moment of its start
            _until(lambda known=lines: len(_rows(run)) > known, started)
        time.sleep(rng.uniform(0, 2))
        started.process.kill()
        started.wait()
        _check_nobody_is_left(started.process.pid)

        _check_answers(run, log)
        assert all(row["step"] >= reached for row in _rows(run)[lines:]), "it began again"
        newest = checkpoints.latest(run / "checkpoints")
        assert newest is None or int(newest.name) >= reached
        reached, lines = int(newest.name) if newest else 0, len(_rows(run))

    assert reached > 0
    with ComparisonStore(run / "store.sqlite") as store:
        answered = store.counts().answered
    last = ["--steps", str(reached + 2000), "--labels", str(max(answered, 1000))]
    started = start("train", "--resume", "run", *last, ACKNOWLEDGED=str(log))
    assert started.wait(600) == 0, started.output
    _check_answers(run, log)
    with ComparisonStore(run / "store.sqlite") as store:
        counts = store.counts()
    assert counts.open == counts.leased == 0
    assert len(log.read_text().splitlines()) <= counts.answered
    steps = [row["step"] for row in read_metrics(run / "metrics.jsonl")]
    assert steps == sorted(set(steps)) and steps[-1] >= reached + 2000
    assert (run / "report" / "index.html").exists()


def _check_answers(run: Path, log: Path) -> None:
    """Every acknowledged answer is there once; no query has two."""
    if not (run / "store.sqlite").exists():
        assert not log.exists()
        return
    with ComparisonStore(run / "store.sqlite") as store:
        stored = [(c.id, c.query.id) for c in store.comparisons()]
    text = log.read_text() if log.exists() else ""
    whole = text[: text.rfind("\n") + 1].splitlines()
    acknowledged = Counter((int(a), int(b)) for a, b in (line.split() for line in whole))
    assert set(acknowledged.values()) <= {1}
    assert acknowledged.keys() <= set(stored)
    assert len({query for _, query in stored}) == len(stored)


def _check_nobody_is_left(group: int, seconds: float = 60) -> None:
    """The reward fit, which is in the killed trainer's process group, ends by itself."""
    deadline = time.monotonic() + seconds
    while alive := _alive(group):
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.1)


def _alive(group: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # gone meanwhile
            continue
        state, _, pgrp = text.rpartition(")")[2].split()[:3]
        if int(pgrp) == group and state != "Z":
            found.append(text)
    return found


def _rows(run: Path) -> list[dict[str, Any]]:
    """Every whole line ever written, those that a resume took back included."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:  # a kill cut it
            continue
    return rows


def _until(happened: Callable[[], bool], started: Any, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert started.process.poll() is None, started.output
        assert time.monotonic() < deadline, started.output
        time.sleep(0.02)
