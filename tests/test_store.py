"""The comparison store: answers, leases, revisions, expiry, checks, version 1, several workers.

Runs on PostgreSQL too where PREFRL_TEST_POSTGRES holds a URL (it makes and drops schemas there).
"""

import dataclasses
import math
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefrl.store import AlreadyAnswered, AnswerRow, Check, CheckRow, ComparisonStore, Counts
from prefrl.store.schema import first_schema
from prefrl.types import MachineError, Preference, PrefrlError, Query, Segment, Viewing

ROOT = Path(__file__).resolve().parent.parent
LEFT, RIGHT, TIE, INCOMPARABLE = Preference

# Opens the store (all of them at once), claims all it can get, prints the ids.
CLAIM_ALL = """
import sys
import time
from prefrl.store import ComparisonStore
from prefrl.types import Preference
sys.stdin.readline()
with ComparisonStore(sys.argv[1]) as store:
    print("open", flush=True)
    sys.stdin.readline()
    while query := store.claim(sys.argv[2]):
        print(query.id)
        if query.id % 3 == 0:
            store.answer(query.id, Preference.LEFT, sys.argv[2])
        time.sleep(0.001)  # the others have their turn, on a busy machine too
"""

# Opens the store, does one thing to the queries 1 to n, and prints those that it got.
RACE = """
import sys
from prefrl.store import ComparisonStore
from prefrl.types import PrefrlError
where, worker, does, n = sys.argv[1:]
sys.stdin.readline()
with ComparisonStore(where) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(1, int(n) + 1):
        if does == "undo":
            try:
                store.undo(number, worker, "ann", lease_seconds=600)
                print(number)
            except PrefrlError as error:
                assert "no answer to undo" in str(error), error
        if does == "renew":
            print(*store.renew(worker, [number], lease_seconds=600))
        if does == "claim" and (query := store.claim(worker, lease_seconds=600)):
            print(query.id)
    while does == "claim while undone" and store.counts().answered:
        if query := store.claim(worker):
            print(query.id)
"""


def segment(value: float = 0.0, step: int = 0) -> Segment:
    return Segment(np.full((3, 2), value), np.zeros((3, 1)), np.full(3, np.nan), None, step)


def questions(n: int, step: int = 0) -> list[Query]:
    return [Query(segment(i), segment(-i), i / (2 * n), step) for i in range(n)]


def claimed(store: ComparisonStore, worker: str = "ann", now: float | None = None) -> int | None:
    query = store.claim(worker, now=now)
    return query.id if query else None


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    if request.param == "sqlite":
        yield tmp_path / "store.sqlite"
        return
    if not (url := os.environ.get("PREFRL_TEST_POSTGRES")):
        pytest.skip("PREFRL_TEST_POSTGRES is not set")
    engine, schema = sa.create_engine(url, isolation_level="AUTOCOMMIT"), f"t{uuid.uuid4().hex}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    own = sa.make_url(url).update_query_dict({"options": f"-csearch_path={schema}"})
    yield own.render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
    engine.dispose()


@pytest.fixture
def store(where: str | Path) -> Iterator[ComparisonStore]:
    with ComparisonStore(where) as store:
        yield store


def test_what_goes_in_comes_out(store: ComparisonStore, where: str | Path) -> None:
    shared = Segment(np.ones((2, 3), ">f4"), np.array([1, 2]), np.zeros(2), np.eye(2), 2**40)
    asked = store.add([Query(shared, segment(1), step=7), Query(segment(2), shared, 0.25, 8)])
    assert asked[0].left is shared
    assert [q.id for q in asked] == [1, 2]
    store.answer(2, TIE, "ann", Viewing(3.5, 0.75, swapped=True), now=100.0)
    store.answer(1, INCOMPARABLE, "bob", now=101.0)
    with ComparisonStore(where) as again:
        first, second = again.comparisons()
    assert (first.id, first.preference, first.labeler) == (1, TIE, "ann")
    assert (first.answered_at, first.seconds) == (100.0, 3.5)
    assert (first.watched, first.swapped) == (0.75, True)
    assert (first.query.id, first.query.disagreement, first.query.step) == (2, 0.25, 8)
    assert math.isnan(second.query.disagreement)
    assert second.preference is INCOMPARABLE
    assert second.seconds == 0
    assert math.isnan(second.watched)
    assert second.swapped is False
    right = first.query.right
    assert right.obs.dtype == ">f4"
    assert right.step == 2**40
    assert right.render_states is not None
    assert right is second.query.left  # stored once, loaded once


