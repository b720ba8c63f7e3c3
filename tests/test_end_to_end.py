"""Whole runs: what they learn, that they repeat, and users' own parts in them."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from short_runs import SHORT, TINY

from prefrl import checkpoints
from prefrl.metrics import read_metrics
from prefrl.store import ComparisonStore
from prefrl.types import Comparison, Preference, Viewing

Prefrl = Callable[..., Any]
FIXTURES = Path(__file__).resolve().parent / "fixtures"
POINT_MASS = shlex.split(
    "--steps 20000 --labels 120 --fit sync --segment-length 10 --ask-above 0.02 "
    "--set labels.warmup_steps=2048 --set labels.ask_every=2048 --set eval_episodes=8 --set "
    "'agent.kwargs={n_steps=128, batch_size=64, n_epochs=10, gamma=0.9, learning_rate=1e-3}'"
)
CENTRED = -60.0  # a mean distance of 0.6; a random policy's is 0.85, a trained one's 0.3


def answers(run: Path) -> list[Comparison]:
    with ComparisonStore(run / "store.sqlite") as store:
        return store.comparisons()


def true_return(run: Path) -> float:
    evaluation = json.loads((run / "report" / "evaluation.json").read_text())
    return float(evaluation["true_return"])


# ---- an environment of a user's own, from first label to report


def test_an_environment_of_ones_own_is_learned_from_labels(start: Prefrl, prefrl: Prefrl) -> None:
    package = FIXTURES / "my_envs"
    assert not any("import prefrl" in f.read_text() for f in package.rglob("*.py"))
    words = ["--env-module", "my_envs", "my/PointMass-v0", *POINT_MASS, "--run", "run"]
    started = start("train", *words, path=(package,))
    assert started.wait() == 0, started.output
    assert "\x1b" not in started.output and "Traceback" not in started.output
    assert "report: run/report/index.html" in started.output
    assert true_return(Path("run")) > CENTRED

    sys.path.insert(0, str(package))
    try:
        done = prefrl("eval", "run")
    finally:
        sys.path.remove(str(package))
    assert done.status == 0, done.err
    evaluation = json.loads(Path("run/report/evaluation.json").read_text())
    assert evaluation["predictor"]["accuracy"] > 0.6
    _check_page(Path("run"), prefrl)


def test_the_same_run_on_shuffled_labels_fails(
    prefrl: Prefrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FIXTURES / "my_envs")
    words = ["--env-module", "my_envs", "my/PointMass-v0", *POINT_MASS, "--run", "run"]
    assert prefrl("train", *words, "--labeler", "shuffled").status == 0
    assert true_return(Path("run")) < CENTRED


def _check_page(run: Path, prefrl: Prefrl) -> None:
    page = run / "report" / "index.html"
    page.unlink()
    done = prefrl("report", str(run))
    assert done.status == 0 and f"report: {page}" in done.out
    html = page.read_text(encoding="utf-8")
    assert html.rstrip().endswith("</html>") and html.count("<svg") >= 6
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", html), "it needs other files"
    for part in ("Calibration", "Disagreement and the gate", "Is the gate right?"):
        assert part in html
    for missing in ("No answers yet", "No candidates yet", "No fit yet", "No reliability yet"):
        assert missing not in html


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cart_pole_is_learned_from_labels_and_not_from_noise(prefrl: Prefrl, seed: int) -> None:
    """Upright for 100 of 500 steps; a random policy's pole is so for about 40."""
    words = ["prefrl/CartPole-v0", "--steps", "60000", "--fit", "sync", "--seed", str(seed)]
    for labeler in ("oracle", "shuffled"):
        assert prefrl("train", *words, "--labeler", labeler, "--run", labeler).status == 0
    assert true_return(Path("oracle")) > 100 > true_return(Path("shuffled"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_task_of_pixels_is_learned_from_labels_and_not_from_noise(
    prefrl: Prefrl, seed: int
) -> None:
    """A random policy's dot comes to about -28, one that goes straight to the middle to -5."""
    words = ["prefrl/MovingDot-v0", "--fit", "sync", "--seed", str(seed)]
    for labeler in ("oracle", "shuffled"):
        assert prefrl("train", *words, "--labeler", labeler, "--run", labeler).status == 0
    assert true_return(Path("oracle")) > -15 > true_return(Path("shuffled"))


# ---- the same numbers again


def test_the_same_seed_gives_the_same_run(prefrl: Prefrl) -> None:
    words = ["prefrl/CartPole-v0", *TINY, "--labeler", "mistake", "--ask-above", "0"]
    for run, seed in (("one", "5"), ("two", "5"), ("other", "6")):
        assert prefrl("train", *words, "--run", run, "--seed", seed).status == 0
    assert len(answers(Path("one"))) > 10
    assert _told(Path("one")) == _told(Path("two")) != _told(Path("other"))
    assert _weights(Path("one")) == _weights(Path("two")) != _weights(Path("other"))
    assert true_return(Path("one")) == true_return(Path("two"))


def _told(run: Path) -> list[tuple[Any, ...]]:
    """Everything in the answers but the time."""
    return [
        (
            *(c.id, c.preference, c.labeler, c.query.id, c.query.step, repr(c.query.disagreement)),
            *(a.tobytes() for s in (c.query.left, c.query.right) for a in (s.obs, s.actions)),
        )
        for c in answers(run)
    ]


def _weights(run: Path) -> dict[str, bytes]:
    checkpoint = checkpoints.latest(run / "checkpoints")
    assert checkpoint is not None
    policy = torch.load(checkpoint / "policy.pt", weights_only=True)["policy"]
    tensors = policy | load_file(checkpoint / "reward.safetensors")
    return {name: np.asarray(tensor).tobytes() for name, tensor in tensors.items()}


# ---- every agent, and people


@pytest.mark.parametrize(
    ("agent", "env", "kwargs"),
    [
        ("a2c", "prefrl/CartPole-v0", "{}"),
        ("trpo", "Pendulum-v1", "{n_steps=128}"),
        ("sac", "Pendulum-v1", "{train_freq=8, batch_size=32, buffer_size=3000}"),
    ],
)
def test_every_agent_trains(prefrl: Prefrl, agent: str, env: str, kwargs: str) -> None:
    words = ["--agent", agent, "--set", f"agent.kwargs={kwargs}", "--run", "run"]
    done = prefrl("train", env, *SHORT, *words)
    assert done.status == 0, done.err
    rows = read_metrics(Path("run/metrics.jsonl"))
    assert rows[-1]["step"] >= 2000
    assert any(np.isfinite(row["predicted_return"]) for row in rows if "predicted_return" in row)
    assert prefrl("train", "--resume", "run", "--steps", "2600").status == 0
    assert read_metrics(Path("run/metrics.jsonl"))[-1]["step"] >= 2600


def test_a_person_answers_from_another_process(start: Prefrl, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["prefrl/CartPole-v0", *TINY, "--labeler", "human", "--ask-above", "0", "--run", "run"]
    started = start("train", *words)
    answered = 0
    while started.process.poll() is None:
        time.sleep(0.05)
        if (run / "store.sqlite").exists():
            with ComparisonStore(run / "store.sqlite") as store:
                while (query := store.claim("anna")) and query.id:
                    better = query.left.true_return > query.right.true_return
                    choice = Preference.LEFT if better else Preference.RIGHT
                    store.answer(query.id, choice, "anna", Viewing(seconds=3.0))
                    answered += 1
    assert started.wait() == 0, started.output
    assert re.search(r"waiting for \d of 5 first answers: `prefrl label run`", started.output) or (
        "the 5 first answers are there: training begins" in started.output
    )
    kept = answers(run)
    assert len(kept) == answered >= 5
    assert {(c.labeler, c.seconds) for c in kept} == {("anna", 3.0)}


def test_a_person_who_leaves_is_asked_about_todays_agent(start: Prefrl, tmp_path: Path) -> None:
    """They answer the first batch and go to lunch; the run ends, and nobody goes on with it."""
    run = tmp_path / "run"
    words = ["--labeler", "human", "--ask-above", "0", "--set", "labels.expire_after=600"]
    words += ["--steps", "4000", "--run", "run"]
    started = start("train", "prefrl/CartPole-v0", *TINY, *words)
    given: list[int] = []
    while len(given) < 5:
        time.sleep(0.05)
        assert started.process.poll() is None, started.output
        if (run / "store.sqlite").exists():
            with ComparisonStore(run / "store.sqlite") as store:
                if query := store.claim("anna"):
                    given.append(store.answer(query.id or 0, Preference.LEFT, "anna"))
    assert started.wait() == 0, started.output
    rows = read_metrics(run / "metrics.jsonl")
    assert rows[-1]["labels"] == len(given) == 5
    assert rows[-1]["expired"] >= 5 and rows[-1]["offered"] <= 20
    with ComparisonStore(run / "store.sqlite") as store:
        counts = store.counts()
        steps = [query.step for _ in range(counts.open) if (query := store.claim("bert"))]
    assert counts.open + 5 == rows[-1]["offered"]
    assert min(steps) > 2900
    words = ["--labeler", "store", "--steps", "5000"]
    assert start("train", "--resume", "run", *words).wait() == 0
    assert [(c.labeler, c.id) for c in answers(run)] == [("anna", number) for number in given]


# ---- parts of a user's own through entry points

PLUGIN = '''
"""A labeler, a strategy and a net that prefrl has never heard of."""
from prefrl.reward.nets import MemberMLP
from prefrl.types import Preference


class Careful:
    name = "careful"
    immediate = True

    def __init__(self, rng):
        pass

    def label(self, query):
        return Preference.TIE

    def observe_episode(self, true_return, length):
        pass


def newest(candidates, n, rng):
    return rng.permutation(candidates.returns.shape[1])[:n]


class Wide(MemberMLP):
    pass
'''
ENTRY_POINTS = """
[prefrl.labelers]
careful = my_parts:Careful
[prefrl.strategies]
newest = my_parts:newest
[prefrl.reward_nets]
wide = my_parts:Wide
[prefrl.environments]
mine = my_envs
"""


def test_parts_of_ones_own_through_entry_points(start: Prefrl, tmp_path: Path) -> None:
    """In every process: the trainer, the reward fit beside it, the environments' own."""
    folder = tmp_path / "site"
    info = folder / "my_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "my_parts.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    path = (folder, FIXTURES / "my_envs")
    words = ["my/PointMass-v0", *TINY, "--labeler", "careful", "--strategy", "newest"]
    more = ["--set", "reward.net=wide", "--fit", "async", "--set", "env.vec=subproc"]
    started = start("train", *words, *more, "--ask-above", "0", "--run", "run", path=path)
    assert started.wait() == 0, started.output
    assert {c.labeler for c in answers(tmp_path / "run")} == {"careful"}
    started = start("eval", "run", path=path)
    assert started.wait() == 0, started.output
