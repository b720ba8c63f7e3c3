"""`prefrl label` as a user meets it: without a display, with mistakes, and a whole sitting."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from viewing import Painter, questions, wait_until

import viewer.label
from prefrl.config import from_mapping
from prefrl.label_quality import OBVIOUS
from prefrl.render import window
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.types import Preference, Viewing
from viewer.session import Controller
from viewer.state import Action, Answer, Pair, PutBack, Skip, Undo

Prefrl = Callable[..., Any]
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDL's dummy driver counts as a display here."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("DISPLAY", ":none")
    monkeypatch.setattr(window, "_HEADLESS", ())


def run_in(folder: str = "run", **viewer: Any) -> RunDir:
    """A run's folder; nothing has been trained there."""
    config = from_mapping({"env": {"id": "prefrl/CartPole-v0"}, "viewer": viewer})
    run = RunDir.create(Path(folder), config)
    run.unlock()
    return run


# ---- no display


@pytest.mark.parametrize("words", [[], ["--review"]])
@pytest.mark.parametrize("display", ["", ":99999"])
def test_without_a_display_the_remedy_is_named(
    prefrl: Prefrl,
    no_display: None,
    monkeypatch: pytest.MonkeyPatch,
    display: str,
    words: list[str],
) -> None:
    run_in()
    if display:
        monkeypatch.setenv("DISPLAY", display)
    done = prefrl("label", "run", *words)
    assert done.status == 2
    assert done.err.startswith("prefrl: there is no display for a window: run this where DISPLAY ")
    assert "`ssh -X`" in done.err and "or run `prefrl label run` at this machine's own" in done.err


def test_training_for_people_without_a_display_says_where_to_answer(
    prefrl: Prefrl, no_display: None
) -> None:
    """It opens no window, and goes on with what is answered through the store all the same."""
    words = shlex.split(
        "prefrl/CartPole-v0 --labeler human --run run --steps 1000000 --labels 40 --n-envs 2 "
        "--fit sync --set labels.warmup_steps=512 --set labels.ask_every=256 "
        "--set labels.first_share=0.25 --set agent.kwargs.n_steps=64 --set agent.kwargs.n_epochs=1 "
        "--set reward.max_epochs=1 --set reward.refit_epochs=1"
    )
    answered: list[int] = []

    def answers_and_then_stops() -> None:
        wait_until(Path("run/store.sqlite").exists)
        with ComparisonStore("run/store.sqlite") as store:
            deadline = time.monotonic() + 240
            while len(answered) < 12 and time.monotonic() < deadline:  # more than the first batch
                if (query := store.claim("anna")) is None:
                    time.sleep(0.02)
                    continue
                assert query.id is not None
                store.answer(query.id, Preference.LEFT, "anna")
                answered.append(query.id)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=answers_and_then_stops)
    thread.start()
    try:
        done = prefrl("train", *words)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert len(answered) == 12 and done.status == 130, done.err
    said = " ".join(done.out.split())
    assert "no display, so no window opens here: log in to this machine with `ssh -X`" in said
    assert (
        "`prefrl label run` opens it there" in said
        and "`prefrl train --resume run` goes on with it" in said
    )
    assert not Path("run/viewer.log").exists()


