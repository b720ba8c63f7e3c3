"""Answers given earlier: nobody is there to be asked."""

from __future__ import annotations

from numpy.random import Generator

from prefrl.labelers.human import HumanLabeler


class StoreLabeler(HumanLabeler):
    """Stands for whoever answered what the store holds, and whoever answers more of it."""

    name = "store"
    asked = False

    def __init__(self, rng: Generator | None = None) -> None:
        """Nothing is left to chance."""
