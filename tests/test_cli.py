"""The command line as a user meets it: mistakes, interruptions, pipes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from short_runs import TINY

import prefrl as prefrl_package
from prefrl import checkpoints, commands
from prefrl.bench import STUDIES
from prefrl.cli import COMMANDS, main
from prefrl.cli_train import Train
from prefrl.config import RunConfig, load, presets
from prefrl.labelers import LABELERS
from prefrl.labelers.oracle import SimulatedTeacher, TeacherSettings
from prefrl.metrics import read_metrics
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.types import Comparison, PrefrlError

Prefrl = Callable[..., Any]
ODD = ["--env-module", "odd_envs"]


@pytest.fixture
def trains_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _train_only(monkeypatch)


def _train_only(patch: pytest.MonkeyPatch) -> None:
    """Leave out what `prefrl train` does at the end, which takes longer than such a run."""
    patch.setattr(commands, "evaluate", lambda *_: {})
    patch.setattr(commands, "report", lambda *_: Path())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has taken all its steps and has three checkpoints."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        _train_only(patch)
        words = [*TINY, "--run", str(run), "--set", "checkpoint_every=512"]
        assert main(["train", "prefrl/CartPole-v0", *words]) == 0
    return run


@pytest.fixture
def trained(prefrl: Prefrl, trains_only: None, finished: Path) -> Path:
    """A copy of it, in the folder that `prefrl` runs in."""
    return Path(shutil.copytree(finished, "done"))


def answers(run: Path) -> list[Comparison]:
    with ComparisonStore(run / "store.sqlite") as store:
        return store.comparisons()


def steps_of(run: Path) -> list[int]:
    return [row["step"] for row in read_metrics(run / "metrics.jsonl")]


# ---- what is refused before anything is made


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["Pendulm-v1"], "unknown environment 'Pendulm-v1': did you mean 'Pendulum-v1'?"),
        (["prefrl/Cartpole-v0"], "did you mean 'prefrl/CartPole-v0'?"),
        (["Pendulum-v1", "--labeler", "orcale"], "labeler 'orcale': did you mean 'oracle'?"),
        (["Pendulum-v1", "--strategy", "entropi"], "strategy 'entropi': did you mean 'entropy'?"),
        (["Pendulum-v1", "--schedule", "constnat"], "'constnat': did you mean 'constant'?"),
        (["Pendulum-v1", "--agent", "pppo"], "unknown agent 'pppo': did you mean 'ppo'?"),
        (["Pendulum-v1", "--set", "reward.net=mpl"], "reward net 'mpl': did you mean 'mlp'?"),
        (["Pendulum-v1", "--set", "reward.membres=5"], "'reward.membres': did you mean 'members'?"),
        (["Pendulum-v1", "--set", "rewards.net=mlp"], "'rewards': did you mean 'reward'?"),
        (
            ["Pendulum-v1", "--set", "reward.members=many"],
            "members = 'many': it must be a whole number",
        ),
        (["Pendulum-v1", "--set", "reward.members"], "write it as section.key=value"),
        (["Pendulum-v1", "--set", "agent.kwargs.nsteps=5"], "unexpected keyword argument 'nsteps'"),
        (["Pendulum-v1", "--set", "env.kwargs.wrong=1"], "does not take env.kwargs"),
        (["Pendulum-v1", "--env-module", "nothere"], "cannot import 'nothere'"),
        (["--config", "nothere.toml"], "no configuration file nothere.toml"),
        (["Pendulum-v1", "--config", "my.toml"], "my.toml names its own environment: leave out"),
        (["--resume", "nothere"], "nothere holds no run"),
        (["--resume", "one", "--run", "other"], "leave out ENV, --config and --run"),
        (["--resume", "."], "holds no run (no config.toml)"),
        ([], "nothing to train: name an ENV"),
        (["CartPole-v1", "--agent", "sac"], "SAC cannot be built"),
        (["Pendulum-v1", "--set", "agent.kwargs.device=nowhere"], "PPO cannot be built"),
        (["Pendulum-v1", "--set", "agent.kwargs.policy_kwargs=5"], "PPO cannot be built"),
        (["Pendulum-v1", "--set", "agent.kwargs.n_steps=inf"], "a whole number from 1 up"),
        (["Pendulum-v1", "--set", "agent.kwargs.gamma=nan"], "it must be a number from 0 to 1"),
        (["FrozenLake-v1", "--set", "env.kwargs.map_name=sea"], "cannot be built with env.kwargs"),
        (["--env-module", "this_fails", "x/Y-v0"], "cannot import 'this_fails' (NameError"),
        (["--config", "."], "cannot read a configuration from ."),
        (["Pendulum-v1", "--labels", "1"], "which needs at least 2: raise --labels\n"),
        (["Pendulum-v1", "--set", "reward.hidden=64"], "hidden = 64: it must be a list, e.g. [64]"),
        (["Pendulum-v1", "--set", "reward.learning_rate=0"], "learning_rate = 0 is out of range"),
        (
            ["Pendulum-v1", "--set", "reward.members=1", "--ask-above", "0"],
            "reward.bonus = 0.5 weights the members' disagreement, and reward.members = 1 has",
        ),
        (
            ["Pendulum-v1", "--set", "reward.sampled_steps=26"],
            "reward.sampled_steps = 26 is more than a segment has (25 steps)",
        ),
        (
            ["FrozenLake-v1", "--labeler", "human"],
            "FrozenLake-v1 cannot be drawn again (it offers no render state)",
        ),
        ([*ODD, "odd/Vector-v0", "--labeler", "human"], "odd/Vector-v0 cannot be drawn again"),
        (
            ["Pendulum-v1", "--labeler", "human", "--set", "viewer.keys.lft=x"],
            "viewer.keys.lft: no such action, did you mean 'left'?",
        ),
        (
            ["Pendulum-v1", "--steps", "4000"],
            "steps = 4000 leave nothing after",
        ),
        (["Pendulum-v1", "--segment-length", "201"], "longest episode of Pendulum-v1 (200 steps)"),
        (
            ["Pendulum-v1", "--segment-length", "60", "--set", "env.train_time_limit=50"],
            "longest episode of Pendulum-v1 (50 steps)",
        ),
        (
            ["Pendulum-v1", "--set", "env.train_time_limit=201"],
            "env.train_time_limit = 201 cuts nothing: an episode of Pendulum-v1 has 200 steps",
        ),
        (["prefrl/CartPole-v0", "--segment-length", "501"], "(500 steps): lower it"),
        (
            ["Pendulum-v1", "--set", "labels.warmup_steps=64"],
            "leave 8 steps each, too few for a segment",
        ),
        ([*ODD, "odd/Dict-v0"], "odd/Dict-v0 has Dict observations"),
        ([*ODD, "odd/Tuple-v0"], "odd/Tuple-v0 has Tuple observations"),
        ([*ODD, "odd/FloatImage-v0"], "odd/FloatImage-v0 has observations of shape (84, 84, 3)"),
        ([*ODD, "odd/Image-v0", "--set", "reward.net=mlp"], "choose reward.net=conv"),
        (["Pendulum-v1", "--set", "reward.net=conv"], "choose reward.net=mlp"),
        ([*ODD, "odd/MultiDiscrete-v0"], "odd/MultiDiscrete-v0 has MultiDiscrete observations"),
        ([*ODD, "odd/MultiDiscreteAction-v0"], "MultiDiscrete actions: Box and Discrete are"),
        ([*ODD, "odd/Scalar-v0"], "odd/Scalar-v0 has observations without an axis"),
        ([*ODD, "odd/ScalarAction-v0"], "odd/ScalarAction-v0 has actions without an axis"),
        ([*ODD, "odd/WholeAction-v0"], "Box actions of int64, and agents act with fractions"),
        ([*ODD, "odd/Unbounded-v0"], "odd/Unbounded-v0 has Box actions without bounds"),
        (["Pendulum-v1", "--set", "env.kwargs.max_episode_steps=abc"], "= 'abc' is no limit"),
        (["Pendulum-v1", "--set", "env.kwargs.max_episode_steps=0"], "= 0 is no limit"),
        (["Pendulum-v1", "--set", "env.kwargs.max_episode_steps=-2"], "or -1 for none"),
        (["Pendulum-v1", "--set", "env.kwargs.max_episode_steps=true"], "= True is no limit"),
    ],
)
def test_a_mistake_is_named_and_leaves_nothing_behind(
    prefrl: Prefrl, words: list[str], wanted: str
) -> None:
    done = prefrl("train", *words)
    assert done.status == 2
    assert done.err.startswith("prefrl: ") and wanted in done.err
    assert "Traceback" not in done.err
    assert not list(Path().iterdir())


def test_a_run_folder_below_a_file(prefrl: Prefrl) -> None:
    Path("file").touch()
    done = prefrl("train", "Pendulum-v1", "--run", "file/run")
    assert done.status == 2 and "name another with --run" in done.err


def test_a_longer_episode_holds_longer_segments(prefrl: Prefrl, trains_only: None) -> None:
    words = ["--segment-length", "250", "--set", "env.kwargs.max_episode_steps=300"]
    done = prefrl("train", "Pendulum-v1", *TINY, *words, "--run", "run")
    assert done.status == 0, done.err


def test_a_configuration_file_without_an_environment(prefrl: Prefrl) -> None:
    Path("mine.toml").write_text("[labels]\nbudget = 30\n")
    done = prefrl("train", "--config", "mine.toml")
    assert done.status == 2 and "mine.toml names no environment" in done.err
    assert [p.name for p in Path().iterdir()] == ["mine.toml"]


def test_an_environment_that_only_set_names(prefrl: Prefrl, trains_only: None) -> None:
    Path("mine.toml").write_text("[labels]\nbudget = 30\n")
    words = ["--config", "mine.toml", "--set", "env.kwargs={my.env.id = 1}"]
    done = prefrl("train", *words)
    assert done.status == 2 and "mine.toml names no environment" in done.err
    named = ["--config", "mine.toml", "--set", "env = {id = 'Pendulm-v1'}"]
    assert "did you mean 'Pendulum-v1'?" in prefrl("train", *named).err
    emptied = prefrl("train", "Pendulum-v1", "--set", "env.id=")
    assert emptied.status == 2 and "names no environment" in emptied.err


def test_of_many_environments_none_is_listed(prefrl: Prefrl) -> None:
    done = prefrl("train", "7777777")
    assert done.status == 2 and len(done.err) < 300
    assert "`prefrl envs` lists those with presets" in done.err


def test_a_configuration_file_with_a_wrong_key(prefrl: Prefrl) -> None:
    Path("mine.toml").write_text('[env]\nid = "Pendulum-v1"\n[labels]\nbudgt = 3\n')
    done = prefrl("train", "--config", "mine.toml")
    assert done.status == 2
    assert "unknown configuration key 'labels.budgt': did you mean 'budget'?" in done.err
    assert [p.name for p in Path().iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["train", "Pendulum-v1", "--lables", "5"], "--labels INT"),
        (["train", "Pendulum-v1", "--labels", "five"], "Error parsing --labels"),
        (["trian", "Pendulum-v1"], "train, label, watch, video, eval, report, envs, bench"),
        (["bench", "overhed"], "unknown study 'overhed': did you mean 'overhead'?"),
        (["eval", "nothere"], "nothere holds no run"),
        (["report", "nothere"], "nothere holds no run"),
    ],
)
def test_wrong_flags_and_commands(prefrl: Prefrl, words: list[str], wanted: str) -> None:
    done = prefrl(*words)
    assert done.status == 2
    assert wanted in done.err
    assert not list(Path().iterdir())


def test_true_returns_are_refused_where_nobody_can_tell_them(prefrl: Prefrl) -> None:
    for labeler in ("human", "store", "shuffled"):
        words = ["--labeler", labeler, "--set", "reward.target=returns"]
        done = prefrl("train", "Pendulum-v1", *TINY, *words)
        assert done.status == 2
        assert f"reward.target = 'returns' with labels.labeler = '{labeler}'" in done.err
        assert "reward.target=comparisons" in done.err
    assert not list(Path().iterdir())


def test_debug_shows_the_trace(prefrl: Prefrl) -> None:
    with pytest.raises(PrefrlError, match="unknown environment"):
        prefrl("train", "Pendulm-v1", "--debug")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(prefrl: Prefrl, command: str) -> None:
    done = prefrl(*command.split(), "--help")
    assert done.status == 0
    assert "{None}" not in done.out and "default: None" not in done.out
    if command == "train":
        assert "--labels INT" in done.out and "default: 700" in done.out
    elif command:
        assert "(default: False)" in done.out


def test_help_names_every_study(prefrl: Prefrl) -> None:
    words = re.sub(r"\W+", " ", prefrl("bench", "--help").out.replace("-", "_")).split()
    assert {name.replace("-", "_") for name in STUDIES} <= set(words)


def test_envs_names_every_preset_whole(prefrl: Prefrl) -> None:
    done = prefrl("envs")
    assert done.status == 0
    assert len(presets()) >= 6 and "\x1b" not in done.out
    assert all(env_id in done.out for env_id in presets())


# ---- what goes wrong while training


@pytest.mark.parametrize("env", ["odd/NanObs-v0", "odd/NanLastObs-v0"])
def test_nan_observations_lose_nothing(
    prefrl: Prefrl, trains_only: None, monkeypatch: pytest.MonkeyPatch, env: str
) -> None:
    done = prefrl("train", env, *ODD, *TINY, "--run", "run")
    assert done.status == 2
    assert "returned a NaN or infinite observation after" in done.err
    assert "`prefrl train --resume run` goes on with it" in done.err
    before, reached = answers(Path("run")), steps_of(Path("run"))
    assert before and reached

    monkeypatch.setenv("ODD_ENVS_MENDED", "1")
    done = prefrl("train", "--resume", "run")
    assert done.status == 0, done.err
    assert [c.id for c in answers(Path("run"))][: len(before)] == [c.id for c in before]
    resumed = steps_of(Path("run"))
    assert resumed[: len(reached)] == reached and resumed[-1] >= 2000


def test_a_failing_environment_is_the_users(prefrl: Prefrl, trains_only: None) -> None:
    done = prefrl("train", "odd/Raises-v0", *ODD, *TINY, "--run", "run")
    assert done.status == 2
    assert "ZeroDivisionError: the environment's own mistake" in done.err


def test_one_failing_process_of_an_environment_ends_all(start: Prefrl) -> None:
    """The copies before it have answered already: nobody waits for them again."""
    words = ["odd/RaisesInOne-v0", *ODD, *TINY, "--set", "env.vec=subproc", "--run", "run"]
    started = start("train", *words)
    assert started.wait(120) == 2, started.output
    assert "the environment's own mistake" in started.output
    assert "the process of an environment ended after" in started.output


def test_an_oracle_cannot_judge_by_nan(prefrl: Prefrl, trains_only: None) -> None:
    done = prefrl("train", "odd/NanReward-v0", *ODD, *TINY, "--run", "run")
    assert done.status == 2
    assert "the environment's true reward is nan" in done.err and "--labeler human" in done.err


def test_segments_longer_than_any_episode(prefrl: Prefrl, trains_only: None) -> None:
    done = prefrl("train", "odd/Short-v0", *ODD, *TINY, "--run", "run")
    assert done.status == 2
    assert "no two segments of 25 steps are in the episodes so far" in done.err
    assert "--segment-length" in done.err


@pytest.mark.parametrize("exploring", [0, 1024])
def test_weights_that_diverge(prefrl: Prefrl, trains_only: None, exploring: int) -> None:
    wild = "--run", "run", "--set", "agent.kwargs.learning_rate=1e12"
    done = prefrl("train", "Pendulum-v1", *TINY, *wild, "--set", f"agent.explore_steps={exploring}")
    assert done.status == 2
    assert "weights are no longer finite" in done.err and "learning_rate" in done.err


@pytest.mark.parametrize("env", ["FrozenLake-v1", "CliffWalking-v1"])
def test_discrete_observations_train(prefrl: Prefrl, env: str) -> None:
    done = prefrl("train", env, *TINY, "--run", "run", "--segment-length", "10")
    assert done.status == 0, done.err
    assert not done.err
    assert steps_of(Path("run"))[-1] >= 2000


# ---- run folders


def test_a_store_of_a_newer_schema_is_left_alone(prefrl: Prefrl, trained: Path) -> None:
    with sqlite3.connect(trained / "store.sqlite") as store:
        store.execute("UPDATE meta SET schema_version = 99")
    store.close()
    before = (trained / "store.sqlite").read_bytes()
    done = prefrl("train", "--resume", "done", "--steps", "4000")
    assert done.status == 2
    assert "schema version 99" in done.err and "upgrade prefrl" in done.err
    assert (trained / "store.sqlite").read_bytes() == before


def test_a_truncated_checkpoint_is_passed_over(prefrl: Prefrl, trained: Path) -> None:
    kept = sorted((trained / "checkpoints").glob("0*"))
    assert len(kept) == 3
    with (kept[-1] / "policy.pt").open("r+b") as file:
        file.truncate(1000)
    assert checkpoints.latest(trained / "checkpoints") == kept[-2]
    taken = steps_of(trained)
    done = prefrl("train", "--resume", "done", "--steps", "2600")
    assert done.status == 0, done.err
    assert [s for s in steps_of(trained) if s <= int(kept[-2].name)] == taken[:-1]
    assert steps_of(trained)[-1] >= 2600


def test_damaged_checkpoints_leave_the_answers(prefrl: Prefrl, trained: Path) -> None:
    before = len(answers(trained))
    for weights in (trained / "checkpoints").glob("0*/reward.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1])
    done = prefrl("train", "--resume", "done")
    assert done.status == 1
    assert "every checkpoint in done/checkpoints is damaged" in done.err
    assert len(answers(trained)) == before


def test_a_run_folder_in_use(prefrl: Prefrl, trained: Path) -> None:
    other = RunDir.open(trained)
    other.lock()
    done = prefrl("train", "--resume", "done")
    assert done.status == 2 and "done is in use by another `prefrl train`" in done.err
    other.unlock()
    assert prefrl("train", "--resume", "done").status == 0


def test_a_new_run_does_not_overwrite_one(prefrl: Prefrl, trained: Path) -> None:
    before = (trained / "config.toml").read_bytes()
    done = prefrl("train", "Pendulum-v1", "--run", "done")
    assert done.status == 2 and "`prefrl train --resume done` goes on with it" in done.err
    assert (trained / "config.toml").read_bytes() == before


def test_resuming_a_finished_run_changes_nothing(prefrl: Prefrl, trained: Path) -> None:
    before = read_metrics(trained / "metrics.jsonl")
    newest = checkpoints.latest(trained / "checkpoints")
    done = prefrl("train", "--resume", "done")
    assert done.status == 0, done.err
    assert read_metrics(trained / "metrics.jsonl") == before
    assert checkpoints.latest(trained / "checkpoints") == newest


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ["--agent", "a2c"],
            "--resume cannot change agent.name from 'ppo' to 'a2c': start a new run",
        ),
        (
            ["--env-module", "odd_envs"],
            "--resume cannot change env.module from 'envs' to 'odd_envs'",
        ),
        (["--segment-length", "7"], "--resume cannot change labels.segment_length from 10 to 7"),
        (["--set", "reward.members=5"], "--resume cannot change reward.members from 3 to 5"),
        (["--seed", "99"], "--resume cannot change seed from 0 to 99"),
        (["--labeler", "orcale"], "did you mean 'oracle'?"),
        (["Pendulum-v1"], "leave out ENV"),
        (["--steps", "1500"], "done has taken 2,048 steps: --steps 1500 leaves none"),
        (["--labels", "8"], "answers: --labels 8 is fewer, raise it"),
    ],
)
def test_what_a_resumed_run_keeps(
    prefrl: Prefrl, trained: Path, words: list[str], wanted: str
) -> None:
    before = (trained / "config.toml").read_bytes()
    done = prefrl("train", "--resume", "done", *words)
    assert done.status == 2 and wanted in done.err
    assert (trained / "config.toml").read_bytes() == before


def test_a_run_goes_on_with_the_other_way_of_fitting(prefrl: Prefrl, trained: Path) -> None:
    """What the message of a fit that died advises, the other way round."""
    done = prefrl("train", "--resume", "done", "--fit", "async", "--steps", "2600")
    assert done.status == 0, done.err
    assert steps_of(trained)[-1] >= 2600


def test_a_resumed_run_remembers_what_was_changed(prefrl: Prefrl, trained: Path) -> None:
    assert prefrl("train", "--resume", "done", "--steps", "2600", "--labels", "40").status == 0
    config = RunDir.open(trained).config()
    assert (config.steps, config.labels.budget) == (2600, 40)


def test_a_resumed_run_counts_on_and_draws_other_numbers(
    prefrl: Prefrl, trains_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives: list[tuple[int, float]] = []

    def capturing(rng: np.random.Generator) -> Any:
        lives.append((torch.initial_seed(), float(rng.random())))
        return LABELERS["oracle"](rng)

    monkeypatch.setitem(LABELERS, "capturing", capturing)
    gated = ["--labeler", "capturing", "--ask-above", "0.49", "--set", "labels.budget=200"]
    done = prefrl("train", "prefrl/CartPole-v0", *TINY, *gated, "--run", "run")
    assert done.status == 0, done.err
    before = read_metrics(Path("run/metrics.jsonl"))[-1]
    assert before["labels"] < before["offered"] - 10, "the gate held some back"
    for steps in ("2600", "3200"):
        assert prefrl("train", "--resume", "run", "--steps", steps).status == 0
    after = read_metrics(Path("run/metrics.jsonl"))[-2]
    assert after["step"] > before["step"] and after["offered"] >= before["offered"]
    assert len({torch_seed for torch_seed, _ in lives}) == 3
    looked_at = float(np.random.default_rng(0).random())  # before training, at what it is
    assert len({drawn for _, drawn in lives} - {looked_at}) == 3


def test_a_resumed_run_tells_its_labeler_of_the_last_episodes(
    prefrl: Prefrl, trains_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives: list[list[tuple[float, int]]] = []

    class Listening(SimulatedTeacher):
        def observe_episode(self, true_return: float, length: int) -> None:
            lives[-1].append((true_return, length))

    def listening(rng: np.random.Generator) -> Any:
        lives.append([])
        return Listening("listening", TeacherSettings(), rng)

    monkeypatch.setitem(LABELERS, "listening", listening)
    words = ["--labeler", "listening", "--run", "run"]
    done = prefrl("train", "prefrl/CartPole-v0", *TINY, *words)
    assert done.status == 0, done.err
    assert prefrl("train", "--resume", "run", "--steps", "2600").status == 0
    first, second = filter(None, lives)  # one is looked at before training
    assert first
    assert second[: len(first)] == first


# ---- the machine


def test_a_folder_that_cannot_be_written(prefrl: Prefrl) -> None:
    done = prefrl("train", "Pendulum-v1", *TINY, "--run", "/sys/prefrl-run")
    assert done.status == 1
    assert done.err.startswith("prefrl: ") and "/sys/prefrl-run" in done.err


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, ": free some disk space\n"),
        (errno.EACCES, ": check the permissions\n"),
        (errno.EROFS, ": check the permissions\n"),
        (errno.EPERM, ": check the permissions\n"),
        (errno.EIO, "Input/output error: 'file'\n"),
    ],
)
def test_a_failing_machine_has_its_own_remedy(
    prefrl: Prefrl, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def fails(console: object) -> None:
        raise OSError(number, os.strerror(number), "file")

    monkeypatch.setattr(commands, "list_envs", fails)
    done = prefrl("envs")
    assert done.status == 1 and done.err.endswith(remedy)


FULL = """
import resource, sys
import prefrl.run
from prefrl.cli import main

