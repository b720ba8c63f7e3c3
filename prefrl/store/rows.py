"""Conversion between rows of the store and values."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from prefrl.store.blobs import decode_segment
from prefrl.store.schema import comparisons, meta
from prefrl.types import Comparison, MachineError, Preference, Query, Segment, Viewing

Row: TypeAlias = sa.Row[*tuple[Any, ...]]


@dataclass(frozen=True)
class AnswerRow:
    """A standing answer without its segments.

    Attributes:
      id: of the comparison.
      answered_at: Unix time, seconds.
      seconds, watched, swapped: as in `Viewing`.
    """

    id: int
    query_id: int
    preference: Preference
    labeler: str
    answered_at: float
    seconds: float
    watched: float
    swapped: bool


class Loader:
    """Makes queries and comparisons of rows, and each of their segments only once.

    Args:
      where: name of the store in errors.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._loaded: dict[int, Segment] = {}

    def segment(self, number: int, blob: bytes, step: int) -> Segment:
        """A segment from its bytes; raises MachineError where they are damaged."""
        if number not in self._loaded:
            try:
                self._loaded[number] = decode_segment(bytes(blob), step)
            except ValueError as error:
                raise MachineError(
                    f"segment {number} in {self._where} is damaged ({error}): "
                    "put back a copy of that file"
                ) from error
        return self._loaded[number]

    def query(self, row: Row) -> Query:
        """The query in a row of `QUERIES`."""
        return Query(
            left=self.segment(row.left_id, row.left_arrays, row.left_step),
            right=self.segment(row.right_id, row.right_arrays, row.right_step),
            disagreement=math.nan if row.disagreement is None else row.disagreement,
            step=row.step,
            id=row.id,
        )

    def comparison(self, row: Row) -> Comparison:
        """The comparison in a row of `ANSWERS`."""
        return Comparison(
            query=self.query(row),
            preference=None if row.preference is None else Preference(row.preference),
            id=row.comparison_id,
            **answer_values(row),
        )


def answer_values(row: Row) -> dict[str, Any]:
    """Who gave an answer, when, and how they looked, from columns that two tables share."""
    return {
        "labeler": row.labeler,
        "answered_at": row.answered_at,
        "seconds": row.seconds,
        "watched": math.nan if row.watched is None else row.watched,
        "swapped": bool(row.swapped),
    }


def answer_columns(
    preference: Preference | None, labeler: str, viewing: Viewing, now: float | None
) -> dict[str, Any]:
    """An answer, who gave it, when, and how they looked, as columns that two tables share."""
    return {
        "preference": preference.value if preference else None,
        "labeler": labeler,
        "answered_at": float(time.time() if now is None else now),
        "seconds": float(viewing.seconds),
        "watched": null_for_nan(viewing.watched),
        "swapped": bool(viewing.swapped),
    }


def null_for_nan(value: float) -> float | None:
    """The number, or None, which the database stores as null, for NaN."""
    return None if math.isnan(value) else float(value)


def insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> list[int]:
    """Insert rows; returns their ids, in the order of the rows."""
    if not rows:
        return []
    statement = table.insert().returning(table.c.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, rows).scalars())


def append_answers(
    connection: sa.Connection,
    answers: Sequence[tuple[int, Preference | None]],
    labeler: str,
    viewing: Viewing,
    now: float | None,
) -> list[int]:
    """Append comparisons; returns their ids."""
    # Writers take turns here, so that ids are committed in order (SQLite does this by itself).
    connection.execute(meta.select().with_for_update())
    rows = [
        {
            "query_id": int(number),
            "p_left": preference.p_left if preference else None,
            **answer_columns(preference, labeler, viewing, now),
        }
        for number, preference in answers
    ]
    return insert(connection, comparisons, rows)
