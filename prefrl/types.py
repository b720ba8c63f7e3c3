"""The values that the stages hand each other: segment, query, preference, comparison."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


class PrefrlError(Exception):
    """A mistake of the user's: the message names the value and the remedy (exit status 2)."""


class NewRunNeeded(PrefrlError):  # noqa: N818 - what to do, not what happened
    """A run cannot go on: only a new one helps."""


class MachineError(PrefrlError):
    """The machine let us down - a full disk, a damaged file (exit status 1)."""


class Preference(enum.Enum):
    """What a labeler can answer to a query of two segments."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    INCOMPARABLE = "incomparable"

    @property
    def p_left(self) -> float | None:
        """Target probability that left is better; None where the answer trains nothing.

        Source: Christiano et al. 2017, section 2.2.3 (the distribution mu).
        """
        return {"left": 1.0, "right": 0.0, "tie": 0.5, "incomparable": None}[self.value]

    @property
    def mirrored(self) -> Preference:
        """The same answer had the two segments changed places."""
        swapped = {Preference.LEFT: Preference.RIGHT, Preference.RIGHT: Preference.LEFT}
        return swapped.get(self, self)


@dataclass(frozen=True, eq=False)
class Segment:
    """Consecutive transitions of one episode, stored by value.

    Attributes:
      obs: raw observations, before any normalisation, (T, *obs_shape).
      actions: actions as the environment executed them, (T, *action_shape).
      true_rewards: the environment's own reward, (T,); for oracles and evaluation alone.
      render_states: what draws each step again later, (T, S); None where the
        environment offers nothing.
      step: environment steps that the run had taken when the segment ended.
    """

    obs: Array
    actions: Array
    true_rewards: Array
    render_states: Array | None = None
    step: int = 0

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def true_return(self) -> float:
        """Undiscounted sum of the true reward."""
        return float(self.true_rewards.sum(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Query:
    """A question to a labeler: which of two segments is better?

    Attributes:
      disagreement: spread of the members' P(left > right) when it was asked, in
        [0, 0.5]; NaN for the first, ungated batch.
      step: environment steps that the run had taken when it was asked.
      id: its number in the store; None before it is there.
    """

    left: Segment
    right: Segment
    disagreement: float = math.nan
    step: int = 0
    id: int | None = None


@dataclass(frozen=True)
class Viewing:
    """How a labeler looked at a pair before the answer.

    Attributes:
      seconds: time before the answer in which the pair was on the screen, since it was last put
        there.
      watched: share of the clip that was watched; NaN where nobody watched.
      swapped: the left segment was shown on the right.
    """

    seconds: float = 0.0
    watched: float = math.nan
    swapped: bool = False


@dataclass(frozen=True, eq=False)
class Comparison:
    """A query with its answer: who gave it, when, and how they looked at it.

    Attributes:
      preference: None means that the answer was withdrawn.
      labeler: name of who answered.
      answered_at: Unix time, seconds.
      seconds: time the labeler took, seconds.
      watched, swapped: as in `Viewing`; NaN and False in rows of before they were kept.
      id: its number in the store, growing with time; a later row about the same query
        replaces an earlier one.
    """

    query: Query
    preference: Preference | None
    labeler: str
    answered_at: float
    seconds: float
    id: int = 0
    watched: float = math.nan
    swapped: bool = False