def test_numpy_scalars_are_numbers(store: ComparisonStore) -> None:
    real: Any = np.float32
    whole: Any = np.int64
    store.add([Query(segment(), segment(), real(0.25), whole(5))])
    looked: Any = Viewing(real(2), real(0.5), np.bool_(True))
    store.answer(whole(1), LEFT, "ann", looked, now=real(9))
    assert store.revise(whole(1), RIGHT, "ann", looked, now=real(9)) == 2
    only = store.comparisons(after=whole(0))[0]
    assert (only.query.disagreement, only.query.step) == (0.25, 5)
    assert (only.seconds, only.watched, only.swapped, only.answered_at) == (2, 0.5, True, 9)
    check = store.check_of(whole(1), "repeat", "a")  # type: ignore[arg-type]
    of_numpy = dataclasses.replace(check, left_id=whole(1), query_id=whole(1))
    assert store.record_check(of_numpy, TIE, "ann", looked, now=real(9)) == 1
    assert store.checks()[0].query_id == 1
    assert store.undo(whole(1), "ann", "ann", lease_seconds=whole(60), now=real(9)) == 3
    assert store.renew("ann", np.array([1]), lease_seconds=whole(60), now=real(10)) == {1}
    assert store.query(whole(1)).id == 1


def test_many_ids_keep_their_order(store: ComparisonStore) -> None:
    asked = store.add([Query(segment(i), segment()) for i in range(2500)])
    assert [q.id for q in asked] == list(range(1, 2501))
    backwards = list(range(2500, 0, -1))
    assert store.answer_all([(i, LEFT) for i in backwards], "oracle") == list(range(1, 2501))
    back = store.comparisons()
    assert [c.query.id for c in back] == backwards
    assert [c.query.left.obs[0, 0] + 1 for c in back] == backwards


def test_nothing_is_nothing(store: ComparisonStore) -> None:
    assert store.add([]) == []
    assert store.answer_all([], "oracle") == []
    assert store.claim("ann") is None
    assert store.comparisons() == []
    assert store.renew("ann", []) == set()
    assert store.answer_log() == []
    assert store.checks() == []
    assert store.sample_segments(3, np.random.default_rng(0)) == []
    assert store.counts() == Counts(0, 0, 0, 0)


def test_incremental_reading_gives_each_row_once(store: ComparisonStore) -> None:
    store.add(questions(6))
    seen: list[int] = []
    for ids in ([3], [1, 2], [], [6, 5]):
        store.answer_all([(i, RIGHT) for i in ids], "oracle")
        seen += [c.id for c in store.comparisons(after=max(seen, default=0))]
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("n", [64, 150])
def test_answers_are_read_a_few_at_a_time(store: ComparisonStore, n: int) -> None:
    added = store.add(questions(n))
    store.answer_all([(i + 1, LEFT) for i in range(n)], "ann")
    assert [c.query.id for c in store.each_comparison(after=3)] == [q.id for q in added][3:]
    reading = store.each_comparison()
    assert next(reading).id == 1
    store.revise(1, TIE, "ann")
    assert [c.id for c in reading] == list(range(2, n + 2))


def test_claims_what_comes_last_when_nothing_else_is_open(store: ComparisonStore) -> None:
    store.add(questions(3))
    got = [store.claim("ann", last=[1, 3]) for _ in range(4)]
    assert [query and query.id for query in got] == [2, 1, 3, None]


def test_the_oldest_open_query_is_claimed_first(store: ComparisonStore) -> None:
    store.add(questions(3))
    store.answer(2, LEFT, "oracle")
    assert [claimed(store, w) for w in ("ann", "bob", "cas")] == [1, 3, None]
    assert store.counts() == Counts(open=0, leased=2, answered=1, expired=0)


