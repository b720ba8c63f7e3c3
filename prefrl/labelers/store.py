"""Answers given earlier: nobody is asked."""

from __future__ import annotations

from numpy.random import Generator

from prefrl.labelers.human import HumanLabeler


class StoreLabeler(HumanLabeler):
    """Labeler of answers that are in the store, or are added there by another process."""

    name = "store"
    asked = False

    def __init__(self, rng: Generator | None = None) -> None:
        """`rng` is unused."""
