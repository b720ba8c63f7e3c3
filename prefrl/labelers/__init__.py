"""Labelers: whoever answers queries. Add one with a class and a line in LABELERS."""

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
      name: written beside each answer.
      immediate: whether `label` answers at once; otherwise the answer arrives through the
        comparison store, from another process, whenever it likes.
      asked: whether queries are put to it at all. It may be left out: labelers are asked, save
        one that says `asked = False`.
    """

    name: str
    immediate: bool

    def label(self, query: Query) -> Preference:
        """The answer to a query."""

    def observe_episode(self, true_return: float, length: int) -> None:
        """Told of every finished episode, for labelers whose margins depend on them."""


def is_asked(labeler: object) -> bool:
    """Whether queries are put to a labeler."""
    return getattr(labeler, "asked", True) is not False


LABELERS: dict[str, Callable[[Generator], Labeler]] = {
    **{name: simulated_teacher(name) for name in TEACHERS},
    # Each answer is the oracle's or its opposite, at random: nothing can be learned from it, and
    # a study that learns something all the same has a leak.
    "shuffled": lambda rng: SimulatedTeacher("shuffled", TeacherSettings(epsilon=0.5), rng),
    "human": lambda rng: HumanLabeler(),
    "store": StoreLabeler,
}
"""Builders by name; each is given a random number generator."""
