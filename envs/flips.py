"""Counts landed backflips from the angles and contacts of a body, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TURN = 2 * math.pi
FULL = 0.9
"""Share of 360 degrees that a flight has to turn. A gymnast takes off leaning back and lands
leaning forward: less than 360 degrees in the air, 360 from stand to stand."""
UPRIGHT = math.pi / 4
"""Largest lean of the torso, in radians, with which the foot may come down."""
HELD = 0.2
"""Seconds after the foot came down in which nothing else may touch the floor."""


@dataclass
class FlipCounter:
    """Counts landed backflips.

    A flip is a flight that starts from the foot alone, turns backward by at least FULL turns
    before anything touches the floor, ends on the foot alone with the torso upright, and is
    followed by HELD seconds in which nothing but the foot touches the floor. A flight of n turns
    counts n. Rolling or spinning on the floor counts nothing, however far it turns.

    The turn is that of the mean of the links' angles: a body that only folds, its torso one way
    and its legs the other, has not turned.

    Args:
      dt: seconds between two updates.
      angle: mean of the links' angles, in radians; each update sets it.
    Attributes:
      flips: landed so far.
      flying: nothing touches the floor since the foot alone did.
    """

    dt: float
    angle: float = 0.0
    flips: int = field(default=0, init=False)
    flying: bool = field(default=False, init=False)
    _from_foot: bool = field(default=False, init=False)  # the foot alone touched the floor last
    _left_at: float = field(default=0.0, init=False)  # the angle when the foot last stood
    _landed: int = field(default=0, init=False)  # flips of a landing that is not yet held
    _held: int = field(default=0, init=False)  # updates since then

    def update(self, angles: NDArray[np.float64], foot: bool, body: bool) -> int:
        """Take in one step.

        Args:
          angles: of the body's links against the vertical, torso first, (L,), in radians and
            without jumps at full turns; backward is negative.
          foot: the foot touches the floor.
          body: anything else touches the floor.
        Returns:
          Flips that this step completes; 0 almost always.
        """
        self.angle = float(angles.mean())
        if body:
            self._from_foot, self._landed = False, 0
        elif foot:
            self._touch_down(upright=math.cos(angles[0]) >= math.cos(UPRIGHT))
        self.flying = self._from_foot and not foot
        return self._complete()

    def _touch_down(self, upright: bool) -> None:
        turns = math.floor((self._left_at - self.angle) / TURN + 1 - FULL)
        if self._from_foot and upright and turns > 0:
            self._landed, self._held = turns, 0
        self._from_foot, self._left_at = True, self.angle

    def _complete(self) -> int:
        if not self._landed or self._held * self.dt < HELD:
            self._held += 1
            return 0
        completed, self._landed = self._landed, 0
        self.flips += completed
        return completed


def turned(angle: float) -> float:
    """A body's angle in turns, slow near upright and fast upside down; backward is positive.

    It grows by 1 in a full turn, and hardly at all while a body rocks about its stand: with the
    cube of how far it leans, by 0.0014 between 0.3 radians forward and 0.3 backward.

    Args:
      angle: in radians, backward negative.
    """
    return (math.sin(angle) - angle) / TURN


@dataclass
class FlightTurns:
    """Sum of the turns of flights, less the forward turns on the floor that take them back.

    So turning back and forth earns nothing, except in a hop that began before a landed flip
    counted, whose turn up to then is kept. Turning on the floor alone earns and costs nothing.
    """

    _at_stake: float = field(default=0.0, init=False)  # earned, and not landed yet

    def update(self, turn: float, flying: bool, landed: bool) -> float:
        """Take in one step.

        Args:
          turn: the step's backward turn.
          flying: nothing touches the floor.
          landed: the step completes a flip.
        Returns:
          By how much the sum grows.
        """
        paid = turn if flying else max(min(turn, 0.0), -max(self._at_stake, 0.0))
        self._at_stake = 0.0 if landed else self._at_stake + paid
        return paid
