"""The pool of recent segments."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.segments import SegmentPool
from prefrl.types import Segment


def numbers(pool: SegmentPool) -> list[int]:
    return [int(segment.obs[0, 0]) for segment in (pool[i] for i in range(len(pool)))]


@given(st.integers(1, 8), st.lists(st.integers(0, 10), max_size=10))
def test_it_holds_the_latest_and_no_more(
    segment_of: Callable[..., Segment], capacity: int, batches: list[int]
) -> None:
    pool, added = SegmentPool(capacity), 0
    for size in batches:
        pool.add([segment_of([[added + i]]) for i in range(size)])
        added += size
        assert len(pool) == min(added, capacity)
        assert set(numbers(pool)) == set(range(max(0, added - capacity), added))


def test_there_is_nothing_beyond_its_length(segment_of: Callable[..., Segment]) -> None:
    pool = SegmentPool(3)
    pool.add([segment_of([[0]])])
    with pytest.raises(IndexError):
        pool[1]


@given(st.integers(1, 8), st.lists(st.integers(0, 10), min_size=1, max_size=10))
def test_the_newest_are_those_that_came_last_together(
    segment_of: Callable[..., Segment], capacity: int, batches: list[int]
) -> None:
    pool, added = SegmentPool(capacity), 0
    for size in batches:
        pool.add([segment_of([[added + i]]) for i in range(size)])
        added += size
        newest = sorted(int(pool[i].obs[0, 0]) for i in pool.newest)
        assert newest == list(range(added - min(size, capacity), added))
