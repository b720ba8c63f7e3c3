"""Names that users write: found in a table, or refused with the nearest one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from prefrl.types import PrefrlError

_FEW = 20
"""Names that an error lists at most."""


def nearest(name: str, known: Iterable[str], listed: str = "") -> str:
    """A remedy for a misspelt name: the nearest known one, or else all of them if they are few.

    Args:
      listed: where all names are listed, for when there are too many for a message.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not close:
        folded = {n.lower(): n for n in names}
        close = [
            folded[c] for c in difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
        ]
    if close:
        return f"did you mean {close[0]!r}?"
    if len(names) <= _FEW:
        return f"known: {', '.join(names)}"
    return f"none of the {len(names)} known names is similar{f'; {listed}' if listed else ''}"


def choose(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """An entry of one of the name tables (labelers, strategies, ...).

    Raises:
      PrefrlError: no such entry; the message names the nearest one.
    """
    if name not in table:
        raise PrefrlError(f"unknown {kind} {name!r}: {nearest(name, table)}")
    return table[name]
