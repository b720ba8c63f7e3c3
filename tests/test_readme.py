"""What the README says works: its commands, its code, its numbers."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import prefrl as prefrl_package
from prefrl import REWARD_NETS, STRATEGIES, plugins
from prefrl.bench import results, tables
from prefrl.cli import COMMANDS, main
from prefrl.cli_train import Train
from prefrl.config import from_mapping
from prefrl.metrics import read_metrics
from prefrl.recorder import act_at_random
from prefrl.run import check_names
from prefrl.types import Preference, Query
from viewer.keys import bindings
from viewer.state import Action

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TINY = shlex.split(
    "--steps 2048 --labels 40 --fit sync --set labels.warmup_steps=512 --set labels.ask_every=512 "
    "--set agent.explore_steps=0 "
    "--set agent.kwargs.n_steps=64 --set agent.kwargs.n_epochs=1 --set eval_episodes=1"
)


def block(containing: str) -> str:
    """The one block of Python with this in it."""
    found = [b for b in PYTHON if containing in b]
    assert len(found) == 1, f"{len(found)} blocks with {containing!r}"
    return str(found[0])


def toml(section: str) -> dict[str, Any]:
    """The section of the one block of TOML that has it."""
    blocks = map(tomllib.loads, re.findall(r"```toml\n(.*?)```", README, re.DOTALL))
    (found,) = [block[section] for block in blocks if section in block]
    return dict(found)


def commands() -> list[list[str]]:
    """Every `prefrl ...` of the sh blocks and of the prose."""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).splitlines()
    inline = re.findall(r"`(prefrl [^`]+)`", README + (ROOT / "runs/README.md").read_text())
    split = [shlex.split(line, comments=True) for line in lines + inline]
    return [words[1:] for words in split if words and words[0] == "prefrl"]


def shown(*start: str) -> list[str]:
    """The arguments of the README's first command that starts so."""
    return next(words for words in commands() if words[: len(start)] == list(start))