class Full(prefrl.run.ComparisonStore):
    def answer_all(self, *args, **kwargs):
        ids = super().answer_all(*args, **kwargs)
        resource.setrlimit(resource.RLIMIT_FSIZE, (57000, resource.RLIM_INFINITY))
        return ids

prefrl.run.ComparisonStore = Full
sys.exit(main())
"""


def test_a_disk_that_takes_no_more(prefrl: Prefrl, trains_only: None) -> None:
    """No file may grow past 57,000 bytes once the first batch is answered."""
    words = ["train", "prefrl/CartPole-v0", *TINY, "--run", "run"]
    done = subprocess.run(
        [sys.executable, "-c", FULL, *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "prefrl train --resume" in done.stderr
    kept = answers(Path("run"))
    assert len(kept) == 5  # a quarter of the budget
    assert prefrl("train", "--resume", "run").status == 0
    assert [c.id for c in answers(Path("run"))][:5] == [c.id for c in kept]
    assert steps_of(Path("run"))[-1] >= 2000


# ---- Ctrl-C and pipes


@pytest.mark.parametrize(
    ("fit", "vec"), [("sync", "dummy"), ("async", "dummy"), ("async", "subproc")]
)
def test_ctrl_c_leaves_a_run_that_resumes(
    start: Prefrl, prefrl: Prefrl, trains_only: None, fit: str, vec: str
) -> None:
    run = Path("run")
    long = [*TINY, "--steps", "1000000", "--set", f"env.vec={vec}", "--fit", fit]
    started = start("train", "prefrl/CartPole-v0", *long, "--run", "run")
    _until(lambda: len(steps_of(run)) >= 2, started)
    started.signal_all(signal.SIGINT)
    assert started.wait() == 130
    assert "Traceback" not in started.output and "\x1b" not in started.output
    assert "`prefrl train --resume run` goes on with it" in started.output

    reached, given = steps_of(run)[-1], answers(run)
    newest = checkpoints.latest(run / "checkpoints")
    assert newest is not None and int(newest.name) >= reached
    done = prefrl("train", "--resume", "run", "--steps", str(int(newest.name) + 1500))
    assert done.status == 0, done.err
    assert [c.id for c in answers(run)][: len(given)] == [c.id for c in given]
    resumed = steps_of(run)
    assert resumed == sorted(set(resumed)) and resumed[-1] >= int(newest.name) + 1500


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`prefrl train ... | head -1`, and a command that only prints."""
    for words in (["train", "prefrl/CartPole-v0", *TINY, "--run", "run"], ["train", "--help"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "prefrl", *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout and process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.stderr.close()
        assert process.wait(240) == 0
        assert errors == ""
    assert steps_of(tmp_path / "run")[-1] >= 2000, "it trained to its end"
    assert (tmp_path / "run/report/index.html").exists()


def test_a_package_of_yours_that_hides_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "prefrl", "train", "prefrl/CartPole-v0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"{tmp_path}/envs/__init__.py" in done.stderr and "hides prefrl's own" in done.stderr


def test_sb3s_own_ppo_has_the_presets_settings() -> None:
    ours, theirs, other = (
        Train("Pendulum-v1", agent=name)._new_config().agent for name in ("ppo", "sb3-ppo", "a2c")
    )
    assert ours.kwargs and ours.explore_steps and replace(theirs, name="ppo") == ours
    assert other == replace(RunConfig().agent, name="a2c")


def test_version(prefrl: Prefrl) -> None:
    done = prefrl("--version")
    assert done.status == 0 and done.out == f"prefrl {version('prefrl')}\n"
    assert prefrl_package.__version__ == version("prefrl")
    assert {"learn", "make_env", "__version__"} <= set(dir(prefrl_package))


def test_a_file_with_a_mistake_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[labels]\nbudgte = 3\n")
    with pytest.raises(PrefrlError, match=r"mine.toml: unknown .* did you mean 'budget'"):
        load(path)


def test_python_dash_m(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefrl", "envs"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "Pendulum-v1" in done.stdout and not done.stderr


def _until(happened: Callable[[], bool], started: Any, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert started.process.poll() is None, started.output
        assert time.monotonic() < deadline, started.output
        time.sleep(0.05)
