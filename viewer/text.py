"""Text in the window: drawn, wrapped, and shortened where it does not fit."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TypeAlias

import matplotlib
import pygame

Colour: TypeAlias = tuple[int, int, int]
_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
"""DejaVu has arrows; pygame's own font has none."""


def begin() -> None:
    """Initialise fonts; those of an earlier window are invalid once pygame has quit."""
    pygame.font.init()
    font_of.cache_clear()
    _rendered.cache_clear()


@functools.lru_cache(maxsize=64)
def font_of(size: int, bold: bool) -> pygame.font.Font:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return pygame.font.Font(str(_FONTS / name), size)


@functools.lru_cache(maxsize=256)
def _rendered(text: str, size: int, colour: Colour, bold: bool) -> pygame.Surface:
    return font_of(size, bold).render(text, True, colour)


def write(
    surface: pygame.Surface,
    text: str,
    size: int,
    colour: Colour,
    at: tuple[int, int],
    corner: str,
    bold: bool = False,
) -> int:
    """Draw text with one of its corners at a point; returns the height of a line."""
    image = _rendered(text, size, colour, bold)
    surface.blit(image, image.get_rect(**{corner: at}))
    return image.get_height()


def wrapped(text: str, size: int, width: int) -> list[str]:
    """Bold text in lines of at most `width` pixels."""
    lines, rest = list[str](), text.split()
    font = font_of(size, True)
    while rest:
        n = 1
        while n < len(rest) and font.size(" ".join(rest[: n + 1]))[0] <= width:
            n += 1
        lines.append(" ".join(rest[:n]))
        rest = rest[n:]
    return lines


def cut(text: str, size: int, width: int, bold: bool = False) -> str:
    """Text, shortened with an ellipsis where it is wider than `width` pixels."""
    font = font_of(size, bold)
    if font.size(text)[0] <= width:
        return text
    while text and font.size(text + "\u2026")[0] > width:
        text = text[:-1]
    return text.rstrip() + "\u2026"
