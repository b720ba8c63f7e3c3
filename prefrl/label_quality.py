"""How good a person's answers look: rates, checks and biases, from rows of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prefrl.store import AnswerRow, CheckRow
from prefrl.types import Preference

REPEAT, REPEAT_SWAPPED, OBVIOUS = "repeat", "repeat-swapped", "obvious"
"""Kinds of checks: a pair shown again, the same with its sides exchanged, a clear difference."""
DECIDED = (Preference.LEFT, Preference.RIGHT)
PAUSE = 120.0
"""Seconds between two answers that are no work."""


@dataclass(frozen=True)
class Quality:
    """How good a person's answers look; each share with the number that it is a share of.

    Attributes:
      labels: standing answers, checks left out.
      per_hour: answers in an hour of work; pauses of over two minutes are left out.
      consistent: repeats with the same answer.
      left: of the decided ones, those for the clip on the screen's left.
      obvious: of the obvious pairs, those answered as the true reward has it.
      median_seconds: from a pair on the screen to its answer.
    """

    labels: int
    per_hour: float
    consistent: tuple[int, int]
    left: tuple[int, int]
    obvious: tuple[int, int]
    median_seconds: float


def quality(answers: Sequence[AnswerRow], checks: Sequence[CheckRow]) -> Quality:
    """What a labeler's answers and checks add up to."""
    asked = [row for row in checks if row.preference is not None]
    repeats = [row for row in asked if row.kind in (REPEAT, REPEAT_SWAPPED)]
    obvious = [row for row in asked if row.kind == OBVIOUS]
    both: list[AnswerRow | CheckRow] = [*answers, *asked]
    decided = [row for row in both if row.preference in DECIDED]
    on_left = sum((row.preference is Preference.LEFT) != row.swapped for row in decided)
    seconds = [row.seconds for row in answers]
    return Quality(
        labels=len(answers),
        per_hour=per_hour([row.answered_at for row in both]),
        consistent=(sum(row.preference is row.expected for row in repeats), len(repeats)),
        left=(on_left, len(decided)),
        obvious=(sum(row.preference is row.expected for row in obvious), len(obvious)),
        median_seconds=float(np.median(seconds)) if seconds else float("nan"),
    )


def per_hour(times: Sequence[float]) -> float:
    """Answers in an hour of work; NaN where there are fewer than two.

    Args:
      times: when they were given, seconds.
    """
    gaps = np.diff(np.sort(times))
    work = gaps[gaps <= PAUSE]
    return float(3600 * len(work) / work.sum()) if len(work) and work.sum() > 0 else float("nan")


def described(found: Quality) -> Mapping[str, str]:
    """The same in words, for a terminal and the report."""

    def share(part: tuple[int, int]) -> str:
        some, of = part
        return f"{some / of:.0%} ({some} of {of})" if of else "none asked yet"

    rate = f"{found.per_hour:,.0f}" if np.isfinite(found.per_hour) else "too few to say"
    median = f"{found.median_seconds:.1f} s" if found.labels else "none"
    return {
        "labels": f"{found.labels:,}",
        "an hour": rate,
        "median time of an answer": median,
        "same answer to a pair shown again": share(found.consistent),
        "left chosen": share(found.left),
        "obvious pairs right": share(found.obvious),
    }
