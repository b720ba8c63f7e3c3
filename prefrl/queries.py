"""Which queries to ask: candidates, strategies, and the gate.

A strategy takes the candidates and a number and returns the indices of those it would
ask, best first. One that scores each pair by itself is made by `by_score` from a function
of the members' segment returns (M, N, 2) to scores (N,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.spatial.distance import cdist
from scipy.special import expit, xlogy

from prefrl.types import Array


@dataclass(frozen=True)
class Candidates:
    """Pairs of segments that could be asked about.

    Attributes:
      returns: the members' calibrated segment returns, (M, N, 2).
      features: what describes each pair, (N, F).
      asked: the same of the pairs already asked about, (K, F).
    """

    returns: Array
    features: Array
    asked: Array

    def take(self, index: Array) -> Candidates:
        """Only the candidates at `index`."""
        return Candidates(self.returns[:, index], self.features[index], self.asked)


_REDRAWS = 10
Strategy = Callable[[Candidates, int, Generator], Array]
Score = Callable[[Array], Array]


def draw_pairs(n_segments: int, n: int, rng: Generator) -> Array:
    """Pairs of two different segments, uniformly, (n, 2).

    None is there twice, in whichever order, where a few more draws find others.
    """
    pairs = _any_pairs(n_segments, n, rng)
    for _ in range(_REDRAWS):
        _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
        again = np.setdiff1d(np.arange(n), first)
        if not len(again):
            break
        pairs[again] = _any_pairs(n_segments, len(again), rng)
    return pairs


def _any_pairs(n_segments: int, n: int, rng: Generator) -> Array:
    left = rng.integers(n_segments, size=n)
    right = rng.integers(n_segments - 1, size=n)
    return np.stack([left, right + (right >= left)], axis=1)


def preferences(returns: Array) -> Array:
    """Each member's P(left > right), from returns (M, N, 2) to (M, N)."""
    p: Array = expit(returns[..., 0] - returns[..., 1])
    return p


def disagreement(returns: Array) -> Array:
    """Standard deviation of the members' predicted preferences.

    Args:
      returns: calibrated segment returns, (M, N, 2); last axis is (left, right).
    Returns:
      Standard deviation over members of P(left > right), (N,), in [0, 0.5].
    Source: Christiano et al. 2017, section 2.2.4.
    """
    std: Array = preferences(returns).std(axis=0)
    return std


def entropy(returns: Array) -> Array:
    """Mean entropy of the members' predicted preferences, (N,), nats (B-Pref, section 3.3)."""
    mean: Array = _entropy(preferences(returns)).mean(axis=0)
    return mean


def mutual_information(returns: Array) -> Array:
    """Entropy of the mean preference minus the mean entropy, (N,), nats.

    Large where the members disagree, small where they agree that a pair is a tie.
    Source: Houlsby et al. 2011, arXiv 1112.5745 (BALD).
    """
    gain: Array = _entropy(preferences(returns).mean(axis=0)) - entropy(returns)
    return gain


def _entropy(p: Array) -> Array:
    h: Array = -(xlogy(p, p) + xlogy(1 - p, 1 - p))
    return h


def by_score(score: Score) -> Strategy:
    """The strategy that asks about the highest scores."""

    def strategy(candidates: Candidates, n: int, rng: Generator) -> Array:
        return np.argsort(-score(candidates.returns), kind="stable")[:n]

    return strategy


def uniform(candidates: Candidates, n: int, rng: Generator) -> Array:
    """Any of them, each as likely."""
    return rng.permutation(candidates.returns.shape[1])[:n]


def k_center(candidates: Candidates, n: int, rng: Generator) -> Array:
    """Greedy farthest point: each pick is the one farthest from all asked and picked.

    Source: Lee et al. 2021 (B-Pref), section 3.3; Sener and Savarese 2018, arXiv 1708.00489.
    """
    features, asked = candidates.features, candidates.asked
    if len(features) == 0:
        return np.empty(0, dtype=np.int64)
    nothing = np.full(len(features), np.inf)
    distance = cdist(features, asked).min(axis=1) if len(asked) else nothing
    picked: list[int] = []
    for _ in range(min(n, len(features))):
        farthest = int(distance.argmax())
        picked.append(farthest)
        reach = cdist(features, features[farthest : farthest + 1])[:, 0]
        distance = np.minimum(distance, reach)
        distance[farthest] = -1.0
    return np.array(picked, dtype=np.int64)


def k_center_after(score: Score) -> Strategy:
    """k-center among the better half by a score (B-Pref, section 3.3).

    By mutual information it is a batch that is both informative and diverse, as in DUO (Feng et
    al. 2025).
    """

    def strategy(candidates: Candidates, n: int, rng: Generator) -> Array:
        kept = max(n, candidates.returns.shape[1] // 2)
        half = by_score(score)(candidates, kept, rng)
        chosen: Array = half[k_center(candidates.take(half), n, rng)]
        return chosen

    return strategy


STRATEGIES: dict[str, Strategy] = {
    "uniform": uniform,
    "disagreement": by_score(disagreement),
    "entropy": by_score(entropy),
    "k-center": k_center,
    "k-center-disagreement": k_center_after(disagreement),
    "k-center-entropy": k_center_after(entropy),
    "mutual-information": by_score(mutual_information),
    "k-center-mutual-information": k_center_after(mutual_information),
}


def select(
    candidates: Candidates, strategy: Strategy, n: int, ask_above: float, rng: Generator
) -> Array:
    """Indices of the pairs to ask about: at most n, all over the gate, best first."""
    over = np.flatnonzero(disagreement(candidates.returns) >= ask_above)
    chosen: Array = over[strategy(candidates.take(over), n, rng)]
    return chosen
