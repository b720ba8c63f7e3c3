"""Answers that a run did not ask for: copied from another run, given after its end."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from short_runs import TINY

from prefrl import checkpoints, commands
from prefrl.answers import answers_from, check_used
from prefrl.cli import main
from prefrl.metrics import read_metrics
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.types import Comparison, Preference, PrefrlError

Prefrl = Callable[..., Any]
CART = ["train", "prefrl/CartPole-v0", *TINY]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that an oracle answered and that has taken all its steps."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        _train_only(patch)
        assert main([*CART, "--run", str(run), "--ask-above", "0"]) == 0
    return run


def _train_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commands, "evaluate", lambda *_: {})
    patch.setattr(commands, "report", lambda *_: Path())


@pytest.fixture
def done(prefrl: Prefrl, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in the folder that `prefrl` runs in."""
    _train_only(monkeypatch)
    return Path(shutil.copytree(finished, "done"))


def told(run: Path) -> list[tuple[Any, ...]]:
    """Everything in a run's answers."""
    with ComparisonStore(run / "store.sqlite") as store:
        return [_content(c) for c in store.comparisons()]


def _content(c: Comparison) -> tuple[Any, ...]:
    arrays = [a.tobytes() for s in (c.query.left, c.query.right) for a in (s.obs, s.actions)]
    return (c.id, c.preference, c.labeler, c.answered_at, c.query.id, c.query.step, *arrays)


def answer(store: ComparisonStore, n: int, labeler: str = "anna", step: int = 0) -> list[int]:
    """More answers, to what was asked before."""
    known = store.comparisons()
    asked = store.add([replace(c.query, id=None, step=step) for c in known[:n]])
    return store.answer_all([(q.id or 0, Preference.TIE) for q in asked], labeler)


# ---- what a new run begins with


@pytest.mark.parametrize("source", ["done", "done/store.sqlite"])
def test_a_run_on_anothers_answers_with_nobody_there(
    prefrl: Prefrl, done: Path, source: str
) -> None:
    before, newest = told(done), (done / "metrics.jsonl").read_bytes()
    ended = prefrl(*CART, "--labeler", "store", "--answers", source, "--run", "new")
    assert ended.status == 0, ended.err
    assert "on answers given earlier" in ended.out and "20 labels" not in ended.out
    assert told(Path("new")) == before == told(done)
    assert (done / "metrics.jsonl").read_bytes() == newest
    rows = read_metrics(Path("new/metrics.jsonl"))
    assert rows[-1]["step"] >= 2000
    assert {row["labels"] for row in rows} == {len(before)} and rows[0]["comparisons"] >= 10
    assert checkpoints.latest(Path("new/checkpoints")) is not None
    assert sorted(p.name for p in Path().iterdir()) == ["done", "new"], "and no copy is left"


def test_a_run_in_use_lends_what_it_has_by_then(prefrl: Prefrl, done: Path) -> None:
    """Answers that are on the disk and not in the database's own file yet; none comes later."""
    with ComparisonStore(done / "store.sqlite") as store:
        answer(store, 3)
        assert (done / "store.sqlite-wal").stat().st_size > 0
        before = told(done)
        assert prefrl(*CART, "--answers", "done", "--run", "new", "--labels", "30").status == 0
        assert told(done) == before
    assert told(Path("new"))[: len(before)] == before
    assert len(before) == 21 < len(told(Path("new"))) <= 30, "the oracle goes on from there"


def test_what_nobody_answered_is_not_asked_again(done: Path) -> None:
    config = RunDir.open(done).config()
    with ComparisonStore(done / "store.sqlite") as store:
        query = replace(store.comparisons()[0].query, id=None, step=10**9)
        store.add([query] * 5)
        assert store.claim("anna", lease_seconds=1e9) is not None
        with answers_from(done, Path("new"), config) as copied:
            assert copied is not None
            with ComparisonStore(copied) as copy:
                counts = copy.counts()
                assert (counts.open, counts.leased, counts.expired) == (0, 0, 5)
        assert (store.counts().open, store.counts().leased) == (4, 1), "here it is as it was"
    assert not copied.exists()


def test_a_resumed_run_does_with_what_people_answered(prefrl: Prefrl, done: Path) -> None:
    with ComparisonStore(done / "store.sqlite") as store:
        answer(store, 4)
    words = ["--labeler", "store", "--steps", "3000"]
    assert prefrl("train", "--resume", "done", *words).status == 0
    rows = [row for row in read_metrics(done / "metrics.jsonl") if row["step"] > 2100]
    assert rows[-1]["step"] >= 3000
    assert {row["labels"] for row in rows} == {22.0}
    assert RunDir.open(done).config().labels.labeler == "store"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["prefrl/CartPole-v0", "--labeler", "store"], "name a run that has with --answers RUN"),
        (["prefrl/CartPole-v0", "--answers", "nothere"], "no run and no store nothere: check"),
        (["Pendulum-v1", "--answers", "done"], "done is of another environment than Pendulum-v1"),
        (
            ["CliffWalking-v1", "--answers", "done"],
            "its observations have shape (4,) and must be from Discrete",
        ),
        (
            ["prefrl/CartPole-v0", "--segment-length", "12", "--answers", "done"],
            "segments in done have 10 steps, this run's would have 12: --segment-length 10",
        ),
        (["prefrl/CartPole-v0", "--answers", "text"], "text is no comparison store"),
        (["prefrl/CartPole-v0", "--answers", "void"], "void holds 0 answers to learn from, and"),
        (["prefrl/CartPole-v0", "--answers", "other"], "other holds something other than compar"),
        (["prefrl/CartPole-v0", "--answers", "folder"], "folder holds no answers (no store.sqlite"),
        (["--resume", "done", "--answers", "done"], "leave out --answers"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    prefrl: Prefrl, done: Path, words: list[str], wanted: str
) -> None:
    Path("text").write_text("left, right, right " * 100)
    Path("void").touch()
    Path("folder").mkdir()
    with sqlite3.connect("other") as other:
        other.execute("CREATE TABLE recipes (id INTEGER)")
    other.close()
    before, there = told(done), sorted(p.name for p in Path().iterdir())
    refused = prefrl("train", *words)
    assert refused.status == 2
    assert refused.err.startswith("prefrl: ") and wanted in refused.err
    assert "Traceback" not in refused.err and ".answers-" not in refused.err
    assert sorted(p.name for p in Path().iterdir()) == there
    assert told(done) == before and Path("void").stat().st_size == 0


