"""Pairs ahead of the person, and answers behind them: feeder and controller on a real store."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from viewing import (
    ANSWERS,
    PATIENCE,
    Done,
    Painter,
    Sitting,
    questions,
    recorded,
    run_at,
    segment,
    wait_until,
)

import prefrl.store.comparisons
import prefrl.store.reading
import viewer.feed
import viewer.session
from prefrl.metrics import append_metrics
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore, Counts
from prefrl.types import MachineError, Preference
from viewer.feed import AHEAD, LEASE_SECONDS
from viewer.state import AWAY, UNDOABLE, Action, Pair

LEFT, RIGHT = Action.LEFT, Action.RIGHT
Sit = Callable[..., Sitting]
ClockOf = Callable[[Sitting], Any]


@pytest.fixture(autouse=True)
def _no_idling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer.feed, "_IDLE_SECONDS", 0.005)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ComparisonStore]:
    run_at(tmp_path / "run")
    with ComparisonStore(tmp_path / "run" / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sitting], Clock]:
    """Stops the clock of a feeder's leases."""
    return lambda sitting: Clock(sitting, monkeypatch)


@pytest.fixture
def sit(store: ComparisonStore) -> Iterator[Sit]:
    """Seats a person before a queue of so many queries."""
    with ExitStack() as stack:

        def down(n: int = 0, **how: Any) -> Sitting:
            store.add(questions(n))
            where = Path(store.where)
            own = stack.enter_context(ComparisonStore(where))
            return stack.enter_context(Sitting(run_at(where.parent), own, **how))

        yield down


class Clock:
    """The time of the leases, which passes as a test says."""

    def __init__(self, sitting: Sitting, patch: pytest.MonkeyPatch) -> None:
        self._sitting, self._now = sitting, time.time()
        self._renew, self._renewed = sitting.store.renew, 0
        patch.setattr(sitting.store, "renew", self._watched)
        for module in (viewer.feed, prefrl.store.comparisons, prefrl.store.reading):
            patch.setattr(module, "time", self)

    def time(self) -> float:
        return self._now

    monotonic = time

    def _watched(self, *words: Any) -> Any:
        renewed = self._renew(*words)
        self._renewed += 1
        return renewed

    def passes(self, seconds: float) -> None:
        """In steps after each of which leases have been renewed."""
        end = self._now + seconds
        while self._now < end:
            before, self._now = self._renewed, self._now + 1.1 * viewer.feed._RENEW_SECONDS
            wait_until(lambda before=before: self._renewed > before)

    def jumps(self, seconds: float) -> None:
        self._now += seconds


def drawn_ahead(ann: Sitting, n: int = AHEAD) -> None:
    wait_until(lambda: ann.ahead() == n)


def everything(sitting: Sitting, action: Action = LEFT) -> list[Any]:
    """Answer until nothing is left; the keys."""
    keys = []
    while sitting.store.counts().answered < len_of(sitting.store):
        keys.append(sitting.answer(action))
    return keys


def len_of(store: ComparisonStore) -> int:
    counts = store.counts()
    return counts.open + counts.leased + counts.answered


def sql(store: ComparisonStore, statement: str) -> None:
    database = sqlite3.connect(store.where)
    with database:
        database.execute(statement)
    database.close()


# ---- pairs ahead


