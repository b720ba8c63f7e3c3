"""A window that shows the policy live, in real time, with reward bars."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
import pygame

from prefrl.render.bars import draw_bars, reward_bars
from prefrl.render.film import shrunk
from prefrl.render.play import Step
from prefrl.render.segments import SegmentRenderer, has_display
from prefrl.types import Array, PrefrlError

_HEADLESS = ("dummy", "offscreen")  # SDL's drivers that show nothing
_MAX_FPS = 60
_MAX_LEAP = 0.25  # seconds that are skipped at once where drawing is slow


class Playback:
    """Plays steps in real time, and draws the latest one.

    Where drawing is slower than the steps, it skips steps and keeps the pace.

    Args:
      steps: an endless iterator.
      max_side: longer side of the picture without its bars, in pixels, at most.
    """

    def __init__(self, steps: Iterator[Step], renderer: SegmentRenderer, max_side: int) -> None:
        self.paused = False
        self._steps, self._renderer, self._side = steps, renderer, max_side
        self._due = 1.0  # steps; the first one is shown at once
        self._top = self._top_true = 0.0

    def advance(self, seconds: float) -> Array | None:
        """Go on by `seconds`; returns the new picture, (H, W, 3) uint8, or None if none is due."""
        if self.paused:
            return None
        rate = self._renderer.fps
        self._due = min(self._due + seconds * rate, max(1.0, _MAX_LEAP * rate))
        n = math.floor(self._due)
        self._due -= n
        return self._draw([next(self._steps) for _ in range(n)]) if n else None

    def _draw(self, steps: list[Step]) -> Array:
        predicted = float(np.mean([step.predicted for step in steps]))
        true = float(np.mean([step.true for step in steps]))
        self._top = max(self._top, abs(predicted))
        self._top_true = max(self._top_true, abs(true))
        known = self._top_true > 0 and math.isfinite(true)  # unknown while all are zero
        bars = reward_bars(
            predicted, self._top or 1.0, true if known else None, self._top_true or 1.0
        )
        frame = shrunk(self._renderer.frame(steps[-1].render_state), self._side)
        return draw_bars(frame, bars, columns=2)


@contextmanager
def display(title: str, otherwise: str) -> Iterator[None]:
    """Open a display for a window.

    Args:
      otherwise: what else a person can do where there is no display.
    Raises:
      PrefrlError: there is none.
    """
    try:
        if not (has_display() and _opens()):
            raise PrefrlError(f"there is no display for a window: {_remedy()}, or {otherwise}")
        pygame.display.set_caption(title)
        yield
    finally:
        pygame.display.quit()


def _remedy() -> str:
    driver = os.environ.get("SDL_VIDEODRIVER")
    if driver in _HEADLESS and has_display():
        return f"SDL_VIDEODRIVER={driver} opens none, unset it"
    return "run this where DISPLAY or WAYLAND_DISPLAY names one (`ssh -X`, `xvfb-run`)"


def _opens() -> bool:
    try:
        pygame.display.init()
    except pygame.error:
        return False
    return pygame.display.get_driver() not in _HEADLESS


def show(playback: Playback) -> None:
    """Show pictures until Escape is pressed or the window is closed; Space pauses."""
    clock = pygame.time.Clock()
    screen: pygame.Surface | None = None
    while _goes_on(playback):
        picture = playback.advance(clock.tick(_MAX_FPS) / 1000)
        if picture is None:
            continue
        surface = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        screen = screen or pygame.display.set_mode(surface.get_size())
        screen.blit(surface, (0, 0))
        pygame.display.flip()


def _goes_on(playback: Playback) -> bool:
    for event in pygame.event.get():
        if event.type == pygame.QUIT or _is_key(event, pygame.K_ESCAPE):
            return False
        if _is_key(event, pygame.K_SPACE):
            playback.paused = not playback.paused
    return True


def _is_key(event: pygame.event.Event, key: int) -> bool:
    return event.type == pygame.KEYDOWN and event.key == key
