"""Streams of random numbers: one for each stage of a run, all from its seed."""

from __future__ import annotations

from enum import IntEnum

from numpy.random import Generator, default_rng


class Stage(IntEnum):
    """Who draws; no two may share numbers. 0 would be no number of its own to NumPy.

    The nets' first weights are not among them: torch draws the agent's, and a generator of its own
    the ensemble's, both from the seed itself.
    """

    FIT = 1
    LABELER = 2
    LOOP = 3
    AGENT = 4
    CRITIC = 5
    BOOTSTRAP = 6
    BACKGROUND_FIT = 7


def stream(seed: int, stage: Stage, part: int = 0) -> Generator:
    """The random numbers of a stage.

    Args:
      part: another stream of the same stage, as after a resume.
    """
    return default_rng([seed, stage, part])
