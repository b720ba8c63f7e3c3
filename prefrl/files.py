"""Files that a reader finds whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which replaces it when the block ends.

    A reader of `path` finds the old content or the new one, even if the writer is killed. Where
    the block raises, `path` stays as it was, and nothing is left beside it.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
