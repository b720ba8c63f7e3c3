"""Simulated labelers: they judge by the true reward, with human errors.

Source: Lee et al. 2021 (B-Pref, arXiv 2111.03026), section 3.1 and table 1, which calls them
simulated teachers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from prefrl.types import Array, Preference, PrefrlError, Query

LATE_EPISODES = 10
"""Latest training episodes, of whose mean return the margins are shares, as in B-Pref's public
code."""


@dataclass(frozen=True)
class TeacherSettings:
    """Kinds of error of a simulated labeler, all off by default.

    Attributes:
      beta: rationality; at infinity the larger return is always preferred.
      gamma: myopia; discount of steps before the last one.
      epsilon: probability that a decided answer is flipped.
      skip: share of the mean return; two segments below it are incomparable.
      equal: share of the mean return; a difference below it is a tie.
    """

    beta: float = np.inf
    gamma: float = 1.0
    epsilon: float = 0.0
    skip: float = 0.0
    equal: float = 0.0


TEACHERS: dict[str, TeacherSettings] = {
    "oracle": TeacherSettings(),
    "stochastic": TeacherSettings(beta=1.0),
    "mistake": TeacherSettings(epsilon=0.1),
    "myopic": TeacherSettings(gamma=0.9),
    "skip": TeacherSettings(skip=0.1),
    "equal": TeacherSettings(equal=0.1),
}


class SimulatedTeacher:
    """Answers from the true rewards of the two segments.

    Margins are shares of the mean true return of a segment in the last LATE_EPISODES, measured from
    the worst segment so far where that is below zero. So a task with negative returns keeps its
    margins; the public B-Pref code loses them.

    Args:
      name: stored with each answer.
      settings: the kinds of error.
      rng: draws random answers.
    """

    immediate = True

    def __init__(self, name: str, settings: TeacherSettings, rng: Generator) -> None:
        self.name = name
        self._settings, self._rng = settings, rng
        self._episodes = deque[tuple[float, int]](maxlen=LATE_EPISODES)
        self._floor = 0.0  # the worst segment return per step, never above 0

    def observe_episode(self, true_return: float, length: int) -> None:
        self._episodes.append((true_return, length))

    def recall(self, queries: Iterable[Query]) -> None:
        """Take in earlier queries, whose worst segment counts, where a run is resumed."""
        if self._settings.skip or self._settings.equal:
            for query in queries:
                worst = min(query.left.true_return, query.right.true_return)
                self._floor = min(self._floor, worst / len(query.left.true_rewards))

    def label(self, query: Query) -> Preference:
        left, right = (self._rewards(s.true_rewards) for s in (query.left, query.right))
        sums = np.array([left.sum(), right.sum()])
        length = len(left)
        self._floor = min(self._floor, float(sums.min()) / length)
        skip = self._margin(self._settings.skip, length)
        if skip > 0 and sums.max() - self._floor * length <= skip:
            return Preference.INCOMPARABLE
        difference = abs(sums[0] - sums[1])
        if difference == 0 or difference < self._margin(self._settings.equal, length):
            return Preference.TIE
        prefers_left = self._prefers_left(left, right)
        if self._rng.random() < self._settings.epsilon:
            prefers_left = not prefers_left
        return Preference.LEFT if prefers_left else Preference.RIGHT

    def _prefers_left(self, left: Array, right: Array) -> bool:
        discount = self._settings.gamma ** np.arange(len(left) - 1, -1, -1)
        difference = float(((left - right) * discount).sum())
        if np.isinf(self._settings.beta):
            if difference == 0:  # a myopic labeler may see no difference where there is one
                return bool(self._rng.random() < 0.5)
            return difference > 0
        return bool(self._rng.random() < expit(self._settings.beta * difference))

    def _margin(self, share: float, length: int) -> float:
        """A share of the mean true return of a segment of `length` steps."""
        if share == 0 or not self._episodes:
            return 0.0
        true_return = sum(true_return for true_return, _ in self._episodes)
        steps = sum(length for _, length in self._episodes)
        return share * (true_return / steps - self._floor) * length

    def _rewards(self, rewards: Array) -> Array:
        if not np.isfinite(rewards).all():
            raise PrefrlError(
                f"the environment's true reward is {rewards[~np.isfinite(rewards)][0]}: a "
                f"simulated labeler ({self.name}) cannot judge by it; fix the environment's "
                "reward or use --labeler human"
            )
        return rewards.astype(np.float64)


def simulated_teacher(name: str) -> Callable[[Generator], SimulatedTeacher]:
    """The builder of a simulated labeler, by its name in TEACHERS."""
    return lambda rng: SimulatedTeacher(name, TEACHERS[name], rng)
