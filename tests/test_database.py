"""What the store does about other people's files, other versions, and failing disks."""

import resource
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from prefrl.store import ComparisonStore, Counts, database, schema
from prefrl.types import MachineError, Preference, PrefrlError, Query, Segment

NEWEST = len(schema.MIGRATIONS)

# What version 1 made, as SQLite writes it down.
FIRST_SCHEMA = """\
CREATE TABLE meta (schema_version INTEGER NOT NULL, created_at DOUBLE PRECISION NOT NULL)
CREATE TABLE segments (id INTEGER PRIMARY KEY, step BIGINT NOT NULL, arrays BLOB NOT NULL)
CREATE TABLE queries (id INTEGER PRIMARY KEY, left_id BIGINT NOT NULL REFERENCES segments(id), \
right_id BIGINT NOT NULL REFERENCES segments(id), disagreement DOUBLE PRECISION, \
step BIGINT NOT NULL, created_at DOUBLE PRECISION NOT NULL, answered BOOLEAN NOT NULL, \
expired BOOLEAN NOT NULL, leased_by TEXT, lease_until DOUBLE PRECISION)
CREATE TABLE comparisons (id INTEGER PRIMARY KEY, query_id BIGINT NOT NULL REFERENCES queries(id), \
preference TEXT, p_left DOUBLE PRECISION, labeler TEXT NOT NULL, \
answered_at DOUBLE PRECISION NOT NULL, seconds DOUBLE PRECISION NOT NULL)
CREATE INDEX open_queries ON queries (answered, expired, id)
"""


def questions(n: int) -> list[Query]:
    noise = np.random.default_rng(0).random((n, 50, 20))  # does not compress
    return [Query(Segment(x, x, x[:, 0]), Segment(x, x, x[:, 0]), step=3) for x in noise]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[ComparisonStore]:
    with ComparisonStore(path) as store:
        yield store


def pragma(store: ComparisonStore, text: str) -> object:
    with store._database.transaction(()) as connection:
        result = connection.exec_driver_sql(f"PRAGMA {text}")
        return result.scalar() if result.returns_rows else None


def test_durable_by_default(store: ComparisonStore) -> None:
    with store._database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    assert pragma(store, "journal_mode") == "wal"
    assert pragma(store, "foreign_keys") == 1
    assert pragma(store, "busy_timeout") == 30_000


