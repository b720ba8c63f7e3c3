"""A simulated labeler with a perception threshold: it sees no difference below a certain size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from prefrl.types import Preference, Query

if TYPE_CHECKING:
    from prefrl.labelers import Labeler

TOLD_APART = 0.2
"""Share of the latest pairs, those that differ most, that are told apart however little they
differ."""
LATE = 200
"""Number of these latest pairs."""


class Perceptive:
    """Answers as another labeler, but calls small differences in true return a tie.

    Without this, a reward learns order but not size: that a hop which turns by a thousandth of a
    circle is better than one which does not counts as much as that a flip is better than standing,
    and an agent that hops well has nothing left to improve. While segments hardly differ, the
    threshold falls: a fifth of the pairs, those that differ most, are always told apart.

    Args:
      labeler: gives the other answers; it is asked about every query.
      tie_below: the smallest difference in a segment's true return that is seen.
      seen: queries that were asked earlier, where a run is resumed.
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
