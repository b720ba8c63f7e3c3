"""Checks: pairs that are asked only to judge the labeler.

They train nothing and are not counted as labels. Their answers are appended like those of queries,
in a table of their own: the last row of a name is its standing answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from prefrl.store.rows import Loader, Row, answer_columns, answer_values, insert
from prefrl.store.schema import STANDING_CHECKS, checks
from prefrl.types import Preference, Segment, Viewing


@dataclass(frozen=True, eq=False)
class Check:
    """A pair whose consistent answer is known.

    Attributes:
      name: chosen by whoever shows it; unique in a store.
      kind: what it checks, chosen by whoever shows it.
      left_id, right_id: the segments' ids in the store.
      expected: the consistent answer.
      query_id: the query whose segments it shows again, or None.
    """

    name: str
    kind: str
    left: Segment
    right: Segment
    left_id: int
    right_id: int
    expected: Preference
    query_id: int | None = None


@dataclass(frozen=True)
class CheckRow:
    """A check with its standing answer, without the segments.

    Attributes:
      answered_at: Unix time, seconds.
      seconds, watched, swapped: as in `Viewing`.
    """

    name: str
    kind: str
    query_id: int | None
    expected: Preference
    preference: Preference
    labeler: str
    answered_at: float
    seconds: float
    watched: float
    swapped: bool

    @property
    def as_expected(self) -> bool:
        """Whether the answer is the expected one."""
        return self.preference is self.expected


def check_of_answer(row: Row, loader: Loader, kind: str, name: str) -> Check:
    """The check that repeats a row of `ANSWERS`, whose preference is not null."""
    query, expected = loader.query(row), Preference(row.preference)
    sides = query.left, query.right, row.left_id, row.right_id
    return Check(name, kind, *sides, expected, query.id)


def append_check(
    connection: sa.Connection,
    check: Check,
    preference: Preference | None,
    labeler: str,
    viewing: Viewing,
    now: float | None,
) -> int:
    """Append a check's answer; returns the new row's id."""
    row = {
        "name": check.name,
        "kind": check.kind,
        "query_id": None if check.query_id is None else int(check.query_id),
        "left_id": int(check.left_id),
        "right_id": int(check.right_id),
        "expected": check.expected.value,
        **answer_columns(preference, labeler, viewing, now),
    }
    return insert(connection, checks, [row])[0]


def standing_checks(connection: sa.Connection) -> list[CheckRow]:
    """Checks with their standing answers, in the order of the answers."""
    return [
        CheckRow(
            name=row.name,
            kind=row.kind,
            query_id=row.query_id,
            expected=Preference(row.expected),
            preference=Preference(row.preference),
            **answer_values(row),
        )
        for row in connection.execute(STANDING_CHECKS.order_by(checks.c.id))
    ]
