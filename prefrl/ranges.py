"""What a setting may be, written beside it: `share: Annotated[float, Range(0, 1)] = 0.5`."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

from prefrl.types import PrefrlError


@dataclasses.dataclass(frozen=True)
class Range:
    """A finite number of at least `low` and at most `high`."""

    low: float
    high: float = math.inf

    def check(self, name: str, value: float) -> None:
        """Refuse a number outside.

        Raises:
          PrefrlError: names the value and the range.
        """
        if self.low <= value <= self.high and math.isfinite(value):
            return
        low = f"{self.low:g}"
        wanted = f"at least {low}" if math.isinf(self.high) else f"{low} to {self.high:g}"
        raise PrefrlError(f"{name} = {value:g} is out of range: {wanted} is wanted")


class OneOf:
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def check(self, name: str, value: str) -> None:
        """Refuse another word.

        Raises:
          PrefrlError: names the value and the words.
        """
        if value not in self.words:
            raise PrefrlError(f"{name} = {value!r}: one of {', '.join(self.words)} is wanted")


def check_ranges(settings: Any, prefix: str = "") -> None:
    """Refuse what the fields of a dataclass, and of those in it, are not annotated to hold.

    A field that is None is not set.

    Raises:
      PrefrlError: names the field, its value and what is wanted.
    """
    for name, hint in typing.get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{prefix}{name}.")
        for wanted in getattr(hint, "__metadata__", ()):
            if isinstance(wanted, Range | OneOf) and value is not None:
                wanted.check(f"{prefix}{name}", value)
