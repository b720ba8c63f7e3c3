"""Reading of a comparison store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from numpy.random import Generator

from prefrl.store.checks import Check, CheckRow, check_of_answer, standing_checks
from prefrl.store.database import Database
from prefrl.store.rows import AnswerRow, Loader, answer_values
from prefrl.store.schema import (
    ANSWERS,
    OPEN,
    QUERIES,
    STANDING_ANSWERS,
    UNLEASED,
    comparisons,
    queries,
    segments,
)
from prefrl.types import Comparison, Preference, PrefrlError, Query, Segment

_NEWEST = 500  # queries whose segments are sampled
_AT_ONCE = 64  # answers that are decoded at once


@dataclass(frozen=True)
class Counts:
    """Number of queries in each state; every query is in exactly one.

    Attributes:
      open: can be claimed now.
      leased: a worker holds them.
      answered: have a standing answer.
      expired: unanswered, and never claimed again.
    """

    open: int
    leased: int
    answered: int
    expired: int


class StoreReader:
    """The methods of `ComparisonStore` that read."""

    def __init__(self, where: str | Path) -> None:
        """Opens, creates or migrates the store.

        Args:
          where: path of an SQLite file, or a database URL (postgresql+psycopg://...).
        Raises:
          PrefrlError: not a database, not a comparison store, or of a newer schema.
          MachineError: it cannot be read or written. Any method can raise it, and changes
            nothing then.
        """
        self._database = Database(where)

    @property
    def where(self) -> str:
        """Path or URL, without its password."""
        return self._database.name

    def comparisons(self, after: int = 0) -> list[Comparison]:
        """The answers, revisions and withdrawals with id > after, in id order.

        Ids grow in the order of commits, so reading on from the last id seen misses nothing.
        """
        return list(self.each_comparison(after))

    def each_comparison(self, after: int = 0) -> Iterator[Comparison]:
        """The same, loaded a few at a time: a thousand clips of images are gigabytes.

        Answers that are given meanwhile may be included.
        """
        while True:
            rest = ANSWERS.where(comparisons.c.id > int(after)).order_by(comparisons.c.id)
            with self._database.transaction() as connection:
                rows = connection.execute(rest.limit(_AT_ONCE)).all()
            loader = Loader(self.where)
            yield from map(loader.comparison, rows)
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1].comparison_id

    def answer_log(self, labeler: str | None = None) -> list[AnswerRow]:
        """The standing answers in id order, without segments; of one labeler, or of all."""
        standing = STANDING_ANSWERS.order_by(comparisons.c.id)
        if labeler is not None:
            standing = standing.where(comparisons.c.labeler == labeler)
        with self._database.transaction() as connection:
            rows = connection.execute(standing).all()
        return [
            AnswerRow(
                id=row.id,
                query_id=row.query_id,
                preference=Preference(row.preference),
                **answer_values(row),
            )
            for row in rows
        ]

    def query(self, query_id: int) -> Query:
        """A query, whatever its state.

        Raises:
          PrefrlError: there is no such query.
        """
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES.where(queries.c.id == int(query_id))).first()
        if row is None:
            raise self._no_query(query_id)
        return Loader(self.where).query(row)

    def sample_segments(self, n: int, rng: Generator) -> list[tuple[int, Segment]]:
        """Up to n different segments of the newest 500 queries, with their ids."""
        sides = (queries.c.left_id, queries.c.right_id)
        newest = sa.select(*sides).order_by(queries.c.id.desc()).limit(_NEWEST)
        with self._database.transaction() as connection:
            shown = sorted({number for row in connection.execute(newest) for number in row})
            drawn = [int(number) for number in rng.permutation(shown)[:n]]
            found = connection.execute(segments.select().where(segments.c.id.in_(drawn))).all()
        loader, rows = Loader(self.where), {row.id: row for row in found}
        return [(i, loader.segment(i, rows[i].arrays, rows[i].step)) for i in drawn]

    def check_of(self, query_id: int, kind: str, name: str) -> Check:
        """A check that shows an answered query again and expects its standing answer.

        Raises:
          PrefrlError: there is no standing answer.
        """
        answers = ANSWERS.where(queries.c.id == int(query_id))
        with self._database.transaction() as connection:
            last = connection.execute(answers.order_by(comparisons.c.id.desc()).limit(1)).first()
        if last is None or last.preference is None:
            raise PrefrlError(f"query {query_id} has no answer to check: answer it first")
        return check_of_answer(last, Loader(self.where), kind, name)

    def checks(self, labeler: str | None = None) -> list[CheckRow]:
        """Checks with a standing answer, in the order of the answers; of one labeler, or of all."""
        with self._database.transaction() as connection:
            rows = standing_checks(connection)
        return [row for row in rows if labeler in (None, row.labeler)]

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _no_query(self, number: int) -> PrefrlError:
        return PrefrlError(f"there is no query {number} in {self.where}: claim one first")