def test_a_lease_runs_out_by_itself(store: ComparisonStore) -> None:
    store.add(questions(1))
    query = store.claim("ann", lease_seconds=60, now=1000.0)
    assert query is not None
    assert query.left.obs.shape == (3, 2)
    assert claimed(store, "bob", now=1059.9) is None
    assert store.counts(now=1059.9) == Counts(0, 1, 0, 0)
    assert store.counts(now=1060.0) == Counts(1, 0, 0, 0)
    assert claimed(store, "bob", now=1060.0) == 1


def test_only_the_holder_releases(store: ComparisonStore) -> None:
    store.add(questions(1))
    store.claim("ann", now=0.0)
    store.release(1, "bob")
    store.release(99, "bob")
    assert claimed(store, "bob", now=1.0) is None
    store.release(1, "ann")
    assert claimed(store, "bob", now=1.0) == 1


def test_the_first_answer_wins(store: ComparisonStore) -> None:
    store.add(questions(1))
    store.claim("ann", lease_seconds=1, now=0.0)
    store.claim("bob", now=2.0)
    assert store.answer(1, LEFT, "ann") == 1  # late, bob holds the lease: still the first
    with pytest.raises(AlreadyAnswered, match="query 1"):
        store.answer(1, RIGHT, "bob")
    assert [c.preference for c in store.comparisons()] == [LEFT]
    assert claimed(store) is None
    assert store.counts() == Counts(0, 0, 1, 0)


def test_answer_all_is_all_or_nothing(store: ComparisonStore) -> None:
    store.add(questions(3))
    store.answer(2, LEFT, "ann")
    for bad, error in ((2, AlreadyAnswered), (1, AlreadyAnswered), (99, PrefrlError)):
        with pytest.raises(error):
            store.answer_all([(1, LEFT), (3, LEFT), (bad, LEFT)], "oracle")
    assert [c.query.id for c in store.comparisons()] == [2]
    assert store.counts() == Counts(open=2, leased=0, answered=1, expired=0)


def test_an_unknown_query_is_named(store: ComparisonStore) -> None:
    with pytest.raises(PrefrlError, match="no query 7"):
        store.answer(7, LEFT, "ann")


def test_revise_appends_and_withdraw_reopens(store: ComparisonStore) -> None:
    store.add(questions(1))
    with pytest.raises(PrefrlError, match="query 1 has no answer"):
        store.revise(1, LEFT, "ann")
    store.answer(1, LEFT, "ann")
    assert store.revise(1, RIGHT, "ann") == 2
    assert claimed(store) is None
    assert store.revise(1, None, "ann") == 3
    assert store.counts() == Counts(open=1, leased=0, answered=0, expired=0)
    with pytest.raises(PrefrlError, match="answer it instead"):
        store.revise(1, LEFT, "ann")
    assert claimed(store, "bob") == 1
    assert store.answer(1, TIE, "bob") == 4
    assert [c.preference for c in store.comparisons()] == [LEFT, RIGHT, None, TIE]
    assert [c.labeler for c in store.comparisons(after=3)] == ["bob"]


def test_expired_queries_are_never_claimed(store: ComparisonStore) -> None:
    store.add(questions(3, step=10) + questions(1, step=20))
    store.claim("ann", now=0.0)  # query 1: leased, so kept
    store.answer(2, LEFT, "oracle")
    assert store.expire(before_step=20, now=1.0) == 1
    assert store.counts(now=1.0) == Counts(open=1, leased=1, answered=1, expired=1)
    assert [claimed(store, now=100.0) for _ in range(3)] == [1, 4, None]
    store.answer(3, LEFT, "late")  # whoever was still looking at it is not turned away
    assert store.counts(now=1000.0) == Counts(open=2, leased=0, answered=2, expired=0)


# ---- undo and renew


