"""Layout of the window, and what a click in it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pygame

from viewer.state import CHOICES, Action

MIN_TEXT = 18
"""Font size in pixels, also in a small window."""
DEFAULT_SIZE = (1120, 760)


@dataclass(frozen=True)
class Layout:
    """Places of everything in a window of one size, in pixels."""

    size: tuple[int, int]
    text: int
    header: pygame.Rect
    clips: tuple[pygame.Rect, pygame.Rect]
    bars: tuple[pygame.Rect, pygame.Rect]
    played: pygame.Rect
    buttons: Mapping[Action, pygame.Rect]
    footer: pygame.Rect


def layout(size: tuple[int, int], review: bool = False) -> Layout:
    """Layout of a window of (width, height) pixels."""
    width, height = size
    scale = min(width / DEFAULT_SIZE[0], height / DEFAULT_SIZE[1])
    text = max(MIN_TEXT, round(MIN_TEXT * scale))
    gap, line = text // 2, round(1.45 * text)
    header = pygame.Rect(2 * gap, gap, width - 4 * gap, round(3.6 * text) + line)
    footer = pygame.Rect(2 * gap, height - line - gap, width - 4 * gap, line)
    buttons_top = footer.top - round(2.2 * text) - gap
    played = pygame.Rect(2 * gap, buttons_top - 2 * gap, width - 4 * gap, gap)
    bar_height = 4 * text if review else 0
    bottom = played.top - gap - bar_height - (gap if review else 0)
    top = header.bottom + gap
    half = (width - 6 * gap) // 2
    lefts = (2 * gap, width - 2 * gap - half)
    clips = tuple(pygame.Rect(left, top, half, max(1, bottom - top)) for left in lefts)
    bars = tuple(pygame.Rect(left, bottom + gap, half, bar_height) for left in lefts)
    quarter = (width - 4 * gap - 3 * gap) // 4
    buttons = {
        action: pygame.Rect(2 * gap + i * (quarter + gap), buttons_top, quarter, round(2.2 * text))
        for i, action in enumerate(CHOICES)
    }
    return Layout(
        size, text, header, (clips[0], clips[1]), (bars[0], bars[1]), played, buttons, footer
    )


def hit(places: Layout, point: tuple[int, int]) -> Action | None:
    """Action of a click, or None."""
    for side, action in zip(places.clips, (Action.LEFT, Action.RIGHT), strict=True):
        if side.collidepoint(point):
            return action
    return next((a for a, place in places.buttons.items() if place.collidepoint(point)), None)