def prefrl(arguments: list[str], cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefrl", *arguments],
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_commands_exist(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "__call__", lambda self, console: called.append(self))
    assert main(arguments) == 0
    assert len(called) == 1
    train = called[0]
    ours = isinstance(train, Train) and not (train.resume or train.env_module)
    if ours and str(train.config) != "FILE":
        check_names(train._new_config())


def test_keys_are_bound_as_shown() -> None:
    found = bindings(from_mapping({"viewer": toml("viewer")}).viewer.keys)
    assert (found["t"], found["n"], found["down"]) == (Action.TIE, *[Action.INCOMPARABLE] * 2)
    assert "up" not in found, "the usual key of a tie"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make ((?:test-)?[a-z]+)", README))
    assert {"train", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_train_eval_report_resume(tmp_path: Path) -> None:
    train = shown("train", "Pendulum-v1")
    printed = prefrl([*train, *TINY], tmp_path)
    assert "report: runs/pendulum-v1-seed1/report/index.html" in printed
    page = tmp_path / "runs/pendulum-v1-seed1/report/index.html"
    page.unlink()
    prefrl(shown("report", "runs/pendulum-v1-seed1"), tmp_path)
    assert page.exists()
    assert "true return" in prefrl(shown("eval", "runs/pendulum-v1-seed1"), tmp_path)
    prefrl([*shown("train", "--resume"), "--steps", "3072"], tmp_path)
    assert read_metrics(tmp_path / "runs/pendulum-v1-seed1/metrics.jsonl")[-1]["step"] >= 3072


def example(**small: int) -> dict[str, Any]:
    """What the Python example leaves behind, with some of its numbers made smaller."""
    code = block("prefrl.make_env")
    for name, value in small.items():
        code, found = re.subn(rf"\b{name}=[\d_]+", f"{name}={value}", code)
        assert found == 1, name
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_python_example(capsys: pytest.CaptureFixture[str]) -> None:
    names = example(steps=9216, n_steps=64, labels=40)
    assert re.search(r"true return -\d+, plus or minus \d+", capsys.readouterr().out)
    assert names["agent"].num_timesteps == 1024
    assert names["reward"].knows_inputs


@pytest.mark.slow
def test_python_example_as_it_stands() -> None:
    assert example()["true_return"] > -400  # -146 to -182 over three seeds; random is -1200


@pytest.mark.parametrize("normalised", [False, True])
def test_your_own_sb3_script(normalised: bool) -> None:
    code = block('Recorder(make_vec_env("Pendulum-v1"').replace("steps=20_000", "steps=9_000")
    if normalised:
        code, found = re.subn(r"    env,  # or (.*)\n", r"    \1,\n", code)
        assert found == 1
        code = "from stable_baselines3.common.vec_env import VecNormalize\n" + code
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["agent"].num_timesteps > 0 and names["reward"].knows_inputs


def test_anybody_answers_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = prefrl_package.make_env("Pendulum-v1", n_envs=2, ring_steps=200)
    act_at_random(env, 200, np.random.default_rng(0))
    left, right = env.sample_segments(2, 20, np.random.default_rng(0))
    env.close()
    code = block("store.claim(")
    name = re.findall(r'"(runs/[^"]+)"', code)[0]
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(parents=True)
    with prefrl_package.ComparisonStore(name) as store:
        store.add([Query(left, right, 0.1, 0)])
        for _ in range(2):  # the second time nothing is left
            exec(compile(code, "README.md", "exec"), {})
        (row,) = store.comparisons()
    smaller = abs(left.actions).sum() < abs(right.actions).sum()
    assert row.preference is (Preference.LEFT if smaller else Preference.RIGHT)


@pytest.fixture
def additions(tmp_path: Path) -> Path:
    """The README's additions as an installed package would lie there."""
    names = ("class Smooth", "def confidence", "class Linear")
    (tmp_path / "my_package.py").write_text("\n".join(block(name) for name in names))
    (tmp_path / "my_envs.py").write_text(block("class PointMass"))
    points = toml("project")["entry-points"]
    assert set(points) == {*plugins._TABLES, "prefrl.environments"}
    info = tmp_path / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    lines = [f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in p.items()) for g, p in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("check", ["env", "labeler", "query_strategy", "reward_net"])
def test_additions_keep_the_contracts(
    check: str, additions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(additions)
    names: dict[str, Any] = {}
    exec((additions / "my_package.py").read_text(), names)
    try:
        exec(block(f"import check_{check}\n"), names)
    finally:
        gym.registry.pop("my/PointMass-v0", None)
        sys.modules.pop("my_envs", None)


def test_an_environment_of_your_own(additions: Path) -> None:
    (additions / "my_package-1.dist-info" / "entry_points.txt").unlink()
    arguments = shown("train", "my/PointMass-v0")
    prefrl([*arguments, *TINY], additions, PYTHONPATH=str(additions))
    assert (additions / "runs/pointmass-v0-seed0/report/index.html").exists()


def test_additions_train_from_entry_points(additions: Path) -> None:
    chosen = ["--labeler", "smooth", "--strategy", "surest", "--set", "reward.net=linear"]
    arguments = ["train", "my/PointMass-v0", *TINY, *chosen, "--fit", "async"]
    prefrl(arguments, additions, PYTHONPATH=str(additions))
    assert "surest" not in STRATEGIES and "linear" not in REWARD_NETS


def test_results_are_the_committed_ones() -> None:
    committed = tables.read_results()
    assert tables.between(README, "results", tables.table(committed)) == README
    page = results.PAGE.read_text(encoding="utf-8")
    assert results.with_tables(page, committed) == page


def test_table() -> None:
    results = {
        "loop": {
            "headline": {"cartpole_iqm": 0.987, "other": 1.0},
            "command": "prefrl bench loop",
            "rows": [
                {"task": task, "arm": arm, "score": score, "seed": seed, "steps": 1000}
                for seed, (task, arm, score) in enumerate(
                    (
                        *(("cart_pole", "default", s) for s in (0.91, 1.05, 1.0)),
                        *(("cart_pole", "constant+1", s) for s in (0.1, 0.3)),
                        ("cart_pole", "constant-1", -5.0),
                        ("cart_pole", "random-network", 0.1),
                        ("pendulum", "constant+1", 9.0),
                    )
                )
            ],
        },
        "environments": {
            "headline": {"mujoco_iqm": 0.93, "ant": 0.88},
            "command": "prefrl bench environments",
            "rows": [
                {"task": task, "arm": arm, "score": score, "seed": seed, "steps": 1000}
                for seed, (task, arm, score) in enumerate(
                    (
                        *(("ant", "default", s) for s in (0.86, 0.9)),
                        ("ant", "constant-1", 0.04),  # not all three
                        ("reacher", "default", 7.0),
                        ("reacher", "constant-1", 8.0),
                    )
                )
            ],
        },
        "grasp": {
            "headline": {"real_with_cross": 0.9},
            "command": "prefrl bench grasp",
            "rows": [
                {"task": "deceptive_grasp", "arm": arm, "real": real}
                for arm, real in (("cross", 0.8), ("cross", 1.0), ("no cross", 0.0))
            ],
        },
        "overhead": {"headline": {"sync_ratio": float("nan")}, "command": "again"},
        "references": {"headline": {"pendulum_rl": -150.0}, "command": "no line names it"},
    }
    lines = tables.table(results).splitlines()
    iqm = tables.LINES["environments"]["mujoco_iqm"][0]
    real = tables.LINES["grasp"]["real_with_cross"][0]
    assert lines[-5:] == [
        "| CartPole without early end "
        "| 0.99 | 3: 0.91 to 1.05 | 0.20, 0.30 | `prefrl bench loop` |",
        f"| {iqm} | 0.93 |  |  | `prefrl bench environments` |",
        "| Ant | 0.88 | 2: 0.86 to 0.90 |  | `prefrl bench environments` |",
        f"| {real} | 90% | 2: 80% to 100% |  | `prefrl bench grasp` |",
        "| " + tables.LINES["overhead"]["sync_ratio"][0] + " | unknown |  |  | `again` |",
    ]
    assert sum(line.startswith("|") for line in lines) == 7
    assert tables.table({}) == tables.EMPTY


def test_table_replaces_what_was_there() -> None:
    start, end = "<!-- mine:start -->", "<!-- mine:end -->"
    before = f"a\n{start}\nold\n{end}\nb\n"
    assert tables.between(before, "mine", "new") == f"a\n{start}\nnew\n{end}\nb\n"
    for broken in ("no markers", before + start, before + end):
        with pytest.raises(ValueError, match="once each"):
            tables.between(broken, "mine", "new")


def test_studies_make_the_numbers_that_the_table_names() -> None:
    from prefrl.bench import (
        ablations,
        agents,
        behaviours,
        environments,
        gate,
        loop,
        public,
        speed,
        teachers,
    )
    from prefrl.bench.arms import ARMS
    from prefrl.bench.overhead import TASKS, headline
    from prefrl.bench.stages import STAGES

    numbers = {"score": 0.5, "labels": 1, "offered": 2}
    errors = {"gate_error_above": 0.2, "gate_error_below": 0.1}
    rows = [spec | numbers | errors for spec in loop.specs(quick=False)]
    timed = {
        "ratio": 3.0,
        "loop_return": 2.0,
        "plain_return": 1.0,
        "cpu_seconds": 3.0,
        "seconds": 3.0,
        "heldout_accuracy": 0.9,
        "p95_ms": 5.0,
        "cost_ratio": 1.0,
        "cost_wall_ratio": 1.0,
    }
    shares = {"share": dict.fromkeys((*STAGES, "rest"), 0.1)}
    measured = [spec | timed | shares for spec in speed.specs(quick=False)]
    ratios = {"ratio": 1.0, "own_ratio": 1.0}
    pairs = [{"task": t, "fit": f} | ratios for t in TASKS for f in ("async", "sync")]
    assert set(ARMS) >= {a for _, a in loop.LOOP_ROWS}
    assert set(loop.headline(rows)) >= set(tables.LINES["loop"])
    assert "halfcheetah_700_iqm" not in loop.headline(rows[1:]), "an arm half done has no number"
    assert set(headline(pairs)) >= set(tables.LINES["overhead"])
    assert set(speed.headline(measured)) >= set(tables.LINES["speed"])
    suite = [spec | numbers for spec in environments.specs(quick=False)]
    assert set(environments.headline(suite)) == set(tables.LINES["environments"])
    for study in (ablations, gate, teachers):
        arms = [spec | numbers for spec in study.specs(quick=False)]
        assert set(study.headline(arms)) >= set(tables.LINES[study.__name__.split(".")[-1]])
    runs = {"true_return": 2.0, "random_return": 1.0, "steps_per_second": 1.0}
    walks = [spec | runs for spec in agents.specs(quick=False)]
    assert set(agents.headline(walks)) >= set(tables.LINES["agents"])
    lasts = [spec | {"last_return": 1.0} for spec in public.specs(quick=False)]
    assert set(public.headline(lasts)) == set(tables.LINES["public"])
    flips = [s | {"flips": 1, "labels": 1} for s in behaviours.backflip_specs(quick=False)]
    assert set(behaviours.backflip_headline(flips)) >= set(tables.LINES["backflip"])
    legs = [
        s | {"distance": 9.0, "other_foot": 0.1, "fallen": 0}
        for s in behaviours.one_leg_specs(False)
    ]
    assert set(behaviours.one_leg_headline(legs)) >= set(tables.LINES["one-leg"])
    grasps = [s | {"real": 1, "looks_held": 1} for s in behaviours.grasp_specs(quick=False)]
    assert set(behaviours.grasp_headline(grasps)) >= set(tables.LINES["grasp"])
