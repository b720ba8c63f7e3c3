"""Pictures: segments drawn again, reward bars, films and a window."""

from prefrl.render.segments import SegmentRenderer

__all__ = ["SegmentRenderer"]