# ---- mistakes


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["nothere"], "nothere holds no run (no config.toml): check the path"),
        (["."], "holds no run (no config.toml)"),
        (["run", "--review"], "run has no answers to review yet: `prefrl label run` gives some"),
        (["run"], "run has no checkpoint yet: train it first"),
        (["run", "--size", "5"], "--size"),
        (["run", "--queries", "-1"], "--queries"),
        (["run", "--last", "0"], "--last"),
    ],
)
def test_a_mistake_is_named(
    prefrl: Prefrl,
    shown_nowhere: None,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    wanted: str,
) -> None:
    monkeypatch.setattr(viewer.label, "ClipProcess", lambda *_: Closing())
    run_in()
    done = prefrl("label", *words)
    assert done.status == 2
    assert done.err.startswith("prefrl: ") and wanted in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"lefft": "a"}, "viewer.keys.lefft: no such action, did you mean 'left'?"),
        ({"tie": "spcae"}, "viewer.keys.tie = 'spcae': no such key, did you mean 'space'?"),
        ({"tie": "s"}, "'s' is the key of tie and of skip: give one of them another"),
        ({"tie": 5}, 'viewer.keys.tie = 5: write a key, "t", or a list of them, ["t", "up"]'),
        ({"tie": ["t", 5]}, "viewer.keys.tie = ['t', 5]: write a key"),
        ({"tie": ""}, "viewer.keys.tie = '': no such key"),
        ({"tie": {"key": "t"}}, "viewer.keys.tie = {'key': 't'}: write a key"),
    ],
)
@pytest.mark.parametrize("words", [[], ["--review"]])
def test_keys_that_cannot_be_are_named(
    prefrl: Prefrl, no_display: None, keys: Mapping[str, Any], wanted: str, words: list[str]
) -> None:
    """On a machine without a display too."""
    run_in(keys=keys)
    done = prefrl("label", "run", *words)
    assert done.status == 2 and wanted in done.err and "Traceback" not in done.err


def test_a_key_may_be_named_twice_for_one_action() -> None:
    assert viewer.label.bindings({"tie": ["t", "T"]})["t"] is Action.TIE


# ---- what to choose by


def test_an_instruction_is_kept_with_the_run(prefrl: Prefrl, no_display: None) -> None:
    run = run_in(size=320)
    before = run.config()
    text = 'Choose "the better" backflip \u2013 a full turn'
    assert prefrl("label", "run", "--instruction", text).status == 2, "there is no display"
    after = run.config()
    assert after.viewer.instruction == text == viewer.label.instruction_of(after)
    assert after == replace(before, viewer=replace(before.viewer, instruction=text))
    prefrl("label", "run")
    assert run.config() == after
    prefrl("label", "run", "--instruction", "")
    assert run.config() == before


@pytest.mark.parametrize(
    ("env_id", "wanted"),
    [
        ("prefrl/CartPole-v0", "Choose the clip in which the pole is kept upright"),
        ("CartPole-v1", viewer.label.DEFAULT_INSTRUCTION),
    ],
)
def test_without_one_it_is_the_environments(env_id: str, wanted: str) -> None:
    config = from_mapping({"env": {"id": env_id}})
    assert viewer.label.instruction_of(config).startswith(wanted)


def test_true_returns_check_nobody_who_wants_something_else() -> None:
    """Whoever is asked for the opposite answers all of them wrongly, however attentive."""
    theirs = "Choose the clip in which the cheetah runs forward."
    assert OBVIOUS in viewer.label.check_kinds("", theirs)
    assert OBVIOUS not in viewer.label.check_kinds("Backward!", "Backward!")
    assert OBVIOUS not in viewer.label.check_kinds("", viewer.label.DEFAULT_INSTRUCTION)


# ---- a sitting


class Closing(Painter):
    """Draws nothing real, and can be closed."""

    backend = "osmesa"
    closed = 0

    def close(self) -> None:
        Closing.closed += 1


VIEWING = Viewing(2.0, 1.0)


class Scripted:
    """Stands in for the window: a person who answers three pairs, skips one and undoes one."""

    says: str

    def __init__(
        self, controller: Controller, keys: Mapping[str, Action], review: bool = False
    ) -> None:
        self._controller = controller

    def show(self) -> None:
        for preference in (Preference.LEFT, Preference.TIE, Preference.RIGHT):
            self._controller.perform(Answer(self._next().key, preference, VIEWING))
        self._controller.perform(Skip(self._next().key))
        on_screen = self._next()
        self._controller.perform(PutBack(on_screen.key))
        self._controller.perform(Undo(3))
        assert self._next().key == 3
        Scripted.says = self._controller.window_text().instruction

    def _next(self) -> Pair:
        found: list[Pair] = []
        wait_until(lambda: bool((pair := self._controller.next_pair()) and not found.append(pair)))
        return found[0]