def test_undo_withdraws_and_leases_at_once(store: ComparisonStore) -> None:
    store.add(questions(2))
    store.answer(1, LEFT, "ann", Viewing(2.0, 1.0, swapped=True))
    assert store.undo(1, "window", "ann", lease_seconds=60, now=1000.0) == 2
    assert store.counts(now=1059.9) == Counts(open=1, leased=1, answered=0, expired=0)
    assert [claimed(store, "bob", now=1001.0) for _ in range(2)] == [2, None]
    undone = store.comparisons(after=1)[0]
    assert (undone.query.id, undone.preference, undone.labeler) == (1, None, "ann")
    assert (undone.answered_at, undone.seconds, undone.swapped) == (1000.0, 0.0, False)
    assert math.isnan(undone.watched)
    assert store.answer(1, RIGHT, "ann") == 3
    assert store.undo(1, "window", "ann", lease_seconds=60, now=2000.0) == 4
    assert claimed(store, "bob", now=2060.0) == 1  # the lease ran out
    assert [c.preference for c in store.comparisons()] == [LEFT, None, RIGHT, None]


def test_only_a_standing_answer_of_ones_own_is_undone(store: ComparisonStore) -> None:
    store.add(questions(1))
    for number in (1, 99):
        with pytest.raises(PrefrlError, match=f"query {number} has no answer to undo: answer it"):
            store.undo(number, "window", "ann")
    store.answer(1, LEFT, "ann")
    store.revise(1, TIE, "bob")
    with pytest.raises(PrefrlError, match="1 was answered by bob, not by ann: revise it"):
        store.undo(1, "window", "ann")
    assert store.counts() == Counts(open=0, leased=0, answered=1, expired=0)  # nothing half done
    assert [c.preference for c in store.comparisons()] == [LEFT, TIE]
    assert store.renew("window", [1]) == set()
    assert store.undo(1, "window", "bob") == 3
    with pytest.raises(PrefrlError, match="no answer to undo"):
        store.undo(1, "window", "bob")


def test_an_expired_query_that_is_undone_is_for_its_worker_alone(store: ComparisonStore) -> None:
    store.add(questions(2, step=5))
    assert store.expire(before_step=6) == 2
    store.answer(1, LEFT, "ann")
    store.undo(1, "window", "ann", lease_seconds=60, now=0.0)
    assert store.counts(now=1.0) == Counts(open=0, leased=0, answered=0, expired=2)
    assert claimed(store, "bob", now=1.0) is None
    assert store.renew("window", [1, 2], now=59.0) == {1}
    assert store.renew("bob", [1, 2], now=60.0) == set()
    assert store.renew("window", [1], now=119.0) == set()  # let go: expired as it was
    assert claimed(store, "bob", now=119.0) is None
    assert store.answer(1, TIE, "ann") == 3  # late, but still the first
    assert store.counts() == Counts(open=0, leased=0, answered=1, expired=1)


def test_renew_holds_on(store: ComparisonStore) -> None:
    store.add(questions(3))
    for _ in range(2):
        store.claim("ann", lease_seconds=60, now=0.0)
    assert store.renew("ann", [1, 2], lease_seconds=60, now=50.0) == {1, 2}
    assert claimed(store, "bob", now=109.9) == 3
    assert claimed(store, "bob", now=109.9) is None
    assert claimed(store, "bob", now=110.0) == 1


def test_renew_takes_back_what_ran_out_and_nobody_took(store: ComparisonStore) -> None:
    store.add(questions(2))
    for _ in range(2):
        store.claim("ann", lease_seconds=60, now=0.0)
    assert claimed(store, "bob", now=60.0) == 1
    assert store.renew("ann", [1, 2], lease_seconds=60, now=61.0) == {2}
    assert claimed(store, "cas", now=62.0) is None
    assert store.renew("bob", [1, 2], lease_seconds=60, now=62.0) == {1}


def test_renew_leaves_out_what_is_settled(store: ComparisonStore) -> None:
    """Answered, expired, another's, unknown; what the worker itself gave back is open."""
    store.add(questions(6))
    for _ in range(5):
        store.claim("ann", lease_seconds=60, now=0.0)
    store.answer(1, LEFT, "bob")
    store.release(3, "ann")
    store.claim("bob", now=1.0)
    store.release(4, "ann")
    assert store.renew("ann", (i for i in [1, 2, 3, 4, 4, 99]), now=2.0) == {2, 4}
    assert store.counts(now=3.0) == Counts(open=1, leased=4, answered=1, expired=0)
    assert store.expire(before_step=1, now=61.5) == 3  # 3, 5 and 6: let go or never claimed
    assert store.renew("ann", range(1, 7), now=61.5) == {2, 4}