def test_eight_pairs_are_ready_ahead(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(30)
    for taken in range(5):
        drawn_ahead(ann)
        time.sleep(0.05)  # time for more
        assert ann.ahead() == AHEAD == 8
        assert len(ann.clips.drawn) == 2 * (AHEAD + taken)
        assert store.counts() == Counts(30 - AHEAD - taken, AHEAD + taken, 0, 0)
        assert ann.controller.next_pair() is not None


@pytest.mark.parametrize(("pairs_of_room", "waiting"), [(0, 2), (3, 3), (99, AHEAD)])
def test_fewer_wait_where_they_are_large(
    sit: Sit, pairs_of_room: int, waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_a_pair = sum(clip.pictures.nbytes for clip in Painter().draw([segment(0), segment(1)]))
    monkeypatch.setattr(viewer.feed, "_MAX_AHEAD_BYTES", pairs_of_room * of_a_pair)
    ann = sit(30)
    drawn_ahead(ann, waiting)
    time.sleep(0.05)  # time for more
    assert ann.ahead() == waiting


def test_a_pair_that_is_drawn_is_there_at_once(sit: Sit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the thread that draws is doing: drawing, or waiting for the database."""
    ann = sit(30)
    drawn_ahead(ann)
    ann.clips.may_draw.clear()
    begun = len(ann.clips.drawn)
    taken = [ann.controller.next_pair()]
    wait_until(lambda: len(ann.clips.drawn) > begun)
    taken += [ann.controller.next_pair() for _ in range(AHEAD - 1)]
    assert [pair.key for pair in taken if pair] == list(range(1, AHEAD + 1))
    assert ann.controller.next_pair() is None and ann.feeder.drawing
    asked, may_claim, claim = threading.Event(), threading.Event(), ann.store.claim

    def waiting(*words: Any) -> Any:
        asked.set()
        may_claim.wait()
        return claim(*words)

    monkeypatch.setattr(ann.store, "claim", waiting)
    ann.clips.may_draw.set()
    try:
        assert asked.wait(PATIENCE)
        assert ann.controller.next_pair() is not None
    finally:
        may_claim.set()


def test_a_fault_in_drawing_is_told_to_whoever_takes(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(30)
    key = ann.answer(LEFT)
    ann.clips.error = MachineError("the process that draws the clips ended")
    with pytest.raises(MachineError, match="that draws the clips ended"):
        while True:
            ann.answer(RIGHT)
    assert ann.done[0].key == key
    ann.feeder.close()
    assert store.counts().leased == 0
    assert recorded(Path(store.where)) == ann.done


def test_what_is_held_goes_back_at_the_end(store: ComparisonStore, sit: Sit) -> None:
    """On the screen, drawn, being drawn, or undone."""
    ann = sit(30)
    for _ in range(3):
        ann.answer(LEFT)
    ann.press(Action.UNDO)
    ann.shown()
    ann.clips.may_draw.clear()
    threading.Timer(0.2, ann.clips.may_draw.set).start()
    assert store.counts().leased > 1
    ann.feeder.close()
    assert store.counts() == Counts(28, 0, 2, 0)


# ---- answers


def test_an_answer_is_about_what_was_seen(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(40)
    for i in range(40):
        ann.shown()
        ann.press(ANSWERS[i % 4], after=0.4 + i / 100)
    assert recorded(Path(store.where)) == ann.done
    rows = store.answer_log("ann")
    assert {row.swapped for row in rows} == {True, False}
    for i, row in enumerate(rows):
        assert row.seconds == pytest.approx(0.4 + i / 100)
        assert row.watched == pytest.approx(0.4 + i / 100)


def test_the_person_sees_the_sides_that_are_recorded(sit: Sit) -> None:
    """Neither always the query's, nor always the others; the log of what was shown knows."""
    ann = sit(40)
    everything(ann)
    swapped = [left > right for left, right in (done.seen for done in ann.done if done.seen)]
    assert 5 < sum(swapped) < 35
    log = Path(ann.store.where).with_name("shown.jsonl").read_text().splitlines()
    shown = [json.loads(line) for line in log]
    assert [(row["pair"], row["swapped"]) for row in shown] == [
        (i + 1, swap) for i, swap in enumerate(swapped)
    ]
    assert {row["labeler"] for row in shown} == {"ann"}


def test_an_answer_is_on_the_disk_before_the_next_pair(
    store: ComparisonStore, sit: Sit, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = sit(20)
    take, seen = ann.feeder.take, list[tuple[int, int]]()

    def watched() -> Any:
        seen.append((len(ann.done), store.counts().answered))
        return take()

    monkeypatch.setattr(ann.feeder, "take", watched)
    everything(ann)
    assert {given for given, _ in seen} == set(range(20))
    assert all(given == stored for given, stored in seen)


def test_an_answer_elsewhere_is_told_and_stands(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(5)
    key = ann.shown().key
    store.answer(int(key), Preference.TIE, "bob")
    ann.press(LEFT)
    assert ann.told == ["somebody else answered this pair first: here is another"]
    assert ann.state.answered == ()
    assert key not in everything(ann)
    ((row),) = store.answer_log("bob")
    assert (row.query_id, row.preference) == (key, Preference.TIE)
    assert len(store.answer_log("ann")) == 4 == len(store.comparisons()) - 1
    assert not ann.feeder.drawing, "it is not held any longer"


def test_what_the_run_is_told_while_the_window_is_open_is_seen(
    store: ComparisonStore, sit: Sit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed with a larger budget has not had all its answers."""
    monkeypatch.setattr(viewer.session, "_REFRESH_EVERY", 0.0)
    ann, run = sit(2), RunDir(Path(store.where).parent)
    config = run.config()
    run.write_config(replace(config, labels=replace(config.labels, budget=2), steps=10_000))
    everything(ann)
    assert ann.controller.window_text().waiting.startswith("All 2 answers are given.")
    run.write_config(replace(config, labels=replace(config.labels, budget=50), steps=20_000))
    assert ann.controller.window_text().status.startswith("2 of 50 labels")
    goes_on = f"prefrl train --resume {run.path}"
    assert f"{goes_on} goes on with your answers." in ann.controller.window_text().waiting
    append_metrics(run.metrics_path, {"step": 20_000, "steps_per_second": 1.0})
    nothing = ann.controller.window_text().waiting
    assert f"{goes_on} --steps MORE goes on with your answers." in nothing
    assert "This window, opened again, has more" in nothing


def test_a_full_disk_is_told_and_the_pair_stays(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(3, labeler="ann" * 9000)  # an answer by her needs pages of its own
    drawn_ahead(ann, 3)
    key, seen = ann.shown().key, ann.numbers()
    with ann.store._database.transaction() as connection:  # of this connection alone
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    for attempt in range(2):
        ann.press(LEFT)
        assert len(ann.told) == attempt + 1 and "the disk is full" in ann.told[-1]
        assert store.counts().answered == 0 and ann.state.answered == ()
        assert (ann.shown().key, ann.numbers()) == (key, seen)
    with ann.store._database.transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    everything(ann)
    assert recorded(Path(store.where), by=ann.labeler) == ann.done
    assert [done.key for done in ann.done] == [1, 2, 3]


def test_where_the_log_cannot_be_written_people_label_all_the_same(
    store: ComparisonStore, sit: Sit
) -> None:
    Path(store.where).with_name("shown.jsonl").mkdir()
    assert everything(sit(3)) == [1, 2, 3]


# ---- leases


def test_leases_are_renewed(store: ComparisonStore, sit: Sit, clock_of: ClockOf) -> None:
    """Those of the pair on the screen, of those that are drawn, and of one that was undone."""
    ann = sit(6)
    clock = clock_of(ann)
    ann.answer(LEFT)
    ann.answer(LEFT)
    ann.press(Action.UNDO)
    ann.shown()
    drawn_ahead(ann, 4)
    for _ in range(4):
        clock.passes(LEASE_SECONDS / 2)
        assert store.claim("bob") is None
    assert ann.ahead() == 4
    assert len(everything(ann)) == 5 and not ann.told


@pytest.mark.parametrize("how", ["answered", "taken"])
def test_a_lost_lease_leaves_the_queue(
    store: ComparisonStore, sit: Sit, clock_of: ClockOf, how: str
) -> None:
    ann = sit(6)
    clock = clock_of(ann)
    drawn_ahead(ann, 6)
    if how == "answered":
        store.answer(4, Preference.TIE, "bob")
    else:
        sql(store, "UPDATE queries SET leased_by = 'bob', lease_until = 1e12 WHERE id = 4")
    clock.passes(1)
    drawn_ahead(ann, 5)
    assert [ann.answer(LEFT) for _ in range(5)] == [1, 2, 3, 5, 6]
    assert not ann.told


def test_a_lease_that_nobody_took_is_held_again(
    store: ComparisonStore, sit: Sit, clock_of: ClockOf
) -> None:
    """The machine slept, and its clock with it; nothing is asked twice."""
    ann = sit(6)
    drawn_ahead(ann, 6)
    sql(store, "UPDATE queries SET lease_until = 0")
    wait_until(lambda: store.counts().leased == 6)  # as there is room for two more
    sql(store, "UPDATE queries SET lease_until = 0 WHERE id > 3")
    clock_of(ann).passes(1)
    assert store.claim("bob") is None and ann.ahead() == 6
    assert everything(ann) == [1, 2, 3, 4, 5, 6] and not ann.told


def test_what_was_undone_and_lost_is_not_drawn_again(
    store: ComparisonStore, sit: Sit, clock_of: ClockOf
) -> None:
    ann = sit(20)
    clock = clock_of(ann)
    for _ in range(8):
        ann.answer(LEFT)
    for _ in range(3):
        ann.press(Action.UNDO)
    wait_until(lambda: ann.ahead() >= AHEAD)
    ann.clips.may_draw.clear()
    begun = len(ann.clips.drawn)
    for _ in range(3):  # the clips of these are gone
        ann.press(Action.UNDO)
    assert ann.look() is None
    store.answer(3, Preference.TIE, "bob")
    store.answer(4, Preference.TIE, "bob")
    clock.jumps(20)
    ann.clips.may_draw.set()
    assert [ann.answer(LEFT) for _ in range(4)] == [5, 6, 7, 8] and not ann.told
    assert not {4, 5, 6, 7} & set(ann.clips.drawn[begun:])


def test_two_people_share_a_queue(store: ComparisonStore, sit: Sit) -> None:
    ann, bob = sit(60), sit(labeler="bob", worker="second")
    while store.counts().answered < 60:
        for one in (ann, bob):
            if one.look() is not None:
                one.press(LEFT)
    assert not ann.told and not bob.told
    assert sorted(done.key for one in (ann, bob) for done in one.done) == list(range(1, 61))
    assert len(ann.done) > 10 and len(bob.done) > 10


# ---- absence


def test_nobody_there_gives_everything_back(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(20)
    ann.shown()
    drawn_ahead(ann)
    assert store.counts().leased == AHEAD + 1
    ann.wait(AWAY)
    assert ann.state.away and ann.state.pair is None
    assert store.counts() == Counts(20, 0, 0, 0)
    time.sleep(0.3)
    assert store.counts().leased == 0 and ann.ahead() == 0, "and nothing is claimed"
    assert ann.look() is None and not ann.feeder.drawing


def test_what_was_claimed_before_an_absence_is_not_shown_after_it(
    store: ComparisonStore, sit: Sit
) -> None:
    ann = sit(20)
    ann.shown()
    drawn_ahead(ann)
    ann.clips.may_draw.clear()
    ann.answer(LEFT)
    begun = len(ann.clips.drawn)
    ann.shown()
    wait_until(lambda: len(ann.clips.drawn) > begun)
    ann.wait(AWAY)
    sql(store, "UPDATE queries SET expired = TRUE WHERE id <= 15")  # training went on
    ann.press(LEFT)
    assert not ann.state.away and len(ann.done) == 1
    ann.clips.may_draw.set()
    assert everything_open(ann) == [16, 17, 18, 19, 20]


def everything_open(ann: Sitting) -> list[Any]:
    return [ann.answer(LEFT) for _ in range(5)]


def started(does: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=does)
    thread.start()
    return thread


def test_an_absence_begins_while_a_query_is_claimed(
    store: ComparisonStore, sit: Sit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the database hands out at that moment goes back too."""
    ann = sit(8)
    drawn_ahead(ann)
    claim, pausing = ann.store.claim, list[threading.Thread]()

    def interrupted(*words: Any) -> Any:
        found = claim(*words)
        if found is not None and not pausing:
            pausing.append(started(ann.feeder.pause))
            pausing[0].join(0.3)
        return found

    monkeypatch.setattr(ann.store, "claim", interrupted)
    store.add(questions(1))
    ann.shown()
    wait_until(lambda: bool(pausing))
    pausing[0].join()
    time.sleep(0.1)
    assert store.counts() == Counts(9, 0, 0, 0)
    assert not ann.feeder.drawing


def test_an_absence_begins_while_leases_are_renewed(
    store: ComparisonStore, sit: Sit, clock_of: ClockOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not leased again after they went back."""
    ann = sit(4)
    drawn_ahead(ann, 4)
    clock = clock_of(ann)
    renew, pausing = ann.store.renew, list[threading.Thread]()

    def interrupted(*words: Any) -> Any:
        if not pausing:
            pausing.append(started(ann.feeder.pause))
            pausing[0].join(0.3)
        return renew(*words)

    monkeypatch.setattr(ann.store, "renew", interrupted)
    clock.passes(1)
    pausing[0].join()
    assert store.counts() == Counts(4, 0, 0, 0)


def test_a_press_that_ends_an_absence_nobody_had_noticed(store: ComparisonStore, sit: Sit) -> None:
    """The window hears of the absence from that press alone, and is not away after it."""
    ann = sit(10)
    ann.shown()
    ann.press(LEFT, after=AWAY + 1)
    assert not ann.state.away and not ann.done
    assert len(everything(ann)) == 10


# ---- undo


def test_an_undo_brings_the_pair_back_first(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(10)
    ann.answer(LEFT)
    key = ann.answer(LEFT)
    seen, later = ann.done[-1].seen, ann.shown().key
    ann.press(Action.UNDO)
    claimed = store.claim("bob")  # there may be one that the feeder has no room for
    assert store.counts().answered == 1 and (claimed is None or claimed.id != key)
    assert (ann.shown().key, ann.numbers()) == (key, seen)
    ann.press(RIGHT)
    assert ann.shown().key == later
    assert recorded(Path(store.where)) == ann.done
    assert seen and ann.done[-1].meant == seen[1] and ann.done[-2] == Done(key, None, None)
    assert store.answer_log()[-1].swapped == (seen[0] > seen[1])


def test_undos_in_a_row_bring_the_earliest_first(store: ComparisonStore, sit: Sit) -> None:
    """Those whose clips are long gone are drawn again, on the sides that they had."""
    ann = sit(40)
    seen = {ann.answer(LEFT): ann.done[-1].seen for _ in range(25)}
    on_screen = ann.shown().key
    begun = len(ann.clips.drawn)
    for _ in range(12):
        ann.press(Action.UNDO)
    assert store.counts().answered == 13
    for key in range(14, 26):
        assert (ann.shown().key, ann.numbers()) == (key, seen[key])
        ann.press(RIGHT)
    assert ann.shown().key == on_screen == 26
    again = [key for key in range(14, 26) if 2 * key - 1 in ann.clips.drawn[begun:]]
    assert again == list(range(14, 23)), "only the last three were kept"
    assert recorded(Path(store.where)) == ann.done


def test_undo_and_answer_and_undo(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(30)
    for _ in range(10):
        ann.answer(LEFT)
    for n in (4, 7, 2):
        for _ in range(n):
            ann.press(Action.UNDO)
        for _ in range(n):
            ann.answer(RIGHT)
    assert [row.query_id for row in store.answer_log()] == [*range(1, 4), *range(4, 11)]
    everything(ann)
    assert recorded(Path(store.where)) == ann.done and not ann.told


def test_as_many_can_be_undone_as_the_state_machine_offers(sit: Sit) -> None:
    ann = sit(UNDOABLE + 5)
    for _ in range(UNDOABLE + 5):
        ann.answer(LEFT)
    for _ in range(UNDOABLE + 1):
        ann.press(Action.UNDO)
    assert ann.store.counts().answered == 5 and not ann.told
    assert "no answer to undo" in ann.state.note


def test_an_undo_after_an_absence(store: ComparisonStore, sit: Sit) -> None:
    ann = sit(10)
    key = ann.answer(LEFT)
    ann.wait(AWAY)
    ann.press(Action.FOCUS)
    ann.press(Action.UNDO)
    assert ann.shown().key == key
    ann.press(Action.TIE)
    assert [row.preference for row in store.answer_log()] == [Preference.TIE]


def test_an_undo_that_cannot_be_is_told(store: ComparisonStore, sit: Sit) -> None:
    """Somebody has corrected the answer. The others can be undone as before."""
    ann = sit(UNDOABLE + 1)
    keys = [ann.answer(LEFT) for _ in range(5)]
    store.revise(int(keys[-1]), Preference.TIE, "bob")
    on_screen = ann.shown().key
    ann.press(Action.UNDO)
    assert ann.told == [f"query {keys[-1]} was answered by bob, not by ann: revise it instead"]
    assert ann.shown().key == on_screen
    assert [row.preference for row in store.answer_log("bob")] == [Preference.TIE]
    everything(ann)
    for _ in range(UNDOABLE):
        ann.press(Action.UNDO)
    assert [row.labeler for row in store.answer_log()] == ["bob"] and len(ann.told) == 1


def test_a_check_can_be_undone(store: ComparisonStore, sit: Sit) -> None:
    store.add(questions(30, float))
    ann = sit(checks=0.5)
    before = 0
    while not isinstance(ann.shown().key, str):
        ann.press(LEFT)
        before += 1
    key, seen = ann.shown().key, ann.numbers()
    ann.press(LEFT)
    (first,) = store.checks()
    ann.press(Action.UNDO)
    assert store.checks() == [] and store.counts().answered == before
    assert (ann.shown().key, ann.numbers()) == (key, seen)
    ann.press(RIGHT)
    (second,) = store.checks()
    assert second.preference is first.preference.mirrored
    assert [(done.key, done.meant) for done in recorded(Path(store.where), "checks")] == [
        (key, seen[0]),
        (key, None),
        (key, seen[1]),
    ]


def test_the_status_counts_labels_and_no_checks(sit: Sit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer.session, "_REFRESH_EVERY", 1e9)  # between two looks at the store
    ann = sit(30, checks=0.5)
    ann.controller.window_text()
    labels = 0
    for _ in range(8):
        labels += not isinstance(ann.answer(LEFT), str)
        assert ann.controller.window_text().status.startswith(f"{labels} of ")
    undone = ann.state.answered[-1]
    ann.press(Action.UNDO)
    labels -= not isinstance(undone, str)
    assert ann.controller.window_text().status.startswith(f"{labels} of ") and 0 < labels < 8
    assert len(ann.controller._times) == 7, "nor does what was undone count to the pace"


# ---- skip


def test_a_skipped_pair_comes_again_after_all_others(store: ComparisonStore, sit: Sit) -> None:
    store.add(questions(AHEAD + 5, float))
    ann = sit()
    for _ in range(2):
        ann.shown()
        ann.press(Action.SKIP)
    assert [ann.answer(LEFT) for _ in range(AHEAD + 5)] == [*range(3, AHEAD + 6), 1, 2]
    assert ann.look() is None and len(store.comparisons()) == AHEAD + 5


def test_a_skipped_pair_is_anybody_elses(store: ComparisonStore, sit: Sit) -> None:
    store.add(questions(AHEAD + 5, float))
    ann = sit()
    assert ann.shown().key == 1
    ann.press(Action.SKIP)
    got = store.claim("bob")
    assert got is not None and got.id == 1
    assert 1 not in [ann.answer(LEFT) for _ in range(AHEAD + 4)] and ann.look() is None


def test_who_leaves_leaves_what_they_skipped(store: ComparisonStore, sit: Sit) -> None:
    """Whatever waits for its answers gets them from the next who comes."""
    ann = sit(3)
    ann.shown()
    ann.press(Action.SKIP)
    ann.feeder.close()
    assert store.counts() == Counts(3, 0, 0, 0)


def test_a_skipped_check_is_no_answer(store: ComparisonStore, sit: Sit) -> None:
    store.add(questions(30, float))
    ann = sit(checks=0.5)
    while not isinstance(skipped := ann.shown().key, str):
        ann.press(Action.SKIP)
    ann.press(Action.SKIP)
    assert ann.shown().key != skipped
    assert store.checks() == [] and store.comparisons() == [] and not ann.told


def test_a_skip_that_fails_keeps_nothing(
    store: ComparisonStore, sit: Sit, clock_of: ClockOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease runs out, and it is asked again."""
    ann = sit(3)
    clock = clock_of(ann)
    assert ann.shown().key == 1

    def fails(*_: Any) -> None:
        raise MachineError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ann.store, "release", fails)
        ann.press(Action.SKIP)
    assert ann.told == ["the disk is full"]
    clock.passes(1.1 * LEASE_SECONDS)
    assert sorted(everything(ann)) == [1, 2, 3]


# ---- whole sittings

EVENTS = ["answered elsewhere", "corrected elsewhere", "disk full", "away", "back late"]
STEPS = st.one_of(
    st.tuples(st.sampled_from([*Action, *ANSWERS, Action.UNDO]), st.sampled_from([0.0, 0.3, 2.0])),
    st.tuples(st.sampled_from(EVENTS), st.just(0.0)),
)
N = 24


class Elsewhere:
    """Somebody else, who answers and corrects; what should stand about each query in the end."""

    def __init__(self, store: ComparisonStore, ann: Sitting) -> None:
        self.store, self.ann = store, ann
        self.standing: dict[Any, tuple[str, Any]] = {}

    def does(self, what: str, pair: Pair | None) -> None:
        key = None if pair is None or pair.key in self.standing else pair.key
        if what == "answered elsewhere" and isinstance(key, int):
            self.store.answer(key, Preference.TIE, "bob")
            self.standing[key] = "bob", Preference.TIE
        last = self.ann.state.answered[-1:]
        if what == "corrected elsewhere" and last and isinstance(last[0], int):
            self.store.revise(last[0], Preference.INCOMPARABLE, "bob")
            self.standing[last[0]] = "bob", Preference.INCOMPARABLE

    def hears(self, done: Sequence[Done]) -> None:
        for one in done:
            if one.meant is None:
                assert self.standing.pop(one.key)[0] == "ann"
            else:
                assert one.key not in self.standing, "it is answered already"
                self.standing[one.key] = "ann", one.meant


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=60), st.integers(0, 2**16))
def test_whatever_is_pressed_is_what_the_store_holds(steps: list[Any], seed: int) -> None:
    """Each acknowledged answer once, about the pair and the side that were on the screen."""
    with ExitStack() as stack:
        run = run_at(Path(stack.enter_context(TemporaryDirectory())) / "run")
        store, own = (stack.enter_context(ComparisonStore(run.store_path)) for _ in range(2))
        store.add(questions(N, float))
        ann = stack.enter_context(Sitting(run, own, checks=0.2, seed=seed))
        bob = Elsewhere(store, ann)
        for what, after in steps:
            pair = ann.shown() if not ann.state.away and is_more(ann) else ann.look()
            before = len(ann.done)
            if what == "disk full":
                press_on_a_full_disk(ann, pair, [*ANSWERS, Action.UNDO][seed % 5])
            elif what == "away":
                ann.wait(AWAY + 0.01)  # sums of floats fall short of it
                assert store.counts().leased == 0
            elif what == "back late":
                ann.press(LEFT, after=AWAY + 1)
                assert len(ann.done) == before, "it was not about any pair"
            elif isinstance(what, Action):
                ann.press(what, after)
            else:
                bob.does(what, pair)
            bob.hears(ann.done[before:])
            if ann.state.leaving:
                break
        ann.feeder.close()
        told = ("the disk is full", "answered this pair first", "was answered by bob")
        assert all(any(words in text for words in told) for text in ann.told)
        assert recorded(run.store_path) == [d for d in ann.done if isinstance(d.key, int)]
        assert recorded(run.store_path, "checks") == [d for d in ann.done if isinstance(d.key, str)]
        standing = {key: by for key, (by, _) in bob.standing.items() if isinstance(key, int)}
        assert {row.query_id: row.labeler for row in store.answer_log()} == standing
        assert store.counts() == Counts(N - len(standing), 0, len(standing), 0)


def is_more(ann: Sitting) -> bool:
    """Whether a pair is bound to come."""
    return ann.ahead() > 0 or ann.feeder.drawing or ann.store.counts().open > 0


def press_on_a_full_disk(ann: Sitting, pair: Pair | None, action: Action) -> None:
    """It changes nothing, and the same pair is there after it."""

    def full(*words: Any) -> Any:
        raise MachineError("the disk is full")

    n, away = len(ann.done), ann.state.away
    with pytest.MonkeyPatch.context() as patch:
        for name in ("answer", "record_check", "undo"):
            patch.setattr(ann.store, name, full)
        ann.press(action)
    assert len(ann.done) == n
    if pair is not None and not away:
        assert ann.shown().key == pair.key
