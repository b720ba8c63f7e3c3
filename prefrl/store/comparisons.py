"""Queries, their leases and their answers, in a database that trainer and labelers share.

A query is open, leased, expired or answered. Answers are only appended: a revision or a withdrawal
is a new row, and the last row about a query is its standing answer. Checks, which are asked only to
judge the labeler, are stored separately.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from prefrl.store.blobs import encode_segment
from prefrl.store.checks import Check, append_check
from prefrl.store.reading import StoreReader
from prefrl.store.rows import Loader, append_answers, insert, null_for_nan
from prefrl.store.schema import (
    OPEN,
    QUERIES,
    UNLEASED,
    comparisons,
    queries,
    segments,
)
from prefrl.types import Preference, PrefrlError, Query, Viewing

UNSEEN = Viewing()
"""Viewing of an answer where nobody looked, or where nothing is known about it."""


class AlreadyAnswered(PrefrlError):  # noqa: N818 - what happened, not a mistake
    """The query has a standing answer: somebody else was first."""


class ComparisonStore(StoreReader):
    """Queries of the trainer and answers of the labelers; safe from many processes and threads."""

    def add(self, asked: Sequence[Query]) -> list[Query]:
        """Stores queries, all or none, and returns them with their ids."""
        distinct = {id(s): s for query in asked for s in (query.left, query.right)}
        blobs = [{"step": int(s.step), "arrays": encode_segment(s)} for s in distinct.values()]
        with self._database.writing() as connection:
            number = dict(zip(distinct, insert(connection, segments, blobs), strict=True))
            rows = [
                {
                    "left_id": number[id(query.left)],
                    "right_id": number[id(query.right)],
                    "disagreement": null_for_nan(query.disagreement),
                    "step": int(query.step),
                    "created_at": time.time(),
                    "answered": False,
                    "expired": False,
                }
                for query in asked
            ]
            ids = insert(connection, queries, rows)
        return [dataclasses.replace(q, id=i) for q, i in zip(asked, ids, strict=True)]

    def claim(
        self,
        worker: str,
        lease_seconds: float = 60.0,
        last: Iterable[int] = (),
        now: float | None = None,
    ) -> Query | None:
        """The oldest open query that nobody holds a lease on, now leased to this worker.

        The lease expires, so a query whose worker died is open again. Times are in Unix seconds;
        `now` is the current time by default, here and below.

        Args:
          last: ids of queries that come after all others.
        """
        now = time.time() if now is None else now
        oldest = (
            QUERIES.where(OPEN, UNLEASED)
            .order_by(queries.c.id)
            .limit(1)
            .with_for_update(of=queries, skip_locked=True)  # PostgreSQL; SQLite has one writer
        )
        put_off = {int(i) for i in last}
        first = oldest.where(~queries.c.id.in_(put_off)) if put_off else oldest
        with self._database.writing(durable=False) as connection:
            row = connection.execute(first, {"now": now}).first()
            if row is None and put_off:
                row = connection.execute(oldest, {"now": now}).first()
            if row is None:
                return None
            connection.execute(
                queries.update()
                .where(queries.c.id == row.id)
                .values(leased_by=worker, lease_until=now + lease_seconds)
            )
        # After the commit, so that a damaged one does not block the rest.
        return Loader(self.where).query(row)

    def renew(
        self,
        worker: str,
        query_ids: Iterable[int],
        lease_seconds: float = 60.0,
        now: float | None = None,
    ) -> set[int]:
        """Extends the worker's leases to `lease_seconds` from now.

        Returns:
          The queries that it holds now. The others have been answered, have expired or are leased
          by another worker; one whose lease ran out and that nobody took is leased again.
        """
        now = time.time() if now is None else now
        # Expired or not: an undone query is held even if it had expired.
        own = sa.and_(~queries.c.answered, ~UNLEASED, queries.c.leased_by == worker)
        mine = (
            sa.select(queries.c.id)
            .where(queries.c.id.in_({int(i) for i in query_ids}))
            .where(sa.or_(own, sa.and_(OPEN, UNLEASED)))
            .with_for_update(skip_locked=True)  # somebody is answering or claiming it
        )
        with self._database.writing(durable=False) as connection:
            held = set(connection.execute(mine, {"now": now}).scalars())
            connection.execute(
                queries.update()
                .where(queries.c.id.in_(held))
                .values(leased_by=worker, lease_until=now + lease_seconds)
            )
        return held

    def release(self, query_id: int, worker: str) -> None:
        """Gives a claimed query back; does nothing if the worker does not hold it."""
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
        viewing: Viewing = UNSEEN,
        now: float | None = None,
    ) -> int:
        """Stores an answer durably. The first answer to a query wins.

        Returns:
          The comparison's id.
        Raises:
          AlreadyAnswered: the query has a standing answer.
          PrefrlError: there is no such query.
        """
        return self._answer([(query_id, preference)], labeler, viewing, now)[0]

    def answer_all(
        self, answers: Sequence[tuple[int, Preference]], labeler: str, now: float | None = None
    ) -> list[int]:
        """Stores many answers, all or none, in one transaction; see `answer`."""
        return self._answer(answers, labeler, UNSEEN, now)

    def revise(
        self,
        query_id: int,
        preference: Preference | None,
        labeler: str,
        viewing: Viewing = UNSEEN,
        now: float | None = None,
    ) -> int:
        """Replaces the standing answer by a new row; None withdraws it and reopens the query.

        A query that had expired stays expired, and nobody can claim it.

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
            return append_answers(connection, [(query_id, preference)], labeler, viewing, now)[0]

    def undo(
        self,
        query_id: int,
        worker: str,
        labeler: str,
        lease_seconds: float = 60.0,
        now: float | None = None,
    ) -> int:
        """Withdraws the labeler's own standing answer and leases the query to the worker.

        Both happen in one transaction, so nobody else gets it before it is answered again. A query
        that had expired stays expired: the worker can answer it, and nobody else can claim it.

        Returns:
          The withdrawal's comparison id.
        Raises:
          PrefrlError: there is no standing answer, or it is another labeler's.
        """
        now = time.time() if now is None else now
        this = int(query_id)
        answers = sa.select(comparisons.c.labeler).where(comparisons.c.query_id == this)
        standing = answers.order_by(comparisons.c.id.desc()).limit(1)
        with self._database.writing() as connection:
            reopened = connection.execute(
                queries.update()
                .where(queries.c.id == this, queries.c.answered)
                .values(answered=False, leased_by=worker, lease_until=now + lease_seconds)
            )
            if not reopened.rowcount:
                raise PrefrlError(f"query {query_id} has no answer to undo: answer it instead")
            if (other := connection.execute(standing).scalar_one()) != labeler:
                raise PrefrlError(
                    f"query {query_id} was answered by {other}, not by {labeler}: revise it instead"
                )
            return append_answers(connection, [(this, None)], labeler, UNSEEN, now)[0]

    def record_check(
        self,
        check: Check,
        preference: Preference | None,
        labeler: str,
        viewing: Viewing = UNSEEN,
        now: float | None = None,
    ) -> int:
        """Stores a check's answer durably; None withdraws it.

        Returns:
          The row's id among checks.
        """
        with self._database.writing() as connection:
            return append_check(connection, check, preference, labeler, viewing, now)

    def expire(self, before_step: int, now: float | None = None) -> int:
        """Expires open queries asked before a step, so nobody can claim them; returns how many.

        Leased queries stay leased.
        """
        stale = queries.update().where(OPEN, UNLEASED, queries.c.step < int(before_step))
        now = time.time() if now is None else now
        with self._database.writing() as connection:
            return connection.execute(stale.values(expired=True), {"now": now}).rowcount

    def _answer(
        self,
        answers: Sequence[tuple[int, Preference]],
        labeler: str,
        viewing: Viewing,
        now: float | None,
    ) -> list[int]:
        mark = queries.update().values(answered=True, leased_by=None, lease_until=None)
        with self._database.writing() as connection:
            for number in sorted(int(i) for i, _ in answers):  # one order: no deadlocks
                this = queries.c.id == number
                if connection.execute(mark.where(this, ~queries.c.answered)).rowcount:
                    continue
                if connection.execute(sa.select(queries.c.id).where(this)).first() is None:
                    raise self._no_query(number)
                raise AlreadyAnswered(f"query {number} has an answer: revise it, or claim another")
            return append_answers(connection, answers, labeler, viewing, now)
