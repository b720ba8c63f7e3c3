"""Studies that take a part of the loop away, or put another in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prefrl.bench import ablations, agents, gate, references, teachers
from prefrl.bench.arms import (
    ABLATIONS,
    ALL_OF_IT,
    OF_THE_PAPER,
    ONLY,
    OURS,
    THRESHOLDS,
    ablation_arm,
)
from prefrl.bench.curves import draw_curves
from prefrl.bench.statistics import iqm_interval, mean_interval
from prefrl.bench.study import Row
from prefrl.bench.tasks import row_config, task_config
from prefrl.config import RunConfig, first_batch, from_mapping, settings_key, to_mapping
from prefrl.evaluate import LEAKS, reference_key
from prefrl.labelers.oracle import TEACHERS
from prefrl.metrics import read_metrics
from prefrl.run import check_names, train
from prefrl.rundir import RunDir
from prefrl.toml_tables import merged
from prefrl.types import PrefrlError

STUDIES = (ablations, teachers, gate)


def rows(specs: Sequence[Row], value: Callable[[Row], Any]) -> list[Row]:
    """The specs with these numbers."""
    return [spec | value(spec) for spec in specs]


@pytest.mark.parametrize("study", [*STUDIES, agents], ids=lambda study: study.__name__)
def test_every_row_is_another(study: ModuleType) -> None:
    specs = study.specs(quick=False)
    assert len({spec["settings"] for spec in specs}) == len(specs)
    assert [spec["seed"] for spec in specs] == sorted(spec["seed"] for spec in specs)
    tasks = {spec["seed"]: [(s["task"], s["arm"]) for s in specs if s["seed"] == spec["seed"]]
             for spec in specs}  # fmt: skip
    assert tasks[0] == tasks[1] == tasks[2] and len(tasks) == 3, "seeds are of all arms alike"
    quick = study.specs(quick=True)
    assert {spec["seed"] for spec in quick} == {0} and all(spec["quick"] for spec in quick)
    assert {s["arm"] for s in specs} - {s["arm"] for s in quick} <= set(map(ablation_arm, ONLY))


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.__name__)
def test_every_row_has_a_reference_and_is_valid(study: ModuleType) -> None:
    known = {spec["key"] for spec in references.specs(quick=False)}
    for spec in study.specs(quick=False):
        if spec["seed"]:
            break  # those of another seed differ in nothing else
        config = row_config(spec)
        assert reference_key(config) in known
        check_names(from_mapping(to_mapping(config)))


def changed(config: RunConfig, usual: RunConfig) -> set[str]:
    """Names of the settings that differ."""
    now, before = to_mapping(config), to_mapping(usual)
    sections = ("labels", "reward", "agent")
    return {f"{s}.{key}" for s in sections for key in now[s] if now[s][key] != before[s][key]} | {
        key for key in now if key not in sections and now[key] != before[key]
    }


def test_an_ablation_changes_what_it_says() -> None:
    base = {task: task_config(task, ALL_OF_IT, 0, False) for task in ablations.TASKS}
    for task, config in base.items():
        usual = task_config(task, "default", 0, False)
        assert changed(config, usual) == {"labels.budget"}
        assert (config.labels.budget, first_batch(config.labels)) == (50, 12)
    for name in ABLATIONS:
        for task in ablations.tasks_of(name):
            found = changed(task_config(task, ablation_arm(name), 0, False), base[task])
            wanted = {f"{s}.{key}" for s, table in ABLATIONS[name].items() for key in table}
            assert found == wanted, (name, task)
    assert {*ONLY} <= {*OURS}


def test_a_mistyped_arm_is_named() -> None:
    """It would be measured as the unchanged preset."""
    with pytest.raises(PrefrlError, match="unknown arm 'no gaet': did you mean 'no gate'"):
        task_config("hopper", "no gaet", 0, quick=False)
    for leak in LEAKS:  # a leak changes nothing in the preset
        usual = task_config("hopper", "default", 0, quick=False)
        assert task_config("hopper", leak, 0, quick=False) == usual


# ---- headlines, on rows whose numbers are known


def test_ablations_are_measured_by_all_of_it() -> None:
    """Seeds score 0.1 around their arm's mean: HalfCheetah 1.0, Hopper 0.6, 0.3 less without."""

    def scored(spec: Row) -> Row:
        middle = 1.0 if spec["task"] == "half_cheetah" else 0.6
        less = 0.3 * (spec["arm"] == ablation_arm("no ensemble"))
        return {"score": middle - less + 0.1 * (spec["seed"] - 1)}

    every = rows(ablations.specs(quick=False), scored)
    found = ablations.headline(every)
    assert found["all_of_it"] == pytest.approx(0.8)
    assert found["no_ensemble"] == pytest.approx(0.5)
    assert found["no_ensemble_minus_all"] == pytest.approx(-0.3)
    assert (
        -0.6 < found["no_ensemble_minus_all_low"] < -0.3 < found["no_ensemble_minus_all_high"] < 0
    )
    assert found["crops_and_pseudo_labels_minus_all"] == pytest.approx(0)
    assert found["reward_of_the_state_alone"] == pytest.approx(1.0), "HalfCheetah's"
    assert found["reward_of_actions_too_minus_all"] == pytest.approx(0), "Hopper's by Hopper's"
    assert len(found) == 1 + 4 * len(ABLATIONS)

    two_seeds = [row for row in every if row["seed"] < 2]
    assert ablations.headline(two_seeds) == {} == ablations.headline([])
    names = {ALL_OF_IT, ablation_arm("no L2")}
    assert set(ablations.headline([row for row in every if row["arm"] in names])) == {
        *("all_of_it", "no_l2", "no_l2_minus_all", "no_l2_minus_all_low", "no_l2_minus_all_high")
    }