def test_opening_waits_for_another_first_opener(path: Path) -> None:
    """Where the journal mode changes SQLite gives up at once instead of waiting."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    later = threading.Timer(0.3, other.rollback)
    later.start()
    with ComparisonStore(path) as store:
        assert store.counts() == Counts(0, 0, 0, 0)
    later.join()
    other.close()


def test_what_people_said_is_synchronised_and_leases_are_not(store: ComparisonStore) -> None:
    store.add(questions(1))

    def leases() -> None:
        store.renew("ann", [1])
        assert pragma(store, "synchronous") == 1

    store.claim("ann")
    assert pragma(store, "synchronous") == 1
    store.answer(1, Preference.LEFT, "ann")
    assert pragma(store, "synchronous") == 2
    leases()
    check = store.check_of(1, "repeat", "a")
    store.record_check(check, Preference.LEFT, "ann")
    assert pragma(store, "synchronous") == 2
    leases()
    store.undo(1, "ann", "ann")
    assert pragma(store, "synchronous") == 2


def test_a_revised_answer_is_synchronised(store: ComparisonStore) -> None:
    store.add(questions(1))
    store.answer(1, Preference.LEFT, "ann")
    store.renew("ann", [1])
    assert pragma(store, "synchronous") == 1
    store.revise(1, Preference.RIGHT, "ann")
    assert pragma(store, "synchronous") == 2


def test_tables_are_what_the_migrations_make(store: ComparisonStore) -> None:
    with store._database.transaction() as connection:
        made = sa.inspect(connection)
        assert set(made.get_table_names()) == schema.meta.metadata.tables.keys()
        for table in schema.meta.metadata.tables.values():
            assert [c["name"] for c in made.get_columns(table.name)] == table.c.keys()


def test_the_first_schema_is_frozen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MIGRATIONS", schema.MIGRATIONS[:1])
    with ComparisonStore(path) as store, store._database.transaction() as connection:
        made = connection.exec_driver_sql("SELECT sql FROM sqlite_master ORDER BY rowid").scalars()
        assert [f"{sql}\n" for sql in made] == FIRST_SCHEMA.splitlines(keepends=True)


def plan_of(store: ComparisonStore, statement: sa.Select[Any]) -> str:
    sql = statement.params(now=0.0).compile(
        store._database.engine, compile_kwargs={"literal_binds": True}
    )
    with store._database.transaction() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}").all()
    return "\n".join(row[-1] for row in plan)


def test_claim_reads_an_index(store: ComparisonStore) -> None:
    oldest = schema.QUERIES.where(schema.OPEN, schema.UNLEASED).order_by(schema.queries.c.id)
    plan = plan_of(store, oldest.limit(1))
    assert "open_queries (answered=? AND expired=?)" in plan
    assert "TEMP B-TREE" not in plan


def test_one_querys_answers_and_the_newest_are_found_by_an_index(store: ComparisonStore) -> None:
    comparisons, queries = schema.comparisons.c, schema.queries.c
    last = schema.ANSWERS.where(queries.id == 5).order_by(comparisons.id.desc()).limit(1)
    new = schema.ANSWERS.where(comparisons.id > 5).order_by(comparisons.id)
    for statement, search in (
        (last, "comparisons USING INDEX answers_of_query (query_id=?)"),
        (new, "comparisons USING INTEGER PRIMARY KEY (rowid>?)"),
    ):
        plan = plan_of(store, statement)
        assert f"SEARCH {search}" in plan
        assert not {"SCAN", "TEMP"} & set(plan.split())


def test_a_claim_does_not_slow_down_with_the_answers(store: ComparisonStore) -> None:
    """Counted in steps of SQLite's virtual machine, as times say little on a busy machine."""

    def steps() -> int:
        counted = 0

        def count() -> None:
            nonlocal counted
            counted += 1

        with store._database.transaction() as connection:
            driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_progress_handler(count, 1)
        assert store.claim("ann")
        driver.set_progress_handler(None, 1)
        return counted

    first, *_ = store.add(questions(2))
    before = steps()
    store.answer_all([(first.id or 0, Preference.LEFT)], "oracle")
    left, right = first.left, first.right
    asked = store.add([Query(left, right) for _ in range(3000)])
    store.answer_all([(q.id or 0, Preference.LEFT) for q in asked], "oracle")
    assert 50 < before < 2000
    assert abs(steps() - before) < 20


@pytest.fixture
def next_version(path: Path) -> Iterator[None]:
    """A store of the newest version with a query in it, then a prefrl that knows the next."""
    with ComparisonStore(path) as store:
        store.add(questions(1))

    def add_note(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE queries ADD COLUMN note TEXT DEFAULT 'x'")

    schema.MIGRATIONS.append(add_note)
    yield
    del schema.MIGRATIONS[NEWEST:]


@pytest.mark.usefixtures("next_version")
def test_an_older_store_is_migrated_once(path: Path) -> None:
    for _ in range(2):
        with ComparisonStore(path) as store, store._database.transaction() as connection:
            assert connection.exec_driver_sql("SELECT note FROM queries").all() == [("x",)]
            version = connection.exec_driver_sql("SELECT schema_version FROM meta").all()
            assert version == [(NEWEST + 1,)]


@pytest.mark.usefixtures("next_version")
def test_a_failed_migration_leaves_the_old_version(path: Path) -> None:
    def fails(connection: sa.Connection) -> None:
        raise PrefrlError("no")

    schema.MIGRATIONS.append(fails)
    with pytest.raises(PrefrlError, match="no"):
        ComparisonStore(path)
    del schema.MIGRATIONS[NEWEST:]
    with ComparisonStore(path) as store:
        assert store.counts() == Counts(1, 0, 0, 0)
        with store._database.transaction() as connection:
            columns = sa.inspect(connection).get_columns("queries")
        assert "note" not in [c["name"] for c in columns]


@pytest.mark.usefixtures("next_version")
def test_a_newer_store_is_left_alone(path: Path) -> None:
    ComparisonStore(path).close()
    del schema.MIGRATIONS[NEWEST:]
    before = path.read_bytes()
    with pytest.raises(PrefrlError, match=rf"version {NEWEST + 1}, .* up to {NEWEST}: upgrade"):
        ComparisonStore(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_not_a_database(path: Path) -> None:
    path.write_text("step,reward\n" * 100)
    with pytest.raises(PrefrlError, match="is not a database: name another file") as error:
        ComparisonStore(path)
    assert not isinstance(error.value, MachineError)
    assert path.read_text() == "step,reward\n" * 100


@pytest.mark.parametrize("table", ["notes (text TEXT)", "meta (text TEXT)"])
def test_another_programs_database(path: Path, table: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {table}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(PrefrlError, match=f"tables {table.split()[0]}"):
        ComparisonStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere/store.sqlite", "nowhere is no folder: make"),
        (".", "is a folder: name a file"),
        (":memory:", "must be a file"),
        ("sqlite://", "must be a file"),
        ("what://x/y", "what.*: use postgresql"),
        ("://", "no database URL"),
    ],
)
def test_a_wrong_place(
    where: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrefrlError, match=message):
        ComparisonStore(where)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PrefrlError, match=r"pip install 'prefrl\[postgres\]'"):
        ComparisonStore("postgresql+psycopg://me@localhost/runs")