def test_one_answer_is_too_few_for_nobody(prefrl: Prefrl, done: Path) -> None:
    with ComparisonStore("one.sqlite") as few, ComparisonStore(done / "store.sqlite") as store:
        (asked,) = few.add([replace(store.comparisons()[0].query, id=None)])
        few.answer(asked.id or 0, Preference.LEFT, "anna")
    refused = prefrl(*CART, "--labeler", "store", "--answers", "one.sqlite", "--run", "new")
    assert (
        refused.status == 2
        and "1 answers to learn from, and there must be at least 2" in refused.err
    )
    assert not Path("new").exists()


def test_answers_that_decide_nothing_are_too_few(prefrl: Prefrl, done: Path) -> None:
    with ComparisonStore(done / "store.sqlite") as store:
        for comparison in store.comparisons():
            store.revise(comparison.query.id or 0, Preference.INCOMPARABLE, "anna")
    refused = prefrl(*CART, "--labeler", "store", "--answers", "done", "--run", "new")
    assert refused.status == 2 and "holds 0 answers to learn from" in refused.err
    assert not Path("new").exists()


def test_a_run_without_answers_resumes_with_nobody_to_ask(prefrl: Prefrl, done: Path) -> None:
    RunDir.create(Path("new"), RunDir.open(done).config()).unlock()
    refused = prefrl("train", "--resume", "new", "--labeler", "store")
    assert refused.status == 2
    assert "decide too little to fit a reward to: give more (`prefrl label`)" in refused.err
    assert "`prefrl train --resume new` goes on with it" in refused.err


def test_answers_that_are_there_are_not_overwritten(done: Path) -> None:
    Path("new").mkdir()
    with ComparisonStore("new/store.sqlite"):
        pass
    kept = Path("new/store.sqlite").read_bytes()
    config = RunDir.open(done).config()
    with pytest.raises(PrefrlError, match="holds answers already"):
        RunDir.create(Path("new"), config, done / "store.sqlite")
    assert Path("new/store.sqlite").read_bytes() == kept and (done / "store.sqlite").exists()
    assert not Path("new/config.toml").exists()


def test_the_copy_lies_where_there_is_a_folder_already(done: Path) -> None:
    with answers_from(done, Path("not/yet/there"), RunDir.open(done).config()) as copied:
        assert copied is not None and copied.is_file()
    assert not Path("not").exists()


# ---- what was answered after the end


def test_new_answers_to_a_finished_run_want_steps(prefrl: Prefrl, done: Path) -> None:
    nothing_new = prefrl("train", "--resume", "done")
    assert nothing_new.status == 0
    assert "all 2,000 steps are used, and the run is evaluated again" in nothing_new.out
    with ComparisonStore(done / "store.sqlite") as store:
        known = len(store.comparisons())
        answer(store, 3, step=2048)
        answer(store, 1, step=2048)
        store.revise(known + 4, Preference.LEFT, "anna")
        withdrawn = store.comparisons()[known].query.id
        store.revise(withdrawn or 0, None, "anna")
    files = {p: p.read_bytes() for p in (done / "config.toml", done / "metrics.jsonl")}
    newest = checkpoints.latest(done / "checkpoints")
    refused = prefrl("train", "--resume", "done")
    assert refused.status == 2
    assert refused.err == (
        "prefrl: all 2,000 steps are used; 3 new answers wait: --steps 3000 trains on with them\n"
    )
    assert {p: p.read_bytes() for p in files} == files
    assert checkpoints.latest(done / "checkpoints") == newest

    refused = prefrl("train", "--resume", "done", "--steps", "2001")  # of 2,048 that were taken
    assert refused.status == 2
    assert refused.err == "prefrl: done has taken 2,048 steps: --steps 2001 leaves none, raise it\n"
    words = ["--steps", "3000", "--labeler", "store"]  # the oracle would answer what is open now
    assert prefrl("train", "--resume", "done", *words).status == 0
    rows = [row for row in read_metrics(done / "metrics.jsonl") if row["step"] > 2100]
    assert rows[0]["comparisons"] == known + 3, "they are used from the start"
    assert prefrl("train", "--resume", "done").status == 0, "and now they are known"


def test_what_the_oracle_said_at_the_very_end_is_no_news(prefrl: Prefrl, done: Path) -> None:
    """A reward that is fitted beside training may not have got to it."""
    with ComparisonStore(done / "store.sqlite") as store:
        answer(store, 3, labeler="oracle")
    assert prefrl("train", "--resume", "done").status == 0


def test_answers_that_the_reward_was_fitted_to_are_not_new(done: Path) -> None:
    with ComparisonStore(done / "store.sqlite") as store:
        newest = answer(store, 3)[-1]
    run = RunDir.open(done)
    check_used(run.config(), run, {"step": 2048, "progress": {"fitted_to": newest}})
    with pytest.raises(PrefrlError, match="1 new answers wait"):
        check_used(run.config(), run, {"step": 2048, "progress": {"fitted_to": newest - 1}})