# ---- single rows: answers, queries, segments


def test_the_answer_log_has_standing_answers_alone(store: ComparisonStore) -> None:
    store.add(questions(5))
    store.answer_all([(i, LEFT) for i in (4, 1, 2, 3)], "oracle", now=1.0)
    store.revise(4, TIE, "ann", Viewing(2.5, 0.5, swapped=True), now=2.0)
    store.revise(1, None, "ann", now=3.0)
    store.undo(2, "window", "oracle")
    store.answer(2, INCOMPARABLE, "oracle", Viewing(1.0, math.nan), now=5.0)
    three = AnswerRow(4, 3, LEFT, "oracle", 1.0, 0.0, math.nan, False)
    four = AnswerRow(5, 4, TIE, "ann", 2.0, 2.5, 0.5, True)
    two = AnswerRow(8, 2, INCOMPARABLE, "oracle", 5.0, 1.0, math.nan, False)
    assert store.answer_log() == [three, four, two]
    assert store.answer_log("ann") == [four]
    assert store.answer_log("oracle") == [three, two]
    assert store.answer_log("") == []


def test_a_query_is_read_whatever_its_state(store: ComparisonStore) -> None:
    store.add([Query(segment(i, step=i), segment(-i), 0.25, i) for i in range(4)])
    store.claim("ann")
    store.answer(2, LEFT, "ann")
    store.expire(before_step=3)
    for number in (1, 2, 3, 4):
        query = store.query(number)
        assert (query.id, query.step, query.disagreement) == (number, number - 1, 0.25)
        assert (query.left.obs[0, 0], query.right.obs[0, 0]) == (number - 1, 1 - number)
    assert store.counts() == Counts(open=1, leased=1, answered=1, expired=1)
    with pytest.raises(PrefrlError, match=r"there is no query 5 in .*: claim one"):
        store.query(5)


def test_sampled_segments_are_different_and_at_random(store: ComparisonStore) -> None:
    shared = segment(7, step=3)
    store.add([Query(shared, segment(1)), Query(segment(2), shared), Query(shared, shared)])
    store.answer(1, LEFT, "ann")
    for n, expected in ((0, 0), (2, 2), (3, 3), (50, 3)):
        drawn = store.sample_segments(n, np.random.default_rng(n))
        assert len({number for number, _ in drawn}) == len(drawn) == expected
    value = {1: 7, 2: 1, 3: 2}
    assert {i: s.obs[0, 0] for i, s in drawn} == value
    assert {i: s.step for i, s in drawn} == {1: 3, 2: 0, 3: 0}
    again = store.sample_segments(50, np.random.default_rng(n))
    assert [i for i, _ in again] == [i for i, _ in drawn]
    rng = np.random.default_rng(0)
    firsts = [store.sample_segments(1, rng)[0][0] for _ in range(200)]
    assert all(40 < firsts.count(number) < 95 for number in value)  # 67 each on average


def test_segments_are_sampled_from_the_newest_queries(store: ComparisonStore) -> None:
    store.add([Query(segment(i), segment(-i)) for i in range(510)])
    drawn = store.sample_segments(2000, np.random.default_rng(0))
    assert sorted(number for number, _ in drawn) == list(range(21, 1021))


# ---- checks


def test_a_check_of_an_answer(store: ComparisonStore) -> None:
    store.add([*questions(1), Query(segment(1), segment(2))])
    with pytest.raises(PrefrlError, match="query 2 has no answer to check: answer it first"):
        store.check_of(2, "repeat", "a")
    store.answer(2, TIE, "ann")
    store.revise(2, LEFT, "bob")
    same = store.check_of(2, "repeat", "a")
    assert (same.name, same.kind, same.query_id, same.expected) == ("a", "repeat", 2, LEFT)
    assert (same.left.obs[0, 0], same.right.obs[0, 0]) == (1, 2)
    assert (same.left_id, same.right_id) == (3, 4)
    store.revise(2, None, "bob")
    for number in (2, 99):
        with pytest.raises(PrefrlError, match=f"query {number} has no answer to check"):
            store.check_of(number, "repeat", "a")


