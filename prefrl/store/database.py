"""The database under the comparison store: opening, transactions, errors, forks.

SQLite in a file, or PostgreSQL by URL. All differences between the two are here and in the types
of the migrations.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from prefrl.store.schema import MIGRATIONS, meta
from prefrl.types import MachineError, PrefrlError

BUSY_SECONDS = 30.0
"""How long a transaction waits for another process."""

# SQLite's name of an error: what it means, and what to do.
_REMEDIES = {
    "SQLITE_FULL": "the disk is full: free some space and try again",
    "SQLITE_READONLY": "it cannot be written: check the permissions of the file and its folder",
    "SQLITE_CANTOPEN": "it cannot be opened: check the permissions of the file and its folder",
    "SQLITE_BUSY": f"another process kept it locked for {BUSY_SECONDS:.0f} s: end that process",
    "SQLITE_IOERR": "the disk failed to read or write it: check the disk and try again",
    "SQLITE_CORRUPT": "it is damaged: put back a copy of it",
}


def _explained(error: DBAPIError, name: str) -> Exception:
    code = getattr(error.orig, "sqlite_errorname", "")
    if code == "SQLITE_NOTADB":
        return PrefrlError(f"{name} is not a database: name another file, or move this one away")
    for prefix, remedy in _REMEDIES.items():
        if code.startswith(prefix):
            return MachineError(f"{name}: {remedy} (nothing was changed; {error.orig})")
    if isinstance(error, OperationalError | InterfaceError):
        return MachineError(
            f"{name}: the database failed (nothing was changed): {str(error.orig).strip()}: "
            "check that it is there and can be reached"
        )
    return error


def _url(where: str | Path) -> sa.URL:
    """The database's URL, with an absolute path if it is a file."""
    try:
        text = str(where)
        url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
    except ArgumentError:
        raise PrefrlError(
            f"{where!r} is no database URL: write postgresql+psycopg://user@host/name, or a path"
        ) from None
    if url.get_backend_name() != "sqlite":
        return url
    if url.database in (None, "", ":memory:"):
        raise PrefrlError("the comparison store must be a file: name one, run/store.sqlite say")
    path = Path(str(url.database)).absolute()
    if path.is_dir() or not path.parent.is_dir():
        wrong = path if path.is_dir() else path.parent
        remedy = "name a file in it" if path.is_dir() else "make that folder first"
        raise PrefrlError(f"{wrong} {'is a' if path.is_dir() else 'is no'} folder: {remedy}")
    return url.set(database=str(path))


def _engine(url: sa.URL) -> sa.Engine:
    """An engine of one connection, opened when needed; the caller locks it for one thread."""
    one: dict[str, Any] = {"poolclass": sa.QueuePool, "pool_size": 1, "max_overflow": 0}
    if url.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(url, pool_pre_ping=True, **one)
        except ArgumentError as error:
            raise PrefrlError(f"{url.drivername}: {error}: use postgresql+psycopg://") from None
        except ImportError as error:
            raise PrefrlError(
                f"{url.drivername} needs a driver that is not installed ({error}): "
                "pip install 'prefrl[postgres]'"
            ) from None

    # The driver must not begin transactions by itself: `begin` below chooses their kind.
    own = {"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
    engine = sa.create_engine(url, connect_args=own, **one)

    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        for statement in connection.get_execution_options()["sqlite_begin"]:
            connection.exec_driver_sql(statement)

    return engine


class Database:
    """Transactions on a database of the newest schema, from any thread or process."""

    def __init__(self, where: str | Path) -> None:
        """Creates the tables, or migrates those of an earlier version.

        Raises:
          PrefrlError: not a database, not a comparison store, or of a newer schema; it is not
            changed.
          MachineError: it cannot be read or written.
        """
        url = _url(where)
        sqlite = url.get_backend_name() == "sqlite"
        self.name = str(url.database) if sqlite else url.render_as_string(hide_password=True)
        self.engine = _engine(url)
        self.lock = threading.RLock()
        _DATABASES.add(self)
        try:
            with self.transaction() as connection:
                version = self._version(connection)
            if sqlite:
                self._write_ahead()
            if version < len(MIGRATIONS):
                self._migrate()
        except PrefrlError:
            self.close()
            raise

    @contextlib.contextmanager
    def transaction(self, begin: Sequence[str] = ("BEGIN",)) -> Iterator[sa.Connection]:
        """A transaction; errors of the database that have a known cause become a PrefrlError."""
        try:
            with self.lock, self.engine.connect() as connection:
                connection.execution_options(sqlite_begin=begin)
                with connection.begin():
                    yield connection
        except DBAPIError as error:
            explained = _explained(error, self.name)
            if explained is error:
                raise
            raise explained from error

    def writing(self, durable: bool = True) -> contextlib.AbstractContextManager[sa.Connection]:
        """A transaction that writes; on SQLite there is only one such at a time.

        Args:
          durable: it is on the disk when this ends. Otherwise a power failure may undo it, but
            not once a later durable one has ended (in WAL, a sync covers all before it).
        """
        mode = "FULL" if durable else "NORMAL"
        return self.transaction((f"PRAGMA synchronous={mode}", "BEGIN IMMEDIATE"))

    def close(self) -> None:
        """Closes the connection, which the next use opens again."""
        with self.lock:
            self.engine.dispose()

    def _version(self, connection: sa.Connection) -> int:
        tables = sa.inspect(connection)
        names = tables.get_table_names()
        if not names:
            return 0
        known = {c["name"] for c in tables.get_columns("meta")} if "meta" in names else set()
        row = connection.execute(meta.select()).first() if known >= set(meta.c.keys()) else None
        if row is None:
            raise PrefrlError(
                f"{self.name} holds something other than comparisons (tables {', '.join(names)}): "
                "name a database of its own"
            )
        if row.schema_version > len(MIGRATIONS):
            raise PrefrlError(
                f"{self.name} has schema version {row.schema_version}, this prefrl knows versions "
                f"up to {len(MIGRATIONS)}: upgrade prefrl (pip install -U prefrl)"
            )
        return int(row.schema_version)

    def _write_ahead(self) -> None:
        """Switch the file to WAL, in which readers and the writer do not wait for each other."""
        deadline = time.monotonic() + BUSY_SECONDS
        with self.transaction(begin=()) as connection:
            while True:  # SQLite does not wait by itself where two processes set it
                try:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    return
                except OperationalError as error:
                    busy = getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_BUSY")
                    if not busy or time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    def _migrate(self) -> None:
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # two processes take turns
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1886545266)")
            for migrate in MIGRATIONS[self._version(connection) :]:
                migrate(connection)
            connection.execute(meta.update().values(schema_version=len(MIGRATIONS)))


# A connection must not be open across a fork: the child would believe that it holds SQLite's
# file locks, which a fork does not inherit (sqlite.org/howtocorrupt.html, 2.6).
_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()
_held: list[Database] = []


def _before_fork() -> None:
    for database in list(_DATABASES):
        database.lock.acquire()
        database.engine.dispose()
        _held.append(database)


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()


if sys.platform != "win32":
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
