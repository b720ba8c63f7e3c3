"""The comparison store answers, leases, revisions, expiry, several workers.

Runs on PostgreSQL too where PREFRL_TEST_POSTGRES holds a URL (it makes and drops schemas there).
"""

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

from prefrl.store import AlreadyAnswered, ComparisonStore, Counts
from prefrl.types import MachineError, Preference, PrefrlError, Query, Segment

ROOT = Path(__file__).resolve().parent.parent
LEFT, RIGHT, TIE, INCOMPARABLE = Preference

# Opens the store (all of them at once), claims all it can get, prints the ids.
CLAIM_ALL = """
import sys
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
    store.answer(2, TIE, "ann", seconds=3.5, now=100.0)
    store.answer(1, INCOMPARABLE, "bob", now=101.0)
    with ComparisonStore(where) as again:
        first, second = again.comparisons()
    assert (first.id, first.preference, first.labeler) == (1, TIE, "ann")
    assert (first.answered_at, first.seconds) == (100.0, 3.5)
    assert (first.query.id, first.query.disagreement, first.query.step) == (2, 0.25, 8)
    assert math.isnan(second.query.disagreement)
    assert second.preference is INCOMPARABLE
    right = first.query.right
    assert right.obs.dtype == ">f4"
    assert right.step == 2**40
    assert right.render_states is not None
    assert right is second.query.left  # stored once, loaded once


def test_numpy_scalars_are_numbers(store: ComparisonStore) -> None:
    real: Any = np.float32
    whole: Any = np.int64
    store.add([Query(segment(), segment(), real(0.25), whole(5))])
    store.answer(whole(1), LEFT, "ann", seconds=real(2), now=real(9))
    assert store.revise(whole(1), RIGHT, "ann", seconds=real(1), now=real(9)) == 2
    only = store.comparisons(after=whole(0))[0]
    assert (only.query.disagreement, only.query.step) == (0.25, 5)
    assert (only.seconds, only.answered_at) == (2, 9)


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
    assert store.counts() == Counts(0, 0, 0, 0)


def test_incremental_reading_gives_each_row_once(store: ComparisonStore) -> None:
    store.add(questions(6))
    seen: list[int] = []
    for ids in ([3], [1, 2], [], [6, 5]):
        store.answer_all([(i, RIGHT) for i in ids], "oracle")
        seen += [c.id for c in store.comparisons(after=max(seen, default=0))]
    assert seen == [1, 2, 3, 4, 5]


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


def start(where: str | Path, worker: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CLAIM_ALL, str(where), worker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


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
