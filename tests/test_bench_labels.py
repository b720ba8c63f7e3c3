"""The study of score against labels: its rows, its numbers, its picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prefrl.bench import labels, references, runs
from prefrl.bench.arms import BUDGETS, budget_arm
from prefrl.bench.runs import last_return
from prefrl.bench.statistics import iqm, iqm_interval
from prefrl.bench.tasks import LONG_TASKS, row_config
from prefrl.config import first_batch, from_mapping
from prefrl.evaluate import reference_key, true_returns


def row(task: str, budget: int, seed: int, score: float) -> dict[str, Any]:
    return {"task": task, "arm": budget_arm(budget), "seed": seed, "score": score}


def test_the_last_return_is_of_the_last_passes_that_hold_ten_episodes() -> None:
    passes = [
        {"episodes": 8, "true_return": 100.0},
        {"episodes": 6, "true_return": 1.0},
        {"step": 3},  # none ended
        {"episodes": 6, "true_return": 3.0},
    ]
    assert last_return(passes) == 2.0
    assert math.isnan(last_return([{"step": 1}]))


def test_where_training_cuts_episodes_the_last_return_is_of_whole_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = from_mapping({
        "env": {"id": "Pendulum-v1", "n_envs": 2, "train_time_limit": 50}, "steps": 1024,
        "labels": {"budget": 10, "warmup_steps": 512, "ask_every": 512},
        "reward": {"fit": "sync", "max_epochs": 1},
        "agent": {"kwargs": {"n_steps": 128, "n_epochs": 1}},
        "eval_episodes": 2,
    })  # fmt: skip
    asked = []

    def watched(agent: Any, config: Any, episodes: int, deterministic: bool = True) -> Any:
        asked.append((episodes, deterministic))
        return true_returns(agent, config, episodes, deterministic)

    monkeypatch.setattr(runs, "true_returns", watched)
    monkeypatch.setattr(runs, "row_config", lambda spec: config)
    found = runs.measure({"task": "pendulum", "arm": "default", "seed": 0}, tmp_path)
    assert asked == [(2, True), (10, False)]
    assert found["last_return"] < -600, "of 200 steps each"


def test_labels_and_offers_of_a_row_are_those_at_the_end_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality = dict.fromkeys(("accuracy", "ece", "correlation"), 0.0)
    gate = {"gate": {"error_above": 0.0, "error_below": 0.0}}
    passes = [{"labels": 3, "offered": 5}, {"labels": 7, "offered": 20}]
    monkeypatch.setattr(runs, "train_run", lambda *_: (None, None, passes))
    monkeypatch.setattr(runs, "true_returns", lambda *_: np.array([1.0, 3.0]))
    monkeypatch.setattr(runs, "predictor_quality", lambda *_: quality | gate)
    spec = {"task": "pendulum", "arm": "default", "seed": 0, "quick": True}
    found = runs.measure(spec, tmp_path)
    assert (found["true_return"], found["labels"], found["offered"]) == (2.0, 7, 20)


def test_a_reference_row_is_of_rl_and_of_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "train_rl", lambda config: None)
    monkeypatch.setattr(references, "true_returns", lambda *_: np.array([5.0, 7.0]))
    monkeypatch.setattr(references, "random_returns", lambda *_: np.array([1.0, 3.0]))
    found = references.measure({"task": "pendulum", "seed": 0, "quick": True}, tmp_path)
    assert (found["random_return"], found["rl_return"]) == (2, 6)


def test_every_row_trains_as_long_on_no_more_labels_than_it_says() -> None:
    rows = [r for r in labels.specs(quick=False) if r["arm"].endswith(" labels, long")]
    budgets = {int(r["arm"].split()[0]) for r in rows}
    assert budgets == set(BUDGETS) and {r["task"] for r in rows} == set(LONG_TASKS)
    for spec in rows:
        config, budget = row_config(spec), int(spec["arm"].split()[0])
        assert config.steps == (100_000 if spec["task"] == "pendulum" else 1_000_000)
        assert config.labels.budget == budget
        assert first_batch(config.labels) == max(10, round(budget / 4))
        assert (config.reward.members, config.reward.hidden) == (16, (64,))
        assert (config.agent.explore_steps == 0) == (spec["task"] == "half_cheetah")
    for budget in labels.HEADLINE_BUDGETS:
        seeds = [r["seed"] for r in rows if r["arm"] == budget_arm(budget)]
        assert sorted(seeds) == sorted([5, 6, 7, 8, 9] * len(LONG_TASKS))


def test_each_row_has_a_reference_of_as_many_steps_and_an_audit() -> None:
    known = {spec["key"] for spec in references.specs(quick=False)}
    rows = labels.specs(quick=False)
    assert {reference_key(row_config(spec)) for spec in rows} <= known
    audits = {(r["task"], r["arm"]) for r in rows if "labels" not in r["arm"]}
    assert len(audits) == 3 * len(LONG_TASKS)


def test_a_budget_has_a_number_once_every_task_has_enough_seeds() -> None:
    rows = [row(task, 25, seed, 1.0) for task in LONG_TASKS for seed in range(3)]
    found = labels.headline(rows)
    assert found == {"iqm_25": 1.0, "iqm_25_low": 1.0, "iqm_25_high": 1.0}
    assert labels.headline(rows[:-1]) == {}


def test_the_interval_is_around_the_interquartile_mean_and_repeats() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 4))
    middle, low, high = iqm_interval(scores)
    assert middle == pytest.approx(iqm(scores.ravel()))
    assert low < middle < high and iqm_interval(scores) == (middle, low, high)
    _, lower, higher = iqm_interval(np.tile(scores, (20, 1)))
    assert higher - lower < high - low, "more seeds, less doubt"


def test_the_picture_is_drawn_of_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    labels.picture([], path)
    assert not path.exists()
    rows = [
        row(task, budget, seed, budget / 100)
        for task in LONG_TASKS
        for budget in (25, 100)
        for seed in range(3)
    ]
    labels.picture(rows, path)
    assert np.asarray(Image.open(path)).std() > 10
    drawn = path.read_bytes()
    labels.picture([*rows, row("hopper", 10, 0, 0.9)], path)
    assert path.read_bytes() == drawn, "of a single seed nothing"
