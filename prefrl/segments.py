"""The pool of recent segments that candidates are drawn from."""

from __future__ import annotations

from collections.abc import Sequence

from prefrl.types import Segment


class SegmentPool:
    """The latest segments, never more than its capacity.

    Args:
      capacity: segments kept; the oldest make room.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._segments: list[Segment] = []
        self._oldest = 0
        self._newest: list[int] = []

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, index: int) -> Segment:
        return self._segments[index]

    @property
    def newest(self) -> Sequence[int]:
        """Where the segments are that came last, together."""
        return self._newest

    def add(self, segments: Sequence[Segment]) -> None:
        """Take in new segments, replacing the oldest ones."""
        places = []
        for segment in segments:
            if len(self._segments) < self._capacity:
                places.append(len(self._segments))
                self._segments.append(segment)
            else:
                places.append(self._oldest)
                self._segments[self._oldest] = segment
                self._oldest = (self._oldest + 1) % self._capacity
        self._newest = places[-self._capacity :]
