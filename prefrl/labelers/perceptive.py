"""A simulated teacher with a person's eyes: it sees no difference below a certain size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefrl.types import Preference, Query

if TYPE_CHECKING:
    from prefrl.labelers import Labeler


class Perceptive:
    """Answers as another labeler, but calls small differences in true return a tie.

    Without that, a reward learns order and not size: it is told as often that a hop which turns by
    a thousandth of a circle is better than one which does not, as that a flip is better than
    standing, and an agent that hops well has nothing left to look for.

    Args:
      labeler: whose answers those are; it is asked about every query all the same.
      tie_below: the smallest difference in a segment's true return that is seen.
    """

    immediate = True

    def __init__(self, labeler: Labeler, tie_below: float) -> None:
        self.name = labeler.name
        self._labeler, self._tie_below = labeler, tie_below

    def label(self, query: Query) -> Preference:
        answer = self._labeler.label(query)
        difference = abs(query.left.true_return - query.right.true_return)
        if answer is Preference.INCOMPARABLE or difference >= self._tie_below:
            return answer
        return Preference.TIE

    def observe_episode(self, true_return: float, length: int) -> None:
        self._labeler.observe_episode(true_return, length)