def assert_nothing_lost(path: Path, store: ComparisonStore) -> None:
    """Two queries, one answered, before the failure; and it goes on after it."""
    assert store.counts() == Counts(open=1, leased=0, answered=1, expired=0)
    store.add(questions(20))
    store.answer(2, Preference.RIGHT, "ann")
    store.close()
    with ComparisonStore(path) as again:
        assert [c.query.id for c in again.comparisons()] == [1, 2]
        assert again.counts() == Counts(open=20, leased=0, answered=2, expired=0)


@pytest.fixture
def started(store: ComparisonStore) -> ComparisonStore:
    store.add(questions(2))
    store.answer(1, Preference.LEFT, "ann")
    return store


def test_a_full_disk(path: Path, started: ComparisonStore) -> None:
    pragma(started, f"max_page_count={pragma(started, 'page_count')}")
    with pytest.raises(MachineError, match=r"store\.sqlite: the disk is full: free some space"):
        started.add(questions(20))
    pragma(started, f"max_page_count={2**30}")
    assert_nothing_lost(path, started)


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX's")
def test_a_failing_disk(path: Path, started: ComparisonStore) -> None:
    """The operating system refuses to let the files grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = path.with_name("store.sqlite-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(MachineError, match="the disk failed"):
            started.add(questions(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_nothing_lost(path, started)


def test_a_read_only_store(path: Path, started: ComparisonStore) -> None:
    pragma(started, "query_only=ON")
    with pytest.raises(MachineError, match="cannot be written: check the permissions"):
        started.add(questions(1))
    pragma(started, "query_only=OFF")
    assert_nothing_lost(path, started)


def test_a_damaged_file(path: Path, started: ComparisonStore) -> None:
    started.close()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(MachineError, match="it is damaged: put back a copy"):
        ComparisonStore(path).comparisons()


def test_a_locked_store(
    path: Path, started: ComparisonStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with ComparisonStore(path) as other, started._database.writing():
        began = time.monotonic()
        with pytest.raises(MachineError, match="another process kept it locked"):
            other.add(questions(1))
        assert 0.2 <= time.monotonic() - began < 5
        assert other.counts() == Counts(open=1, leased=0, answered=1, expired=0)  # reads go on
    assert_nothing_lost(path, started)


def test_p_left_is_in_the_database(store: ComparisonStore, path: Path) -> None:
    """For whoever reads the file with other means than ours."""
    for query, preference in zip(store.add(questions(4)), Preference, strict=True):
        store.answer(query.id or 0, preference, "ann")
    store.revise(1, None, "ann")
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT preference, p_left FROM comparisons ORDER BY id").fetchall()
    decided = [("left", 1.0), ("right", 0.0), ("tie", 0.5)]
    assert rows == [*decided, ("incomparable", None), (None, None)]