def test_checks_are_no_labels(store: ComparisonStore) -> None:
    store.add(questions(2))
    store.answer(1, LEFT, "ann")
    before = store.counts(), store.answer_log(), [c.id for c in store.comparisons()]
    check = store.check_of(1, "mirror", "a")
    assert store.record_check(check, RIGHT, "ann", Viewing(1.5, 0.5, True), now=9.0) == 1
    assert (store.counts(), store.answer_log(), [c.id for c in store.comparisons()]) == before
    assert store.checks() == [CheckRow("a", "mirror", 1, LEFT, RIGHT, "ann", 9.0, 1.5, 0.5, True)]
    store.undo(1, "window", "ann")  # what was expected then stays as it was
    assert store.checks()[0].expected is LEFT


def test_the_last_row_of_a_name_is_its_standing_answer(
    store: ComparisonStore, where: str | Path
) -> None:
    store.add(questions(2))
    (left_id, left), (right_id, right) = store.sample_segments(2, np.random.default_rng(0))
    obvious = Check("a", "obvious", left, right, left_id, right_id, TIE)
    other = dataclasses.replace(obvious, name="b", expected=INCOMPARABLE)
    assert store.record_check(obvious, LEFT, "ann", now=1.0) == 1
    assert store.record_check(other, RIGHT, "ann", now=2.0) == 2
    assert store.record_check(obvious, TIE, "bob", now=3.0) == 3
    a = CheckRow("a", "obvious", None, TIE, TIE, "bob", 3.0, 0.0, math.nan, False)
    b = CheckRow("b", "obvious", None, INCOMPARABLE, RIGHT, "ann", 2.0, 0.0, math.nan, False)
    with ComparisonStore(where) as again:
        assert again.checks() == [b, a]
    assert store.checks("ann") == [b]
    assert store.checks("bob") == [a]
    assert store.record_check(obvious, None, "bob") == 4
    assert store.checks() == [b]
    assert store.record_check(obvious, RIGHT, "bob", now=5.0) == 5
    assert store.checks() == [b, dataclasses.replace(a, preference=RIGHT, answered_at=5.0)]


