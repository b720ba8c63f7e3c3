"""Speed of the loop against SB3's PPO as it comes, of a fit, the store, a label and each stage.

Each row measures one of these in processes of its own. The two sides of a ratio take turns in one
row, so that a machine whose speed drifts treats them alike.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.random import default_rng
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.bench.runs import train_and_forget
from prefrl.bench.stages import STAGES, timed
from prefrl.bench.study import Row, Study, in_turn
from prefrl.config import PRESETS, RunConfig, from_mapping, load, settings_key
from prefrl.environments import make_env
from prefrl.evaluate import true_returns
from prefrl.labelers import LABELERS
from prefrl.process import set_up_process
from prefrl.quiet import quiet_mujoco
from prefrl.recorder import act_at_random
from prefrl.reward.dataset import ComparisonData
from prefrl.reward.fit import fit
from prefrl.run import build_reward, fit_settings
from prefrl.store import ComparisonStore
from prefrl.types import Comparison, Preference, Query, Segment

TASK = "half_cheetah"
LABELS = 700
PAIRS, STEPS = 5, 300_000
"""Trainings of each side, and their steps: enough to compare their final scores."""
FIT_SEGMENT, FIT_MEMBERS, FIT_REPEATS = 50, 3, 5
STORED, ANSWERED = 100_000, 500
"""Comparisons in the store, and those then claimed and answered."""
FEW, MANY, EACH_TIME, PASSES = 1000, 10_000, 25, 24
"""Labels after which the cost of one more is measured; labels in a pass, and passes."""
STAGE_STEPS = 100_000
_AT_ONCE = 1000
_COST = ("asking", "store", "fitting")


def measure(spec: Row, work: Path) -> Row:
    """One row of one part."""
    return spec | _PARTS[spec["part"]](spec, work)


def _training(spec: Row, work: Path) -> Row:
    """Whole trainings with SB3's PPO as it comes on the true reward, and with the loop."""
    found = in_turn(trained, ("plain", "loop"), spec["repeat"], spec, work)
    row = {f"{side}_{name}": value for side, one in found.items() for name, value in one.items()}
    return row | {"ratio": row["loop_steps_per_second"] / row["plain_steps_per_second"]}


def trained(side: str, spec: Row, work: Path) -> Row:
    """Steps per second of a training, with its construction and first labels; its true return."""
    config = _config({}, steps=spec["steps"], seed=spec["repeat"])
    started = time.monotonic()
    folder = work / f"loop-{spec['repeat']}"
    agent = _plain(config) if side == "plain" else train_and_forget(config, folder)
    seconds = time.monotonic() - started
    returns = true_returns(agent, config, config.eval_episodes)
    return {"steps_per_second": config.steps / seconds, "return": float(returns.mean())}


def _plain(config: RunConfig) -> BaseAlgorithm:
    """SB3's own defaults, on one environment as Gymnasium makes it."""
    torch.set_num_threads(1)  # with more it is slower
    quiet_mujoco()
    agent = PPO("MlpPolicy", gym.make(config.env.id), device="cpu", seed=config.seed)
    return agent.learn(config.steps)


def _config(changes: Mapping[str, Any], steps: int, seed: int) -> RunConfig:
    config = from_mapping({"labels": {"budget": LABELS}}, load(PRESETS / f"{TASK}.toml"))
    return replace(from_mapping(changes, config), steps=steps, seed=seed)


def _fit(spec: Row, work: Path) -> Row:
    """Fit of a reward from scratch, until its held-out loss stops falling."""
    changes = {"reward": {"members": spec["members"]}}
    config = _config(changes, steps=0, seed=spec["repeat"])
    set_up_process(threads=1)
    segments = _segments(config, 2 * spec["labels"], spec["segment"])  # also quiets MuJoCo
    env = gym.make(config.env.id)
    ensemble = build_reward(config, env.observation_space, env.action_space)
    data = ComparisonData(ensemble, config.seed)
    data.add(_answered(segments, config.seed))
    started, cpu = time.monotonic(), time.process_time()
    metrics = fit(ensemble, data, fit_settings(config.reward), default_rng(config.seed))
    return {
        "cpu_seconds": time.process_time() - cpu,
        "seconds": time.monotonic() - started,
        "epochs": metrics["epochs"],
        "stopped": metrics["epochs"] < config.reward.max_epochs,
        "heldout_accuracy": metrics["heldout_accuracy"],
    }


