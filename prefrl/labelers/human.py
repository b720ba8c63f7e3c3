"""People as labelers: their answers come through the comparison store, from another process."""

from __future__ import annotations

from prefrl.types import Preference, Query


class HumanLabeler:
    """Labeler of people's answers: queries wait in the store until somebody answers them."""

    name = "human"
    immediate = False

    def label(self, query: Query) -> Preference:
        """Never called, as `immediate` is False."""
        raise TypeError("people do not answer at once: read their answers in the comparison store")

    def observe_episode(self, true_return: float, length: int) -> None:
        """Ignored: people judge by what they see."""
