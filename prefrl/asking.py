"""What is asked: two of the recent segments at a time, the best of many candidates."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.random import Generator

from prefrl.queries import Candidates, Strategy, disagreement, draw_pairs, select
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.segments import SegmentPool
from prefrl.types import Array, Query, Segment

_KNOWN = 1000  # segments that were asked about, the latest ones
_ASKED = 1500  # pairs to keep a distance from: older ones are of an agent of long ago
_AT_ONCE = 64
"""Queries whose features are computed together."""


@dataclass
class Asker:
    """Makes queries of the segments in a pool.

    Args:
      pool: segments, at least two whenever it is used.
      reward: its members judge the candidates.
      strategy: ranks them.
      oversample: candidates drawn for every query wanted.
      on_policy_share: share of them of which both segments are of the newest batch.
      reuse: share of the others of which the left one was asked about before.
      rng: draws them.
    """

    pool: SegmentPool
    reward: RewardEnsemble
    strategy: Strategy
    oversample: int
    rng: Generator
    on_policy_share: float = 0.0
    reuse: float = 0.0
    _asked: deque[Array] = field(default_factory=lambda: deque(maxlen=_ASKED))  # their features
    _known: deque[Segment] = field(default_factory=lambda: deque(maxlen=_KNOWN))

    def uniformly(self, n: int, step: int) -> list[Query]:
        """Any n pairs; nothing is predicted about them.

        Args:
          step: environment steps taken, here and below.
        """
        pairs = draw_pairs(len(self.pool), n, self.rng)
        return self._queries(pairs, np.full(n, np.nan), step)

    def best(self, n: int, ask_above: float, step: int) -> tuple[list[Query], dict[str, float]]:
        """The best n pairs by the strategy; fewer where the gate lets fewer through.

        Args:
          ask_above: the gate.
        Returns:
          The queries, remembered as asked; and what the candidates were like, where there were any.
        """
        pairs = self._candidates(n * self.oversample)
        if not len(pairs):
            return [], {}
        candidates = self._judged(pairs)
        disagreements = disagreement(candidates.returns)
        chosen = select(candidates, self.strategy, n, ask_above, self.rng)
        self._asked.extend(candidates.features[chosen])
        low, median, high = np.quantile(disagreements, [0.1, 0.5, 0.9])
        queries = self._queries(pairs[chosen], disagreements[chosen], step)
        self._know(queries)
        return queries, {
            "candidates": len(pairs),
            "ask_above": ask_above,
            "gate_share": float((disagreements >= ask_above).mean()),
            "disagreement_p10": float(low),
            "disagreement_p50": float(median),
            "disagreement_p90": float(high),
            "disagreement_asked": float(disagreements[chosen].mean()) if len(chosen) else math.nan,
        }

    def remember(self, asked: Iterable[Query]) -> None:
        """What has been asked about, for strategies that keep their distance from it."""
        rest = iter(asked)
        while some := list(islice(rest, _AT_ONCE)):
            sides = [
                self.reward.segment_summaries([getattr(q, side) for q in some])
                for side in ("left", "right")
            ]
            self._asked.extend(np.concatenate(sides, axis=1))
            self._know(some)

    def _know(self, queries: Sequence[Query]) -> None:
        if self.reuse:
            self._known.extend(side for query in queries for side in (query.left, query.right))

    def _candidates(self, n: int) -> Array:
        """Pairs by number; fewer than n where some were of the same."""
        pairs = draw_pairs(len(self.pool), n, self.rng)
        newest = np.array(self.pool.newest)
        recent = round(self.on_policy_share * n) if len(newest) > 1 else 0
        if recent:
            pairs[:recent] = newest[draw_pairs(len(newest), recent, self.rng)]
        again = round(self.reuse * (n - recent)) if self._known else 0
        if again:  # numbered after the pool's
            pairs[n - again :, 0] = len(self.pool) + self.rng.integers(len(self._known), size=again)
        return self._different(pairs) if recent or again else pairs

    def _judged(self, pairs: Array) -> Candidates:
        used, where = np.unique(pairs, return_inverse=True)
        segments = [self._segment(int(i)) for i in used]
        returns = self.reward.member_returns(segments)[:, where.reshape(pairs.shape)]
        features = self.reward.segment_summaries(segments)[where.reshape(pairs.shape)]
        asked = np.array(self._asked).reshape(-1, features[0].size)
        return Candidates(returns, features.reshape(len(pairs), -1), asked)

    def _different(self, pairs: Array) -> Array:
        """Without those that are there already, and those of a segment with itself.

        The newest segments are in the pool, and so may be those that were asked about before.
        """
        sides = np.array([id(self._segment(int(i))) for i in pairs.flat]).reshape(pairs.shape)
        sides.sort(axis=1)
        firsts = np.sort(np.unique(sides, axis=0, return_index=True)[1])
        different: Array = pairs[firsts[sides[firsts, 0] != sides[firsts, 1]]]
        return different

    def _segment(self, i: int) -> Segment:
        return self.pool[i] if i < len(self.pool) else self._known[i - len(self.pool)]

    def _queries(self, pairs: Array, disagreements: Array, step: int) -> list[Query]:
        return [
            Query(self._segment(int(left)), self._segment(int(right)), float(value), step)
            for (left, right), value in zip(pairs, disagreements, strict=True)
        ]