def _segments(config: RunConfig, n: int, length: int) -> list[Segment]:
    """Segments of a random policy, cut from as many steps as they have in total."""
    rows = n * length // config.env.n_envs + length
    env = make_env(config.env.id, config.env.n_envs, config.seed, ring_steps=rows)
    rng = default_rng(config.seed)
    act_at_random(env, rows * env.num_envs, rng)
    env.close()
    return env.sample_segments(n, length, rng)


def _answered(segments: Sequence[Segment], seed: int) -> list[Comparison]:
    """Each segment compared with its neighbour by an oracle."""
    oracle = LABELERS["oracle"](default_rng(seed))
    queries = [
        Query(left, right, id=number)
        for number, (left, right) in enumerate(
            zip(segments[::2], segments[1::2], strict=True), start=1
        )
    ]
    return [
        Comparison(query, oracle.label(query), oracle.name, 0.0, 0.0, id=query.id or 0)
        for query in queries
    ]


def _store(spec: Row, work: Path) -> Row:
    """Claims and answers in a store that is full already, each on disk when it returns."""
    folder = work / "store"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = _config({}, steps=0, seed=spec["repeat"])
    segments = _segments(config, 2 * _AT_ONCE, config.labels.segment_length)
    pairs = [Query(*sides) for sides in zip(segments[::2], segments[1::2], strict=True)]
    with ComparisonStore(folder / "store.sqlite") as store:
        for _ in range(spec["labels"] // _AT_ONCE):
            asked = store.add(pairs)
            store.answer_all([(query.id or 0, Preference.LEFT) for query in asked], "study")
        store.add(pairs[: spec["answers"]])
        waits = [_answer_one(store) for _ in range(spec["answers"])]
        answered = store.counts().answered
    size = sum(file.stat().st_size for file in folder.iterdir())
    shutil.rmtree(folder)
    assert answered == spec["labels"] + spec["answers"]
    middle, high = np.quantile(1000 * np.array(waits), [0.5, 0.95])
    return {"p50_ms": float(middle), "p95_ms": float(high), "megabytes": size / 1e6}


def _answer_one(store: ComparisonStore) -> float:
    """Seconds of a claim and its answer."""
    started = time.perf_counter()
    query = store.claim("study")
    assert query is not None and query.id is not None
    store.answer(query.id, Preference.RIGHT, "study")
    return time.perf_counter() - started


def _label(spec: Row, work: Path) -> Row:
    """Trainer's cost of one more label, early and late."""
    found = in_turn(label_ms, ("few", "many"), spec["repeat"], spec, work)
    row = {f"{side}_{name}": value for side, one in found.items() for name, value in one.items()}
    return row | {
        "cost_ratio": row["many_ms"] / row["few_ms"],
        "cost_wall_ratio": row["many_wall_ms"] / row["few_wall_ms"],
    }


def label_ms(side: str, spec: Row, work: Path) -> Row:
    """Milliseconds of a label: to choose it, to store it, to read it and to fit to it.

    There is no gate, which would hold back more labels where the reward is better.

    Returns:
      Medians over passes: `ms` of one core, `wall_ms` including waits for the disk.
    """
    there, passed = spec[side], list[tuple[float, float, float]]()
    with timed() as watch:

        def keep(row: Mapping[str, float]) -> None:
            clocks = watch.cpu_seconds, watch.seconds
            cpu, wall = (sum(clock[stage] for stage in _COST) for clock in clocks)
            passed.append((row["labels"], cpu, wall))

        train_and_forget(_label_config(there, spec), work / f"labels-{there}", keep)
    new = np.diff(np.array(passed), axis=0)  # (passes, 3)
    new = new[new[:, 0] > 0]
    cpu, wall = 1000 * np.median(new[:, 1:] / new[:, :1], axis=0)
    return {"ms": float(cpu), "wall_ms": float(wall)}


def _label_config(there: int, spec: Row) -> RunConfig:
    """A short training with `there` labels before it and `each_time` labels in each pass."""
    rollout, warmup = 2048, 16_384
    steps = warmup + rollout * spec["passes"]
    budget = there + spec["each_time"] * steps // rollout
    changes = {
        "labels": {
            "budget": budget,
            "first_share": there / budget,
            "schedule": "constant",
            "ask_above": 0.0,
            "ask_every": rollout,
            "warmup_steps": warmup,
        },
        "reward": {"fit": "sync", "max_epochs": 5},
        "agent": {"kwargs": {"n_epochs": 1}},
    }
    return _config(changes, steps, seed=spec["repeat"])


def _stages(spec: Row, work: Path) -> Row:
    """Time of each stage of one training of the preset, fitted between rollouts."""
    config = _config({"reward": {"fit": "sync"}}, spec["steps"], seed=spec["repeat"])
    started = time.monotonic()
    with timed() as watch:
        train_and_forget(config, work / "stages")
    total = time.monotonic() - started
    seconds = watch.seconds | {"rest": total - sum(watch.seconds.values())}
    shares = {stage: taken / total for stage, taken in seconds.items()}
    return {
        "seconds": total,
        "share": shares,
        "steps_per_second": {stage: config.steps / s for stage, s in seconds.items()},
        "shares": ", ".join(f"{stage} {share:.1%}" for stage, share in shares.items()),
    }


_PARTS: Mapping[str, Callable[[Row, Path], Row]] = {
    "training": _training,
    "fit": _fit,
    "store": _store,
    "label": _label,
    "stages": _stages,
}


def specs(quick: bool) -> Sequence[Row]:
    """Specs by part; the trainings come last, because they take longest."""
    stored, answers = (10_000, 100) if quick else (STORED, ANSWERED)
    many, passes = (3000, 6) if quick else (MANY, PASSES)
    preset = settings_key(_config({}, steps=0, seed=0))
    cost = {"few": FEW, "many": many, "each_time": EACH_TIME, "passes": passes}
    fitted = {"labels": LABELS, "segment": FIT_SEGMENT, "members": FIT_MEMBERS}
    rows: list[tuple[str, Row, int]] = [
        ("fit", fitted, FIT_REPEATS),
        ("store", {"labels": stored, "answers": answers}, 1),
        ("label", cost, 3),
        ("stages", {"steps": STAGE_STEPS // (5 if quick else 1), "labels": LABELS}, 1),
        ("training", {"steps": STEPS // (15 if quick else 1)}, PAIRS),
    ]
    return [
        {"part": part, "repeat": repeat, "settings": preset} | row
        for part, row, repeats in rows
        for repeat in range(1 if quick else repeats)
    ]


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Medians over repeats, or means of returns and accuracies."""
    found: dict[str, float] = {}
    for name, part, key, mean in (
        ("fast_ratio", "training", "ratio", np.median),
        ("loop_return", "training", "loop_return", np.mean),
        ("plain_return", "training", "plain_return", np.mean),
        ("fit_seconds_700", "fit", "cpu_seconds", np.median),
        ("fit_wall_seconds_700", "fit", "seconds", np.median),
        ("fit_accuracy_700", "fit", "heldout_accuracy", np.mean),
        ("store_p95_ms", "store", "p95_ms", np.median),
        ("label_cost_ratio", "label", "cost_ratio", np.median),
        ("label_cost_wall_ratio", "label", "cost_wall_ratio", np.median),
    ):
        if values := [row[key] for row in rows if row["part"] == part]:
            found[name] = float(mean(values))
    for stage in (*STAGES, "rest"):
        if values := [row["share"][stage] for row in rows if row["part"] == "stages"]:
            found[f"{stage}_share"] = float(np.mean(values))
    return found


STUDY = Study(
    name="speed",
    specs=specs,
    measure=measure,
    headline=headline,
    columns=(
        "part",
        "repeat",
        "steps",
        "labels",
        "plain_steps_per_second",
        "loop_steps_per_second",
        "ratio",
        "plain_return",
        "loop_return",
        "cpu_seconds",
        "seconds",
        "epochs",
        "heldout_accuracy",
        "p50_ms",
        "p95_ms",
        "few_ms",
        "many_ms",
        "cost_ratio",
        "cost_wall_ratio",
        "shares",
    ),
)