def test_teachers_are_measured_by_the_oracle() -> None:
    def scored(spec: Row) -> Row:
        known = {"default": 1.0, "mistake teacher": 0.9, "mistake teacher, doubted": 0.8}
        return {"score": known.get(spec["arm"], 0.5)}

    every = rows(teachers.specs(quick=False), scored)
    found = teachers.headline(every)
    means = dict.fromkeys(TEACHERS, 0.5) | {"oracle": 1.0, "mistake": 0.9, "mistake_doubted": 0.8}
    middles = {name: x for name, x in found.items() if not name.endswith(("_low", "_high"))}
    shares = {"mistake_over_oracle": 0.9, "mistake_doubted_over_oracle": 0.8}
    assert middles == pytest.approx(means | shares)
    assert all(found[f"{name}_{end}"] == found[name] for name in middles for end in ("low", "high"))
    assert teachers.headline([row for row in every if row["seed"] < 2]) == {}
    labelers = {row["arm"]: row_config(row).labels.labeler for row in every}
    assert sorted(labelers.values()) == sorted([*TEACHERS, "mistake"])
    assert {row["arm"] for row in every if row_config(row).reward.doubt} == {
        "mistake teacher, doubted"
    }


def test_a_gate_has_a_score_and_a_share() -> None:
    def measured(spec: Row) -> Row:
        config = row_config(spec)
        least, budget = config.labels.ask_above, config.labels.budget
        return {"score": 1 - least, "offered": budget, "labels": budget * (1 - 2 * least)}

    every = rows(gate.specs(quick=False), measured)
    found = gate.headline(every)
    for least in THRESHOLDS:
        assert found[f"score_above_{least:g}"] == pytest.approx(1 - least)
        assert found[f"asked_above_{least:g}"] == pytest.approx(1 - 2 * least)
        assert found[f"score_above_{least:g}_low"] == found[f"score_above_{least:g}_high"]
    assert len(found) == 4 * len(THRESHOLDS)
    assert gate.headline([row for row in every if row["seed"] < 2]) == {}


def test_a_gate_that_is_the_presets_own_is_the_preset() -> None:
    for spec in gate.specs(quick=False):
        usual = task_config(spec["task"], "default", spec["seed"], quick=False)
        own = spec["settings"] == settings_key(usual)
        assert own == (spec["arm"] == "default")
        assert own == (row_config(spec).labels.ask_above == usual.labels.ask_above)


