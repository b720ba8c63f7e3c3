"""A person: answers arrive through the comparison store, from another process."""

from __future__ import annotations

from prefrl.types import Preference, Query


class HumanLabeler:
    """Stands for people: queries wait in the store until somebody answers them."""

    name = "human"
    immediate = False

    def label(self, query: Query) -> Preference:
        """Never called: nobody can be made to answer at once."""
        raise TypeError("a person's answers arrive through the comparison store")

    def observe_episode(self, true_return: float, length: int) -> None:
        """People judge by what they see."""
