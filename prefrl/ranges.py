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
        low, high = _plain(self.low), _plain(self.high)
        bounds = f"at least {low}" if math.isinf(self.high) else f"from {low} to {high}"
        raise PrefrlError(f"{name} = {_plain(value)} is out of range: it must be {bounds}")


def _plain(number: float) -> str:
    """All digits of a number, without a point where it is whole."""
    whole = isinstance(number, float) and number.is_integer()
    return str(int(number) if whole else number)


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
            raise PrefrlError(f"{name} = {value!r}: it must be one of {', '.join(self.words)}")


def check_ranges(settings: Any, prefix: str = "") -> None:
    """Refuse values that break the `Range` or `OneOf` in the annotation of their field.

    Dataclasses inside are checked too. A field that is None is not set.

    Args:
      settings: a dataclass instance.
      prefix: put before field names in errors, such as "labels.".
    Raises:
      PrefrlError: names the field, its value and what it must be.
    """
    for name, hint in typing.get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{prefix}{name}.")
        for limit in getattr(hint, "__metadata__", ()):
            if isinstance(limit, Range | OneOf) and value is not None:
                limit.check(f"{prefix}{name}", value)