def test_agents_are_measured_by_ppo() -> None:
    returns = {"PPO": 1100.0, "TRPO": 600.0, "A2C": 100.0, "REINFORCE": 0.0}

    def measured(spec: Row) -> Row:
        numbers = {"random_return": 100.0, "steps_per_second": 50.0}
        return numbers | {"true_return": returns[spec["arm"]] + 10 * (spec["seed"] - 1)}

    found = agents.headline(rows(agents.specs(quick=False), measured))
    assert found["hopper_ppo"] == pytest.approx(1100)
    assert found["trpo_over_ppo"] == pytest.approx(0.5)
    assert found["a2c_over_ppo"] == pytest.approx(0)
    assert found["reinforce_over_ppo"] == pytest.approx(-0.1)
    assert found["a2c_steps_per_second"] == pytest.approx(50)
    assert len(found) == 3 * 4 + 4 + 3


def test_ppo_is_the_references_own_and_every_agent_has_as_many_copies_and_steps() -> None:
    keys = {spec["key"] for spec in references.specs(quick=False) if spec.get("arm") == "1M steps"}
    for spec in agents.specs(quick=False):
        config = agents.agent_config(spec["task"], spec["arm"], spec["seed"], quick=False)
        check_names(from_mapping(to_mapping(config)))
        assert (reference_key(config) in keys) == (spec["arm"] == "PPO")
        assert (config.env.n_envs, config.steps) == (8, 1_000_000)
        assert config.agent.name == spec["arm"].lower() and config.agent.normalize_obs


# ---- intervals


def test_intervals_of_means_and_of_what_they_differ_by() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 4))
    middle, low, high = mean_interval(scores)
    assert middle == pytest.approx(scores.mean()) and low < middle < high
    assert mean_interval(scores) == (middle, low, high), "it repeats"
    more, less_low, less_high = mean_interval(scores + 2, less=scores[:3])
    assert more == pytest.approx(2 + scores.mean() - scores[:3].mean())
    assert less_low < more < less_high and less_high - less_low > high - low, "two are uncertain"
    # Tasks are strata: what they differ by, and no seed does, leaves no doubt.
    assert mean_interval(np.array([[0.0, 9.0]] * 3)) == (4.5, 4.5, 4.5)
    assert iqm_interval(np.array([[1.0, 1.0]] * 3)) == (1, 1, 1)


# ---- pictures


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    for study in STUDIES:
        study.picture([], path)
        assert not path.exists()
        measured = rows(study.specs(False), lambda s: {"labels": 50, "score": s["seed"] / 2})
        study.picture(measured, path)
        assert np.asarray(Image.open(path)).std() > 10
        path.unlink()
    draw_curves(rows(agents.specs(False), lambda s: {"curve": [(1, 2.0), (3, s["seed"])]}), path)
    assert np.asarray(Image.open(path)).std() > 10


# ---- every ablation, on a task of seconds


TINY = {
    "env": {"id": "prefrl/CartPole-v0", "module": "envs", "n_envs": 2},
    "labels": {"warmup_steps": 512, "ask_every": 512, "first_share": 0.5},
    "agent": {"kwargs": {"n_steps": 128, "n_epochs": 2}},
    "reward": {"fit": "sync", "max_epochs": 10},
    "steps": 1600,
    "checkpoint_every": 10_000,
}


@pytest.mark.parametrize(
    "name", [*OF_THE_PAPER, *(pytest.param(name, marks=pytest.mark.slow) for name in OURS)]
)
def test_an_ablation_trains(name: str, tmp_path: Path) -> None:
    changes = merged({"labels": {"budget": 24}}, ABLATIONS[name])
    if "agent" in changes and "explore_steps" in changes["agent"]:
        changes = merged(changes, {"agent": {"explore_steps": 256}})
    config = from_mapping(merged(TINY, changes))
    run = RunDir.create(tmp_path / "run", config)
    _, reward = train(config, run)
    run.unlock()
    passes = read_metrics(run.metrics_path)
    assert passes[-1]["step"] >= 1600 and 12 <= passes[-1]["labels"] <= 24
    assert reward.fitted and reward.n_members == config.reward.members
    assert bool(reward.l2.any()) == (name != "no L2")
    if name == "no online queries":
        assert passes[0]["labels"] == 24
