"""Names that users write: found in a table, or refused with the nearest one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from prefrl.types import PrefrlError


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for a misspelt name: the nearest known one, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not close:
        folded = {n.lower(): n for n in names}
        close = [
            folded[c] for c in difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
        ]
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def choose(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """An entry of one of the name tables (labelers, strategies, ...).

    Raises:
      PrefrlError: no such entry; the message names the nearest one.
    """
    if name not in table:
        raise PrefrlError(f"unknown {kind} {name!r}: {nearest(name, table)}")
    return table[name]