@given(
    seconds=st.floats(0, 1e9),
    watched=st.floats(0, 100) | st.just(math.nan),
    swapped=st.booleans(),
    answer=st.sampled_from(Preference),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_how_a_pair_was_looked_at_comes_out_as_it_went_in(
    store: ComparisonStore, seconds: float, watched: float, swapped: bool, answer: Preference
) -> None:
    number = store.add([Query(segment(), segment())])[0].id or 0
    viewing = Viewing(seconds, watched, swapped)
    store.answer(number, answer, "ann", viewing)
    store.record_check(store.check_of(number, "repeat", "a"), answer, "ann", viewing)
    rows = [store.comparisons()[-1], store.answer_log()[-1], store.checks()[-1]]
    for row in rows:
        assert row.preference is answer
        out = Viewing(row.seconds, row.watched, row.swapped)
        np.testing.assert_equal(dataclasses.astuple(out), dataclasses.astuple(viewing))


# ---- version 1

# The rows of a store that version 1 made: a tie after a left, a withdrawn one that is leased
# until 1060, an open one, and an expired one.
BLOB = (
    "505347317801F3676060888E56CA4F2A56D25150B249330152D1463A0A46B1B1408652627249667E1E442ED3082C07"
    "9128292A4D8D2F4A2D4F2C4A81CA5A40656"
)
FIRST_ROWS = {
    "segments (step, arrays)": [
        (4, bytes.fromhex(f"{BLOB}319181AEC91312303130323D01A1080D100E139193B")),
        (6, bytes.fromhex(f"{BLOB}381263A2063460626208400180D00A9BD1741")),
        (9, bytes.fromhex(f"{BLOB}319181C1C90312303130333D01A1080D100C5D51843")),
    ],
    "queries (left_id, right_id, disagreement, step, created_at, answered, expired,"
    " leased_by, lease_until)": [
        (1, 2, None, 6, 99.0, True, False, None, None),
        (2, 3, 0.25, 9, 99.0, False, False, "cas", 1060.0),
        (3, 1, 0.125, 9, 99.0, False, False, None, None),
        (1, 3, 0.5, 4, 99.0, False, True, None, None),
    ],
    "comparisons (query_id, preference, p_left, labeler, answered_at, seconds)": [
        (1, "left", 1.0, "ann", 100.0, 2.5),
        (2, "incomparable", None, "bob", 101.0, 1.5),
        (1, "tie", 0.5, "bob", 102.0, 3.0),
        (2, None, None, "bob", 103.0, 0.0),
    ],
}


def first_version(connection: sa.Connection, table: str) -> None:
    """What version 1 inserts into a table."""
    names = [f"v{i}" for i in range(len(FIRST_ROWS[table][0]))]
    insert = sa.text(f"INSERT INTO {table} VALUES ({', '.join(f':{name}' for name in names)})")
    connection.execute(insert, [dict(zip(names, row, strict=True)) for row in FIRST_ROWS[table]])


@pytest.fixture
def engine(where: str | Path) -> Iterator[sa.Engine]:
    """The database of a store of version 1."""
    engine = sa.create_engine(where if isinstance(where, str) else f"sqlite:///{where}")
    with engine.begin() as connection:
        first_schema(connection)
        connection.exec_driver_sql("UPDATE meta SET schema_version = 1")
        for table in FIRST_ROWS:
            first_version(connection, table)
    yield engine
    engine.dispose()


def test_a_store_of_version_1_is_migrated_in_place(engine: sa.Engine, where: str | Path) -> None:
    for _ in range(2):  # once, and found migrated
        with ComparisonStore(where) as store:
            kept = store.comparisons()
            assert [c.preference for c in kept] == [LEFT, INCOMPARABLE, TIE, None]
            assert [c.query.id for c in kept] == [1, 2, 1, 2]
            assert [c.query.right.step for c in kept] == [6, 9, 6, 9]
            assert [c.query.right.obs[1, 1] for c in kept] == [2, 3, 2, 3]
            assert [c.seconds for c in kept] == [2.5, 1.5, 3.0, 0.0]
            assert all(math.isnan(c.watched) and c.swapped is False for c in kept)
            assert math.isnan(kept[0].query.disagreement)
            assert store.counts(now=1000.0) == Counts(open=1, leased=1, answered=1, expired=1)
            standing = AnswerRow(3, 1, TIE, "bob", 102.0, 3.0, math.nan, False)
            assert store.answer_log() == [standing]
            assert store.checks() == []
    with ComparisonStore(where) as store:
        assert store.renew("cas", [1, 2, 3, 4], now=1000.0) == {2, 3}
        assert store.answer(2, LEFT, "cas", Viewing(1.0, 0.5, swapped=True)) == 5
        assert store.record_check(store.check_of(1, "mirror", "a"), TIE, "bob") == 1
        assert store.undo(1, "window", "bob") == 6
        assert [(r.query_id, r.watched, r.swapped) for r in store.answer_log()] == [(2, 0.5, True)]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT schema_version FROM meta").scalar() == 2


def test_a_process_of_version_1_goes_on_answering(engine: sa.Engine, where: str | Path) -> None:
    """It had the store open when another process migrated it."""
    with ComparisonStore(where) as store:
        with engine.begin() as connection:
            first_version(connection, list(FIRST_ROWS)[-1])
        late = store.comparisons(after=4)
        assert [c.preference for c in late] == [LEFT, INCOMPARABLE, TIE, None]
        assert all(math.isnan(c.watched) and c.swapped is False for c in late)


@pytest.mark.usefixtures("engine")
def test_several_processes_migrate_once(where: str | Path) -> None:
    raced(where, [(f"worker-{i}", "nothing") for i in range(4)], 0)
    with ComparisonStore(where) as store:
        assert store.counts(now=1000.0) == Counts(open=1, leased=1, answered=1, expired=1)


# ---- several processes


def start(where: str | Path, *arguments: str, script: str = CLAIM_ALL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, str(where), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def raced(where: str | Path, workers: list[tuple[str, str]], n: int) -> list[list[int]]:
    """What workers got that did their things to the queries 1 to n at the same moment."""
    started = [start(where, name, does, str(n), script=RACE) for name, does in workers]
    for process in started:
        tell(process)
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
    for process in started:
        tell(process)
    got = [list(map(int, process.communicate()[0].split())) for process in started]
    assert [process.returncode for process in started] == [0] * len(workers)
    return got


def test_one_of_two_undoes_an_answer(store: ComparisonStore, where: str | Path) -> None:
    asked = store.add(questions(100))
    store.answer_all([(q.id or 0, LEFT) for q in asked], "ann")
    one, two = raced(where, [("one", "undo"), ("two", "undo")], 100)
    assert sorted(one + two) == list(range(1, 101))
    undone = [c.query.id for c in store.comparisons(after=100)]
    assert sorted(filter(None, undone)) == list(range(1, 101))
    assert store.counts() == Counts(open=0, leased=100, answered=0, expired=0)
    assert store.renew("one", range(1, 101)) == set(one)
    assert store.renew("two", range(1, 101)) == set(two)


def test_nobody_claims_what_is_being_undone(store: ComparisonStore, where: str | Path) -> None:
    asked = store.add(questions(100))
    store.answer_all([(q.id or 0, LEFT) for q in asked], "ann")
    claiming = [(name, "claim while undone") for name in ("bob", "cas")]
    undone, *claims = raced(where, [("window", "undo"), *claiming], 100)
    assert undone == list(range(1, 101))
    assert claims == [[], []]
    assert store.renew("window", undone) == set(undone)


def test_a_lease_that_ran_out_is_renewed_or_claimed(
    store: ComparisonStore, where: str | Path
) -> None:
    store.add(questions(100))
    for _ in range(100):
        store.claim("ann", now=0.0)
    ann, bob = raced(where, [("ann", "renew"), ("bob", "claim")], 100)
    assert not set(ann) & set(bob)
    assert sorted(ann + bob) == list(range(1, 101))
    assert store.renew("ann", range(1, 101)) == set(ann)
    assert store.renew("bob", range(1, 101)) == set(bob)


def test_several_processes_claim_each_query_once(where: str | Path) -> None:
    """They also create the store at the same moment, and one reads while they answer."""
    workers = [start(where, f"worker-{i}") for i in range(4)]
    for worker in workers:
        tell(worker)
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "open\n"
    seen: list[int] = []
    with ComparisonStore(where) as store:
        store.add(questions(300))
        for worker in workers:
            tell(worker)
        while any(worker.poll() is None for worker in workers):
            seen += [c.id for c in store.comparisons(after=max(seen, default=0))]
        seen += [c.id for c in store.comparisons(after=max(seen, default=0))]
        claims = [list(map(int, worker.communicate()[0].split())) for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * 4
        assert sorted(i for claim in claims for i in claim) == list(range(1, 301))
        assert sum(1 for claim in claims if claim) > 1, "one worker got all: nothing was shown"
        assert seen == [c.id for c in store.comparisons()]
        assert len(seen) == 100
        assert store.counts() == Counts(open=0, leased=200, answered=100, expired=0)


def test_a_damaged_segment_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with ComparisonStore(path) as store:
        store.add(questions(2))
        store.answer(1, LEFT, "ann")
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE segments SET arrays = substr(arrays, 1, 30)")
        engine.dispose()
        for reading in (store.comparisons, lambda: store.claim("ann")):
            with pytest.raises(MachineError, match=r"segment \d in .*store\.sqlite is damaged"):
                reading()
        assert store.claim("bob") is None  # the damaged one is leased: it blocks nobody else


def test_a_password_is_not_shown() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(MachineError) as error:
        ComparisonStore("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value)