class Impatient(Scripted):
    """Somebody presses Ctrl-C after the first answer."""

    def show(self) -> None:
        self._controller.perform(Answer(self._next().key, Preference.LEFT, VIEWING))
        raise KeyboardInterrupt


@pytest.fixture
def seated(shown_nowhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    Closing.closed = 0
    monkeypatch.setattr(viewer.label, "ClipProcess", lambda *_: Closing())
    monkeypatch.setattr(viewer.label, "Window", Scripted)
    yield monkeypatch


def test_a_sitting_ends_with_what_was_done_in_it(
    prefrl: Prefrl, seated: pytest.MonkeyPatch
) -> None:
    run = run_in(instruction="Choose.")
    with ComparisonStore(run.store_path) as store:
        asked = [query.id or 0 for query in store.add(questions(12))]
        for number in asked[10:]:
            store.answer(number, Preference.LEFT, "zoe")
        done = prefrl("label", "run", "--name", "zoe")
        assert done.status == 0, done.err
        counts = store.counts()
        assert (counts.answered, counts.leased, counts.open) == (4, 0, 8), "one was skipped"
        rows = store.answer_log("zoe")
    assert [row.query_id for row in rows[2:]] == [1, 2]
    assert rows[3].preference is Preference.TIE and rows[3].seconds == 2.0
    assert "clips are drawn with osmesa" in done.out
    assert "this sitting: 2 labels by zoe" in done.out
    assert Scripted.says == "Choose." and Closing.closed == 1
    lines = dict(line.strip().split("  ", 1) for line in done.out.splitlines() if "  " in line[2:])
    assert lines["labels"].strip() == "4"
    assert lines["obvious pairs right"].strip() == "none asked yet"


def test_ctrl_c_is_a_way_to_leave(prefrl: Prefrl, seated: pytest.MonkeyPatch) -> None:
    run = run_in()
    seated.setattr(viewer.label, "Window", Impatient)
    with ComparisonStore(run.store_path) as store:
        store.add(questions(3))
        done = prefrl("label", "run", "--name", "zoe")
        assert done.status == 130 and "this sitting: 1 labels by zoe" in done.out
        assert (store.counts().answered, store.counts().leased) == (1, 0)
    assert Closing.closed == 1


@pytest.mark.parametrize("why", ["somebody trains", "queries wait", "none are wanted"])
def test_nothing_is_asked_where_somebody_else_does_or_nobody_wants(
    prefrl: Prefrl, seated: pytest.MonkeyPatch, why: str
) -> None:
    """There is no checkpoint to ask about: it would fail."""
    run = run_in()

    class Looks(Scripted):
        def show(self) -> None:
            Scripted.says = self._controller.window_text().waiting

    seated.setattr(viewer.label, "Window", Looks)
    if why == "somebody trains":
        run.lock()
    if why == "queries wait":
        with ComparisonStore(run.store_path) as store:
            store.add(questions(1))
    words = ["--queries", "0"] if why == "none are wanted" else []
    done = prefrl("label", "run", *words)
    run.unlock()
    assert done.status == 0, done.err
    assert "this sitting: 0 labels" in done.out and "all of them" not in done.out


def test_of_two_windows_one_looks_for_queries(prefrl: Prefrl, seated: pytest.MonkeyPatch) -> None:
    """The other one came before it had found any, and is the second to get the run's lock."""
    run = run_in()

    class Looks(Scripted):
        def show(self) -> None:
            Scripted.says = self._controller.window_text().status

    def late(self: RunDir) -> bool:
        with ComparisonStore(run.store_path) as store:
            store.add(questions(7))
        return lock_if_free(self)

    lock_if_free = RunDir.lock_if_free
    seated.setattr(viewer.label, "Window", Looks)
    seated.setattr(RunDir, "lock_if_free", late)
    done = prefrl("label", "run")
    assert done.status == 0, done.err
    assert "looking for" not in done.out and not run.in_use()
    with ComparisonStore(run.store_path) as store:
        assert store.counts().open == 7
