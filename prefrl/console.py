"""Printing of plain text with rich."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, text: str) -> None:
    """Print text as it is: not wrapped, without colours or markup."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)
