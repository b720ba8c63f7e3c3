"""What the preference loop costs: its steps per second against plain SB3 PPO's.

Both run the same environments with the same hyperparameters for the same steps, in turn, in
processes of one tree, so that a machine whose speed drifts treats them alike.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from prefrl.bench.study import Row, Study, in_fresh_process
from prefrl.config import PRESETS, RunConfig, from_mapping, load
from prefrl.evaluate import train_rl
from prefrl.run import train
from prefrl.rundir import RunDir

TASKS = {"half_cheetah": 200_000, "pendulum": 100_000}
"""Steps of each side of a pair."""
LABELS = 700
PAIRS = 5


def measure(spec: Row, work: Path) -> Row:
    """One pair: plain PPO and the loop, each in a fresh process, in alternating order."""
    sides = ["plain", "loop"] if spec["pair"] % 2 == 0 else ["loop", "plain"]
    rates = {side: in_fresh_process(steps_per_second, side, spec, work) for side in sides}
    return spec | {
        "plain_steps_per_second": rates["plain"],
        "loop_steps_per_second": rates["loop"],
        "ratio": rates["loop"] / rates["plain"],
    }


def steps_per_second(side: str, spec: Row, work: Path) -> float:
    """Steps per second of a whole training, first labels and all."""
    config = _config(spec)
    started = time.monotonic()
    if side == "plain":
        train_rl(config)
    else:
        folder = work / f"{spec['task']}-{spec['fit']}-{spec['pair']}"
        shutil.rmtree(folder, ignore_errors=True)
        train(config, RunDir.create(folder, config))
        shutil.rmtree(folder, ignore_errors=True)
    return config.steps / (time.monotonic() - started)


def _config(spec: Row) -> RunConfig:
    config = load(PRESETS / f"{spec['task']}.toml")
    changes = {"labels": {"budget": LABELS}, "reward": {"fit": spec["fit"]}}
    return replace(from_mapping(changes, config), steps=spec["steps"], seed=spec["pair"])


def specs(quick: bool) -> Sequence[Row]:
    return [
        {"task": task, "fit": fit, "pair": pair, "steps": steps // (4 if quick else 1)}
        for task, steps in TASKS.items()
        for fit in ("async", "sync")
        for pair in range(2 if quick else PAIRS)
    ]


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Median ratio of each task and way of fitting; over tasks, the median of those."""
    found: dict[str, float] = {}
    for fit in ("async", "sync"):
        medians = []
        for task in TASKS:
            ratios = [r["ratio"] for r in rows if r["task"] == task and r["fit"] == fit]
            medians.append(float(np.median(ratios)) if ratios else math.nan)
            found[f"{task}_{fit}_ratio"] = medians[-1]
        found[f"{fit}_ratio"] = float(np.median(medians))
    return found


OVERHEAD = Study(
    name="overhead",
    specs=specs,
    measure=measure,
    headline=headline,
    columns=(
        *("task", "fit", "pair", "steps"),
        *("plain_steps_per_second", "loop_steps_per_second", "ratio"),
    ),
)
