"""Checks of the person: pairs that look like any other but train nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from prefrl.label_quality import DECIDED, OBVIOUS, REPEAT, REPEAT_SWAPPED
from prefrl.store import Check, ComparisonStore
from prefrl.types import Preference, Segment

REPEATS = (REPEAT, REPEAT_SWAPPED)
KINDS = (*REPEATS, OBVIOUS)
CHECK_SHARE = 0.05
"""Share of the pairs that are checks."""
REPEAT_AFTER = 15
"""Answers between a pair and its repeat."""
_SAMPLE = 24  # segments, out of which an obvious pair is made
_CLEAR = 0.5
"""A difference in true return is obvious from this share of the largest absolute return on."""


def next_check(
    store: ComparisonStore, labeler: str, rng: Generator, kinds: Sequence[str] = KINDS
) -> tuple[Check, bool] | None:
    """A check of a random kind, and whether its sides are swapped; None where none is possible.

    A repeat shows a pair that this labeler decided earlier, on the same or on swapped sides. An
    obvious pair differs greatly in true return.

    Args:
      kinds: to choose from; an obvious pair tests only people who want what the environment
        rewards.
    """
    for kind in rng.permutation(list(kinds)):
        found = _obvious(store, rng) if kind == OBVIOUS else _repeat(store, labeler, str(kind), rng)
        if found is not None:
            return found
    return None


def _repeat(
    store: ComparisonStore, labeler: str, kind: str, rng: Generator
) -> tuple[Check, bool] | None:
    repeated = {check.query_id for check in store.checks(labeler)}
    earlier = [
        row
        for row in store.answer_log(labeler)[:-REPEAT_AFTER]
        if row.preference in DECIDED and row.query_id not in repeated
    ]
    if not earlier:
        return None
    row = earlier[int(rng.integers(len(earlier)))]
    check = store.check_of(row.query_id, kind, _name(kind, rng))
    return check, row.swapped != (kind == REPEAT_SWAPPED)


def _obvious(store: ComparisonStore, rng: Generator) -> tuple[Check, bool] | None:
    sample = store.sample_segments(_SAMPLE, rng)
    pair = clearest(sample)
    if pair is None:
        return None
    (worse_id, worse), (better_id, better) = pair
    left_is_better = bool(rng.random() < 0.5)
    sides = (
        (better, worse, better_id, worse_id)
        if left_is_better
        else (worse, better, worse_id, better_id)
    )
    left, right, left_id, right_id = sides
    expected = Preference.LEFT if left_is_better else Preference.RIGHT
    check = Check(
        _name(OBVIOUS, rng), OBVIOUS, left, right, left_id, right_id, expected, query_id=None
    )
    return check, bool(rng.random() < 0.5)


def clearest(
    sample: Sequence[tuple[int, Segment]],
) -> tuple[tuple[int, Segment], tuple[int, Segment]] | None:
    """The worst and the best of segments by true return; None where they differ little."""
    if len(sample) < 4:
        return None
    returns = np.array([segment.true_return for _, segment in sample])
    if not np.isfinite(returns).all() or np.ptp(returns) < max(1e-9, _CLEAR * abs(returns).max()):
        return None
    return sample[int(returns.argmin())], sample[int(returns.argmax())]


def _name(kind: str, rng: Generator) -> str:
    return f"{kind}-{rng.bytes(8).hex()}"
