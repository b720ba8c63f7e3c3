"""Which candidates are drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import default_rng

from prefrl.asking import Asker
from prefrl.queries import STRATEGIES
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.segments import SegmentPool
from prefrl.types import Segment


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_candidates_is_of_the_newest_batch(
    segment_of: Callable[..., Segment], ensemble_of: Callable[..., RewardEnsemble], share: float
) -> None:
    pool = SegmentPool(100)
    pool.add([segment_of(np.zeros((8, 3))) for _ in range(90)])
    pool.add([segment_of(np.ones((8, 3))) for _ in range(10)])
    asker = Asker(pool, ensemble_of(), STRATEGIES["uniform"], 10, default_rng(0), share)
    queries, row = asker.best(40, 0.0, step=2)
    assert row["candidates"] == 400 and len(queries) == 40
    new = np.mean([q.left.obs.all() and q.right.obs.all() for q in queries])
    assert new == pytest.approx(share + (1 - share) * 0.01, abs=0.2)
    assert all(q.left is not q.right for q in queries)
