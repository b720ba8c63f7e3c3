"""Queries, their leases and their answers, in a database that trainer and labelers share.

A query is open, or under a lease, or expired, or answered. Answers are only ever appended: a
revision or a withdrawal is a new row, and the last row about a query is its standing answer.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from prefrl.store.blobs import decode_segment, encode_segment
from prefrl.store.database import Database
from prefrl.store.schema import (
    ANSWERS,
    OPEN,
    QUERIES,
    UNLEASED,
    comparisons,
    meta,
    queries,
    segments,
)
from prefrl.types import Comparison, MachineError, Preference, PrefrlError, Query, Segment


class AlreadyAnswered(PrefrlError):  # noqa: N818 - what happened, not a mistake
    """Somebody else was first: the query has a standing answer."""


@dataclass(frozen=True)
class Counts:
    """How many queries are in which state; every query is in one.

    Attributes:
      open: can be claimed now.
      leased: somebody is looking at them.
      answered: have a standing answer.
      expired: unanswered, and never claimed again.
    """

    open: int
    leased: int
    answered: int
    expired: int


class ComparisonStore:
    """What the trainer asks and the labelers answer; safe from many processes and threads."""

    def __init__(self, where: str | Path) -> None:
        """Opens, creates or migrates the store.

        Args:
          where: path of an SQLite file, or a database URL (postgresql+psycopg://...).
        Raises:
          PrefrlError: not a database, not a comparison store, or of a newer schema.
          MachineError: it cannot be read or written. Any method can raise it; what the
            method was to change is then unchanged.
        """
        self._database = Database(where)

    @property
    def where(self) -> str:
        """Path or URL, without its password."""
        return self._database.name

    def add(self, asked: Sequence[Query]) -> list[Query]:
        """Stores queries, all or none, and returns them with their ids."""
        distinct = {id(s): s for query in asked for s in (query.left, query.right)}
        blobs = [{"step": int(s.step), "arrays": encode_segment(s)} for s in distinct.values()]
        with self._database.writing() as connection:
            number = dict(zip(distinct, _insert(connection, segments, blobs), strict=True))
            rows = [
                {
                    "left_id": number[id(query.left)],
                    "right_id": number[id(query.right)],
                    "disagreement": None
                    if math.isnan(query.disagreement)
                    else float(query.disagreement),
                    "step": int(query.step),
                    "created_at": time.time(),
                    "answered": False,
                    "expired": False,
                }
                for query in asked
            ]
            ids = _insert(connection, queries, rows)
        return [dataclasses.replace(q, id=i) for q, i in zip(asked, ids, strict=True)]

    def claim(
        self, worker: str, lease_seconds: float = 60.0, now: float | None = None
    ) -> Query | None:
        """The oldest open query that nobody holds a lease on, now leased to this worker.

        The lease runs out by itself, so that a query whose worker died comes back. Times are
        Unix seconds; `now` is the clock's by default, here and below.
        """
        now = time.time() if now is None else now
        oldest = (
            QUERIES.where(OPEN, UNLEASED)
            .order_by(queries.c.id)
            .limit(1)
            .with_for_update(of=queries, skip_locked=True)  # PostgreSQL; SQLite has one writer
        )
        with self._database.writing(durable=False) as connection:
            row = connection.execute(oldest, {"now": now}).first()
            if row is None:
                return None
            connection.execute(
                queries.update()
                .where(queries.c.id == row.id)
                .values(leased_by=worker, lease_until=now + lease_seconds)
            )
        return self._query(row, {})  # after the commit: a damaged one does not block the rest

    def release(self, query_id: int, worker: str) -> None:
        """Gives a claimed query back; nothing happens if the worker does not hold it."""
        with self._database.writing(durable=False) as connection:
            connection.execute(
                queries.update()
                .where(queries.c.id == int(query_id), queries.c.leased_by == worker)
                .values(leased_by=None, lease_until=None)
            )

    def answer(
        self,
        query_id: int,
        preference: Preference,
        labeler: str,
        seconds: float = 0.0,
        now: float | None = None,
    ) -> int:
        """Stores an answer; it is on the disk when this returns. The first answer wins.

        Args:
          seconds: time the labeler took.
        Returns:
          The comparison's id.
        Raises:
          AlreadyAnswered: the query has a standing answer.
          PrefrlError: there is no such query.
        """
        return self._answer([(query_id, preference)], labeler, seconds, now)[0]

    def answer_all(
        self, answers: Sequence[tuple[int, Preference]], labeler: str, now: float | None = None
    ) -> list[int]:
        """Like `answer` for many, all or none, in one transaction."""
        return self._answer(answers, labeler, 0.0, now)

    def revise(
        self,
        query_id: int,
        preference: Preference | None,
        labeler: str,
        seconds: float = 0.0,
        now: float | None = None,
    ) -> int:
        """Replaces the standing answer by a new row; None withdraws it and reopens the query.

        Raises:
          PrefrlError: there is no standing answer.
        """
        with self._database.writing() as connection:
            revised = connection.execute(
                queries.update()
                .where(queries.c.id == int(query_id), queries.c.answered)
                .values(answered=preference is not None, leased_by=None, lease_until=None)
            )
            if not revised.rowcount:
                raise PrefrlError(f"query {query_id} has no answer to revise: answer it instead")
            return _append(connection, [(query_id, preference)], labeler, seconds, now)[0]

    def comparisons(self, after: int = 0) -> list[Comparison]:
        """The answers, revisions and withdrawals with id > after, in id order.

        Ids grow in the order of commits: reading on from the last id seen misses nothing.
        """
        rest = ANSWERS.where(comparisons.c.id > int(after)).order_by(comparisons.c.id)
        with self._database.transaction() as connection:
            rows = connection.execute(rest).all()
        loaded: dict[int, Segment] = {}
        return [
            Comparison(
                query=self._query(row, loaded),
                preference=None if row.preference is None else Preference(row.preference),
                labeler=row.labeler,
                answered_at=row.answered_at,
                seconds=row.seconds,
                id=row.comparison_id,
            )
            for row in rows
        ]

    def expire(self, before_step: int, now: float | None = None) -> int:
        """Open queries asked before that step are never claimed again; returns how many.

        Whoever has one of them under a lease keeps it.
        """
        stale = queries.update().where(OPEN, UNLEASED, queries.c.step < int(before_step))
        now = time.time() if now is None else now
        with self._database.writing() as connection:
            return connection.execute(stale.values(expired=True), {"now": now}).rowcount

    def counts(self, now: float | None = None) -> Counts:
        """How many queries are open, leased, answered and expired."""
        kinds = (queries.c.answered, queries.c.expired)
        total = sa.select(*kinds, sa.func.count()).group_by(*kinds)
        held = sa.select(sa.func.count()).where(OPEN, ~UNLEASED)
        with self._database.transaction() as connection:
            size = {(answered, expired): n for answered, expired, n in connection.execute(total)}
            now = time.time() if now is None else now
            leased = connection.execute(held, {"now": now}).scalar_one()
        return Counts(
            open=size.get((False, False), 0) - leased,
            leased=leased,
            answered=size.get((True, False), 0) + size.get((True, True), 0),
            expired=size.get((False, True), 0),
        )

    def close(self) -> None:
        """Closes the connection to the database."""
        self._database.close()

    def __enter__(self) -> ComparisonStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(
        self,
        answers: Sequence[tuple[int, Preference]],
        labeler: str,
        seconds: float,
        now: float | None,
    ) -> list[int]:
        mark = queries.update().values(answered=True, leased_by=None, lease_until=None)
        with self._database.writing() as connection:
            for number in sorted(int(i) for i, _ in answers):  # one order: no deadlocks
                this = queries.c.id == number
                if connection.execute(mark.where(this, ~queries.c.answered)).rowcount:
                    continue
                if connection.execute(sa.select(queries.c.id).where(this)).first() is None:
                    raise PrefrlError(f"there is no query {number} in {self.where}: claim one")
                raise AlreadyAnswered(f"query {number} has an answer: revise it, or claim another")
            return _append(connection, answers, labeler, seconds, now)

    def _query(self, row: sa.Row[*tuple[Any, ...]], loaded: dict[int, Segment]) -> Query:
        return Query(
            left=self._segment(row.left_id, row.left_arrays, row.left_step, loaded),
            right=self._segment(row.right_id, row.right_arrays, row.right_step, loaded),
            disagreement=math.nan if row.disagreement is None else row.disagreement,
            step=row.step,
            id=row.id,
        )

    def _segment(self, number: int, blob: bytes, step: int, loaded: dict[int, Segment]) -> Segment:
        if number not in loaded:
            try:
                loaded[number] = decode_segment(bytes(blob), step)
            except ValueError as error:
                raise MachineError(
                    f"segment {number} in {self.where} is damaged ({error}): "
                    "put back a copy of that file"
                ) from error
        return loaded[number]


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> list[int]:
    """The new rows' ids, in the order of the rows."""
    if not rows:
        return []
    insert = table.insert().returning(table.c.id, sort_by_parameter_order=True)
    return list(connection.execute(insert, rows).scalars())


def _append(
    connection: sa.Connection,
    answers: Sequence[tuple[int, Preference | None]],
    labeler: str,
    seconds: float,
    now: float | None,
) -> list[int]:
    # Writers take turns here, so that ids are committed in order (PostgreSQL; SQLite does so).
    connection.execute(meta.select().with_for_update())
    now = time.time() if now is None else now
    rows = [
        {
            "query_id": int(number),
            "preference": preference.value if preference else None,
            "p_left": preference.p_left if preference else None,
            "labeler": labeler,
            "answered_at": float(now),
            "seconds": float(seconds),
        }
        for number, preference in answers
    ]
    return _insert(connection, comparisons, rows)
