"""A simulated teacher with a person's eyes: it sees no difference below a certain size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from prefrl.types import Preference, Query

if TYPE_CHECKING:
    from prefrl.labelers import Labeler

TOLD_APART = 0.2
"""Least share of the pairs of late that are told apart, however small their differences are."""
LATE = 200
"""Pairs."""


class Perceptive:
    """Answers as another labeler, but calls small differences in true return a tie.

    Without that, a reward learns order and not size: it is told as often that a hop which turns by
    a thousandth of a circle is better than one which does not, as that a flip is better than
    standing, and an agent that hops well has nothing left to look for. While next to nothing
    happens, eyes get used to it: a fifth of the pairs, those that differ most, are told apart.

    Args:
      labeler: whose answers those are; it is asked about every query all the same.
      tie_below: the smallest difference in a segment's true return that is seen.
      seen: queries that were asked before, where a run goes on.
    """

    immediate = True

    def __init__(self, labeler: Labeler, tie_below: float, seen: Iterable[Query] = ()) -> None:
        self.name = labeler.name
        self._labeler, self._tie_below = labeler, tie_below
        self._differences = deque(map(_difference, seen), maxlen=LATE)

    def label(self, query: Query) -> Preference:
        answer = self._labeler.label(query)
        difference = _difference(query)
        self._differences.append(difference)
        used_to = float(np.quantile(self._differences, 1 - TOLD_APART))
        if answer is Preference.INCOMPARABLE or difference >= min(self._tie_below, used_to):
            return answer
        return Preference.TIE

    def observe_episode(self, true_return: float, length: int) -> None:
        self._labeler.observe_episode(true_return, length)


def _difference(query: Query) -> float:
    return abs(query.left.true_return - query.right.true_return)
