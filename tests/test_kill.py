"""kill -9 at random moments, twenty times over one run: no acknowledged answer is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from prefrl import checkpoints
from prefrl.metrics import read_metrics
from prefrl.store import ComparisonStore

FIXTURES = Path(__file__).parent / "fixtures"
STEPS = 160_000
NEW = [
    *("Pendulum-v1", "--env-module", "acknowledge", "--steps", str(STEPS), "--labels", "400"),
    *("--set", "labels.ask_every=2048", "--set", "labels.warmup_steps=2048"),
    *("--set", "agent.kwargs.n_steps=128", "--set", "checkpoint_every=8192"),
    *("--set", "eval_episodes=2", "--set", "labels.ask_above=0"),
]


def start(run: Path, log: Path, fit: str) -> subprocess.Popen[bytes]:
    there = (run / "config.toml").exists()
    words = ["--resume", str(run)] if there else [*NEW, "--run", str(run), "--fit", fit]
    environment = os.environ | {"PYTHONPATH": str(FIXTURES), "ACKNOWLEDGED": str(log)}
    command = [sys.executable, "-m", "prefrl", "train", *words]
    with (run.parent / "output").open("ab") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def wait_for(condition: object, seconds: float = 120) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def check_answers(run: Path, log: Path) -> int:
    """Every acknowledged answer is in the store exactly once; returns how many."""
    acknowledged = [line.split() for line in log.read_text().splitlines()]
    with ComparisonStore(run / "store.sqlite") as store:
        stored = {c.id: c for c in store.comparisons()}
        assert store.counts().answered == len(stored), "a query has two answers"
    assert max(Counter(c.query.id for c in stored.values()).values(), default=1) == 1
    for query, preference, comparison in acknowledged:
        answer = stored[int(comparison)]
        assert answer.preference is not None
        assert (answer.query.id, answer.preference.value) == (int(query), preference)
    return len(acknowledged)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fit", ["sync", "async"])
def test_twenty_kills_lose_nothing(tmp_path: Path, fit: str) -> None:
    rng = random.Random(7)
    run, log = tmp_path / "run", tmp_path / "acknowledged"
    log.touch()
    reached = 0
    for kill in range(20):
        process = start(run, log, fit)
        if kill % 4:  # most die while training, some while starting
            lines = len(read_metrics(run / "metrics.jsonl"))
            before = (run / "metrics.jsonl").stat().st_size if lines else 0
            wait_for(
                lambda before=before: (
                    (run / "metrics.jsonl").exists()
                    and (run / "metrics.jsonl").stat().st_size > before
                )
            )
        time.sleep(rng.uniform(0, 2.5))
        assert process.poll() is None, "it ended before it was killed: give it more steps"
        others = children(process.pid)
        process.kill()
        process.wait()
        wait_for(lambda others=others: all(is_gone(pid) for pid in others), 30)
        if (run / "store.sqlite").exists():
            check_answers(run, log)
        newest = checkpoints.latest(run / "checkpoints")
        step = int(newest.name) if newest else 0
        assert step >= reached, "training went back behind a checkpoint"
        reached = step
    assert reached > 0, "it was never far enough for a checkpoint"
    assert start(run, log, fit).wait(timeout=900) == 0, (tmp_path / "output").read_text()[-2000:]
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] >= STEPS
    assert check_answers(run, log) > 100
