"""Labelers, which answer queries. Add one with a class and a line in LABELERS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from numpy.random import Generator

from prefrl.labelers.human import HumanLabeler
from prefrl.labelers.oracle import TEACHERS, SimulatedTeacher, TeacherSettings, simulated_teacher
from prefrl.labelers.store import StoreLabeler
from prefrl.types import Preference, Query


class Labeler(Protocol):
    """Answers queries.

    Attributes:
      name: stored with each answer.
      immediate: whether `label` answers at once; otherwise the answer arrives later through the
        comparison store, from another process.
      asked: whether it is asked queries at all; optional, True by default.
    """

    name: str
    immediate: bool

    def label(self, query: Query) -> Preference:
        """The answer to a query."""

    def observe_episode(self, true_return: float, length: int) -> None:
        """Take in a finished episode; the margins of some labelers depend on them."""


def is_asked(labeler: object) -> bool:
    """Whether a labeler is asked queries."""
    return getattr(labeler, "asked", True) is not False


LABELERS: dict[str, Callable[[Generator], Labeler]] = {
    **{name: simulated_teacher(name) for name in TEACHERS},
    # Each answer is the oracle's or its opposite, at random: nothing can be learned from it, so a
    # study that learns something has a leak.
    "shuffled": lambda rng: SimulatedTeacher("shuffled", TeacherSettings(epsilon=0.5), rng),
    "human": lambda rng: HumanLabeler(),
    "store": StoreLabeler,
}
"""Builders by name; each is given a random number generator."""
