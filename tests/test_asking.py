"""Which candidates are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng

from prefrl.asking import Asker
from prefrl.queries import STRATEGIES, Candidates
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.segments import SegmentPool
from prefrl.types import Array, Query, Segment


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_candidates_is_of_the_newest_batch(
    segment_of: Callable[..., Segment], ensemble_of: Callable[..., RewardEnsemble], share: float
) -> None:
    pool = SegmentPool(400)
    pool.add([segment_of(np.zeros((8, 3))) for _ in range(360)])
    pool.add([segment_of(np.ones((8, 3))) for _ in range(40)])
    asker = Asker(pool, ensemble_of(), STRATEGIES["uniform"], 10, default_rng(0), share)
    queries, row = asker.best(40, 0.0, step=2)
    assert 390 <= row["candidates"] <= 400 and len(queries) == 40
    new = np.mean([q.left.obs.all() and q.right.obs.all() for q in queries])
    assert new == pytest.approx(share + (1 - share) * 0.01, abs=0.2)
    assert all(q.left is not q.right for q in queries)


@pytest.mark.parametrize("how", [{"on_policy_share": 0.5}, {"reuse": 0.5}, {}])
def test_no_pair_is_asked_twice_in_a_batch(
    segment_of: Callable[..., Segment], ensemble_of: Callable[..., RewardEnsemble], how: Any
) -> None:
    """Nor a segment with itself: what was asked about before may still be in the pool."""
    pool = SegmentPool(60)
    pool.add([segment_of(np.full((8, 3), i)) for i in range(50)])
    pool.add([segment_of(np.full((8, 3), i)) for i in range(50, 60)])
    asker = Asker(pool, ensemble_of(), STRATEGIES["uniform"], 1, default_rng(0), **how)
    for step in range(20):
        queries, row = asker.best(80, 0.0, step)
        assert len(queries) == row["candidates"] > 40
        assert all(q.left is not q.right for q in queries)
        assert len({frozenset((id(q.left), id(q.right))) for q in queries}) == len(queries)


def test_where_no_two_segments_differ_nothing_is_asked(
    segment_of: Callable[..., Segment], ensemble_of: Callable[..., RewardEnsemble]
) -> None:
    """Few segments, of which most were asked about before: a draw may find none but those."""
    pool = SegmentPool(2)
    pool.add([segment_of(np.full((8, 3), i)) for i in range(2)])
    asker = Asker(pool, ensemble_of(), STRATEGIES["uniform"], 1, default_rng(0), reuse=1.0)
    asked = [asker.best(1, 0.0, step) for step in range(40)]
    assert any(queries for queries, _ in asked)
    assert ([], {}) in asked
    assert all(q.left is not q.right for queries, _ in asked for q in queries)


def test_a_distance_is_kept_from_the_latest_pairs(
    segment_of: Callable[..., Segment],
    ensemble_of: Callable[..., RewardEnsemble],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a question costs as much after ten thousand as after a thousand."""
    monkeypatch.setattr("prefrl.asking._ASKED", 20)
    met: list[Array] = []

    def first(candidates: Candidates, n: int, rng: np.random.Generator) -> Array:
        met.append(candidates.asked)
        return np.arange(n)

    pool = SegmentPool(100)
    pool.add([segment_of(np.full((8, 3), i)) for i in range(50)])
    asker = Asker(pool, ensemble_of(), first, 10, default_rng(0))
    asked = []
    for _ in range(4):
        queries, _ = asker.best(8, 0.0, step=2)
        sides = [
            asker.reward.segment_summaries([getattr(q, s) for q in queries])
            for s in ("left", "right")
        ]
        asked.extend(np.concatenate(sides, axis=1))
    assert [len(before) for before in met] == [0, 8, 16, 20]
    np.testing.assert_array_equal(met[-1], asked[4:24])


def test_what_was_asked_later_is_asked_about_again_too(
    segment_of: Callable[..., Segment], ensemble_of: Callable[..., RewardEnsemble]
) -> None:
    every = [segment_of(default_rng(seed).normal(size=(8, 3))) for seed in range(60)]
    old, new = every[:30], every[30:]
    pool = SegmentPool(30)
    pool.add(old)
    asker = Asker(pool, ensemble_of(), STRATEGIES["uniform"], 10, default_rng(0), reuse=0.5)
    asker.best(20, 0.0, step=1)
    pool.add(new)
    queries, _ = asker.best(40, 0.0, step=2)
    known = {id(segment) for segment in old}
    assert np.mean([id(query.left) in known for query in queries]) == pytest.approx(0.5, abs=0.2)


def test_what_was_asked_about_is_a_share_of_the_pairs_that_are_not_of_the_newest(
    segment_of: Callable[..., Segment], ensemble_of: Callable[..., RewardEnsemble]
) -> None:
    every = [segment_of(np.full((8, 3), i)) for i in range(300)]
    old, new = every[:200], every[200:]
    pool = SegmentPool(100)
    pool.add(new)
    shares = {"on_policy_share": 0.5, "reuse": 0.5}
    asker = Asker(pool, ensemble_of(), STRATEGIES["uniform"], 1, default_rng(0), **shares)
    asker.remember(Query(*old[i : i + 2]) for i in range(0, 200, 2))
    queries, _ = asker.best(400, 0.0, step=2)
    known = {id(segment) for segment in old}
    assert np.mean([id(query.left) in known for query in queries]) == pytest.approx(0.25, abs=0.02)
