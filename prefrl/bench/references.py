"""References of normalised scores: the random policy and RL on the true reward."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefrl.bench.study import BENCHMARKS, Row, Study
from prefrl.bench.tasks import (
    ENVIRONMENT_TASKS,
    LONG_STEP_OVERRIDES,
    LONG_TASKS,
    LOOP_TASKS,
    REFERENCE_SEEDS,
    mean_of,
    row_config,
    seeds,
    task_config,
)
from prefrl.evaluate import (
    Reference,
    committed_reference,
    random_returns,
    reference_key,
    train_rl,
    true_returns,
)
from prefrl.types import PrefrlError


def measure(spec: Row, work: Path) -> Row:
    """One seed of RL on the true reward, and of the random policy."""
    config = row_config({"arm": "default"} | spec)
    started = time.monotonic()
    rl = true_returns(train_rl(config), config, config.eval_episodes)
    seconds = time.monotonic() - started
    return spec | {
        "env": config.env.id,
        "steps": config.steps,
        "rl_return": float(rl.mean()),
        "random_return": float(random_returns(config, config.eval_episodes).mean()),
        "seconds": seconds,
    }


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean returns of RL and random by task, and by steps where they are not the preset's."""
    found: dict[str, float] = {}
    for task, arm in dict.fromkeys((r["task"], r.get("arm")) for r in rows):
        mine = [r for r in rows if (r["task"], r.get("arm")) == (task, arm)]
        name = task if arm is None else f"{task}_{arm.partition(' ')[0]}"
        for kind in ("rl", "random"):
            found[f"{name}_{kind}"] = mean_of(mine, f"{kind}_return")
    return found


def reference_of(spec: Row) -> Reference:
    """The random and the RL return that a row's score is normalised with.

    Raises:
      PrefrlError: it is not measured yet.
    """
    folder, command = BENCHMARKS / "references", "prefrl bench references"
    if spec["quick"]:
        folder, command = folder / "quick", f"{command} --quick"
    reference = committed_reference(row_config(spec), folder / "result.json")
    if reference is None:
        raise PrefrlError(f"no committed reference for {spec['task']}: run `{command}` first")
    return reference


def require_references(missing: Sequence[Row]) -> None:
    """Refuse rows that have no reference."""
    for spec in missing:
        reference_of(spec)


def specs(quick: bool) -> Sequence[Row]:
    usual = [
        _spec(task, "default", seed, quick)
        for task in dict.fromkeys((*LOOP_TASKS, *ENVIRONMENT_TASKS))
        for seed in seeds(task, "reference", quick)
    ]
    long = [
        _spec(task, "1M steps", seed, quick) | {"arm": "1M steps"}
        for seed in REFERENCE_SEEDS[: 1 if quick else None]
        for task in LONG_TASKS
        if task not in LONG_STEP_OVERRIDES
    ]
    return usual + long


def _spec(task: str, arm: str, seed: int, quick: bool) -> Row:
    key = reference_key(task_config(task, arm, seed, quick))
    return {"task": task, "seed": seed, "quick": quick, "key": key}


STUDY = Study(
    name="references",
    specs=specs,
    measure=measure,
    headline=headline,
    columns=("task", "env", "seed", "steps", "rl_return", "random_return", "seconds"),
)
