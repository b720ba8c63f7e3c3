"""How good a person's answers look: rates, checks and biases, from rows of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from prefrl.store import AnswerRow, CheckRow
from prefrl.types import Array, Preference

REPEAT, REPEAT_SWAPPED, OBVIOUS = "repeat", "repeat-swapped", "obvious"
"""Kinds of checks: a pair shown again, the same with its sides exchanged, a clear difference."""
DECIDED = (Preference.LEFT, Preference.RIGHT)
PAUSE = 120.0
"""Seconds between two answers that are no work."""
SITTING = 1800.0
"""Seconds between two answers after which another sitting begins."""


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
    repeats = [row.as_expected for row in checks if row.kind in (REPEAT, REPEAT_SWAPPED)]
    obvious = [row.as_expected for row in checks if row.kind == OBVIOUS]
    both: list[AnswerRow | CheckRow] = [*answers, *checks]
    left = [on_left(row) for row in both if row.preference in DECIDED]
    seconds = [row.seconds for row in answers]
    return Quality(
        labels=len(answers),
        per_hour=per_hour([row.answered_at for row in both]),
        consistent=(sum(repeats), len(repeats)),
        left=(sum(left), len(left)),
        obvious=(sum(obvious), len(obvious)),
        median_seconds=float(np.median(seconds)) if seconds else float("nan"),
    )


def per_hour(times: Sequence[float]) -> float:
    """Answers in an hour of work; NaN where there are fewer than two.

    Args:
      times: when they were given, seconds.
    """
    return hourly(work_gaps(times))


def work_gaps(times: Sequence[float]) -> Array:
    """Seconds from each answer to the next one, pauses left out."""
    gaps = np.diff(np.sort(times))
    worked: Array = gaps[gaps <= PAUSE]
    return worked


def hourly(gaps: Array) -> float:
    """Answers in an hour of work by the seconds between them; NaN where there are none."""
    return float(3600 * len(gaps) / gaps.sum()) if len(gaps) and gaps.sum() > 0 else float("nan")


def work_clock(times: Array) -> Array:
    """Seconds of work until each answer, (n,); pauses take none.

    Args:
      times: when they were given, in order, seconds, (n,).
    """
    gaps = np.diff(times, prepend=times[:1])
    clock: Array = np.cumsum(np.where(gaps <= PAUSE, gaps, 0.0))
    return clock


def sittings(times: Array) -> Array:
    """Places of the answers that begin a sitting, (S,); `times` as above."""
    return np.flatnonzero(np.diff(times, prepend=-np.inf) >= SITTING)


def running_rate(times: Array, last: int) -> Array:
    """Answers in an hour of work over the `last` ones, (n,); NaN without work.

    Args:
      times: as above.
      last: how many gaps between answers count; fewer at the beginning.
    """
    gaps = np.diff(times, prepend=-np.inf)
    worked = gaps <= PAUSE
    count = _last(worked, last, 0.0).sum(axis=1)
    seconds = _last(np.where(worked, gaps, 0.0), last, 0.0).sum(axis=1)
    unknown = np.full(len(times), np.nan)
    rate: Array = np.divide(3600 * count, seconds, out=unknown, where=seconds > 0)
    return rate


def running_share(hits: Array, last: int) -> tuple[Array, Array]:
    """Share of hits among the last so many trials, and how many trials that are, (n,) each."""
    count = np.minimum(np.arange(1, len(hits) + 1), last)
    return _last(hits, last, 0.0).sum(axis=1) / count, count


def running_quantiles(values: Array, last: int, shares: Sequence[float]) -> Array:
    """Quantiles of the last so many values, (n, len(shares)); none of `values` (n,) is NaN."""
    found: Array = np.nanquantile(_last(values, last, np.nan), shares, axis=1).T
    return found


def _last(values: Array, last: int, before: float) -> Array:
    """Each value with those ahead of it, (n, last); `before` stands where there are none."""
    if not len(values):
        return np.empty((0, last))
    return sliding_window_view(np.concatenate([np.full(last - 1, before), values]), last)


def on_left(row: AnswerRow | CheckRow) -> bool:
    """Whether a decided answer is for the clip that was on the screen's left."""
    return (row.preference is Preference.LEFT) != row.swapped


def looked(row: AnswerRow | CheckRow) -> bool:
    """Whether who answered saw the clips; a simulated labeler does not."""
    return row.seconds > 0 or not np.isnan(row.watched)


def described(found: Quality) -> Mapping[str, str]:
    """The same in words, for a terminal."""

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
