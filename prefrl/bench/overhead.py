"""Overhead of the preference loop: its steps per second against plain PPO's.

Three sides run the same environments with the same hyperparameters for the same steps: SB3's PPO
on the true reward; the loop's PPO, which makes the same update in fewer calls, on the true reward;
and the loop. They take turns, so that a machine whose speed drifts treats them alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from prefrl.bench.runs import train_and_forget
from prefrl.bench.study import Row, Study, in_turn
from prefrl.config import PRESETS, RunConfig, from_mapping, load, settings_key
from prefrl.evaluate import train_rl

TASKS = {"half_cheetah": 200_000, "pendulum": 100_000}
"""Steps of each side."""
LABELS = 700
PAIRS = 3
SIDES = {"plain": "sb3-ppo", "own": "ppo", "loop": "ppo"}
"""The three sides, and the agent of each."""


def measure(spec: Row, work: Path) -> Row:
    """Each side once, in a fresh process, in alternating order."""
    rates = in_turn(steps_per_second, [*SIDES], spec["pair"], spec, work)
    timed = {f"{side}_steps_per_second": rate for side, rate in rates.items()}
    ratios = {"ratio": rates["loop"] / rates["plain"], "own_ratio": rates["loop"] / rates["own"]}
    return spec | timed | ratios


def steps_per_second(side: str, spec: Row, work: Path) -> float:
    """Steps per second of a whole training, including its first labels."""
    config = _config(spec, SIDES[side])
    started = time.monotonic()
    if side != "loop":
        train_rl(config)
    else:
        train_and_forget(config, work / f"{spec['task']}-{spec['fit']}-{spec['pair']}")
    return config.steps / (time.monotonic() - started)


def _config(spec: Row, agent: str) -> RunConfig:
    config = load(PRESETS / f"{spec['task']}.toml")
    changes = {
        "labels": {"budget": LABELS},
        "reward": {"fit": spec["fit"]},
        "agent": {"name": agent},
    }
    return replace(from_mapping(changes, config), steps=spec["steps"], seed=spec["pair"])


def specs(quick: bool) -> Sequence[Row]:
    rows = [
        {"task": task, "fit": fit, "pair": pair, "steps": steps // (4 if quick else 1)}
        for task, steps in TASKS.items()
        for fit in ("async", "sync")
        for pair in range(2 if quick else PAIRS)
    ]
    return [row | {"settings": settings_key(_config(row, "ppo"))} for row in rows]


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Median ratios of each task and way of fitting, and their median over tasks."""
    found: dict[str, float] = {}
    for fit, ratio in product(("async", "sync"), ("ratio", "own_ratio")):
        medians = []
        for task in TASKS:
            ratios = [r[ratio] for r in rows if r["task"] == task and r["fit"] == fit]
            medians.append(float(np.median(ratios)) if ratios else math.nan)
            found[f"{task}_{fit}_{ratio}"] = medians[-1]
        found[f"{fit}_{ratio}"] = float(np.median(medians))
    return found


STUDY = Study(
    name="overhead",
    specs=specs,
    measure=measure,
    headline=headline,
    columns=(
        "task",
        "fit",
        "pair",
        "steps",
        "plain_steps_per_second",
        "own_steps_per_second",
        "loop_steps_per_second",
        "ratio",
        "own_ratio",
    ),
)
