"""The window: pygame's events in, pictures out; everything between is `state` and a controller."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import pygame

from viewer import text
from viewer.draw import WindowText, draw
from viewer.keys import BUTTONS, HAT
from viewer.layout import DEFAULT_SIZE, hit, layout
from viewer.session import Controller, perform_all
from viewer.state import (
    Action,
    Answer,
    Effect,
    State,
    View,
    begin,
    next_change,
    present,
    press,
    tick,
    view,
)

_MAX_WAIT = 0.25
"""Seconds until the controller's texts are read again, where no event comes."""
_MAX_WAIT_FOR_PAIR = 0.01
"""The same while there is no pair on the screen."""

# A new window leaves the keyboard to the one that somebody is typing in.
os.environ.setdefault("SDL_WINDOW_NO_ACTIVATION_WHEN_SHOWN", "1")


class Window:
    """Shows a person pairs of clips, and passes on what they decide.

    Args:
      controller: gives pairs, and carries out the person's decisions.
      keys: the action of each key, see `viewer.keys.bindings`.
      review: page through answers instead of giving them.
    Attributes:
      waits: seconds from each answer to the next pair on the screen.
    """

    def __init__(
        self,
        controller: Controller,
        keys: Mapping[str, Action],
        review: bool = False,
    ) -> None:
        self._controller, self._keys, self._clock = controller, keys, time.monotonic
        self._state = begin(self._clock(), review)
        self._screen = pygame.display.set_mode(DEFAULT_SIZE, pygame.RESIZABLE)
        self._drawn: tuple[View, WindowText, tuple[int, int]] | None = None
        self._answered_at: float | None = None
        self._ended = False
        self._joysticks: list[pygame.joystick.JoystickType] = []
        self.waits: list[float] = []
        pygame.key.set_repeat()  # a key that is held down counts once
        text.begin()
        pygame.joystick.init()

    def show(self) -> None:
        """Run until the person leaves."""
        with _leaving_on_sigterm(self._leave):
            while not (self._state.leaving or self._ended):
                self.turn()

    def turn(self) -> None:
        """Wait for events, handle them and redraw."""
        for event in self._events():
            action = self._action(event)
            if action is not None:
                self._do(*press(self._state, action, self._clock()))
        self._do(*tick(self._state, self._clock()))
        self._next_pair()
        self._draw()

    def _leave(self) -> None:
        """Set a flag of its own: a signal may come while the state is being replaced."""
        self._ended = True

    def _events(self) -> Iterator[pygame.event.Event]:
        waiting = self._state.pair is None and not self._state.away
        max_wait = _MAX_WAIT_FOR_PAIR if waiting else _MAX_WAIT
        seconds = min(next_change(self._state), max_wait)
        first = pygame.event.wait(max(1, round(1000 * seconds)))
        yield first
        yield from pygame.event.get()

    def _action(self, event: pygame.event.Event) -> Action | None:
        match event.type:
            case pygame.QUIT:
                return Action.LEAVE
            case pygame.WINDOWEXPOSED | pygame.WINDOWSIZECHANGED:
                self._drawn = None
            case pygame.JOYDEVICEADDED:
                self._joysticks.append(pygame.joystick.Joystick(event.device_index))
            case pygame.JOYBUTTONDOWN:
                return BUTTONS.get(event.button)
            case pygame.JOYHATMOTION:
                return HAT.get(event.value)
            case pygame.KEYDOWN:
                return self._of_key(event)
            case pygame.MOUSEBUTTONDOWN if event.button == 1:
                if self._state.legend:
                    return Action.LEGEND
                return hit(layout(self._screen.get_size(), self._state.review), event.pos)
        return None

    def _of_key(self, event: pygame.event.Event) -> Action | None:
        """Action of a typed character, on any keyboard, or of a key that types none by its name."""
        typed = self._keys.get(event.unicode.lower()) if event.unicode.isprintable() else None
        meant = typed or self._keys.get(pygame.key.name(event.key))
        if meant is None and (self._state.away or self._state.legend):
            modifier = pygame.key.name(event.key).split()[-1] in ("shift", "ctrl", "alt", "meta")
            return None if modifier else Action.LEGEND if self._state.legend else Action.FOCUS
        return meant

    def _do(self, state: State, effects: Sequence[Effect]) -> None:
        if any(isinstance(effect, Answer) for effect in effects) and not state.review:
            self._answered_at = self._clock()
        self._state = perform_all(self._controller, state, effects, self._clock())

    def _next_pair(self) -> None:
        if self._state.pair is None and not self._state.away and not self._state.leaving:
            pair = self._controller.next_pair()
            if pair is not None:
                self._state = present(self._state, pair, self._clock())

    def _draw(self) -> None:
        """Redraw where something has changed."""
        now, words = view(self._state), self._controller.window_text()
        current = now, words, self._screen.get_size()
        if current == self._drawn:
            return
        self._screen = pygame.display.get_surface() or self._screen
        pictures = None if now.key is None else self._controller.pictures(now.pictures)
        draw(self._screen, now, pictures, words, self._keys)
        pygame.display.flip()
        self._drawn = current
        if self._answered_at is not None and now.key is not None:
            self.waits.append(self._clock() - self._answered_at)
            self._answered_at = None


@contextmanager
def _leaving_on_sigterm(leave: Callable[[], None]) -> Iterator[None]:
    """SIGTERM closes the window as the Escape key does."""

    def handle(number: int, frame: FrameType | None) -> None:
        leave()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
