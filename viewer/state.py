"""The viewer as a pure state machine: actions and a clock in, what to draw and to store out.

`press` takes an action, `tick` the passing of time, `present` a pair that is ready to be shown;
each returns the next state, the first two also the effects to perform (`Answer`, `Undo`, ...).
`view` says what to draw. Nothing here uses windows, stores or clocks.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from prefrl.types import Preference, Viewing

HOLD = 0.4
"""Seconds for which the last picture stays, marked by a border, before the clips start again."""
DEBOUNCE = 0.25
"""Seconds after a pair appears in which it cannot be answered: a double key press was meant for
the pair before."""
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
AWAY = 120.0
"""Seconds without an action after which a pair is given back: nobody is looking."""
BREAK = 30 * 60.0
"""Seconds of work after which a break is suggested."""
UNDOABLE = 20
"""Answers that can be undone, the latest ones."""
NOTE = 2.5
"""Seconds for which a note stays."""
GLOW = 0.6
"""Seconds for which the answer that was given stays marked, while the next pair begins."""


class Action(enum.Enum):
    """What a key, a button or a click means."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    INCOMPARABLE = "incomparable"
    PAUSE = "pause"
    REPLAY = "replay"
    SLOWER = "slower"
    FASTER = "faster"
    FRAME_BACK = "frame-back"
    FRAME_ON = "frame-on"
    SKIP = "skip"
    UNDO = "undo"
    LEGEND = "legend"
    FOCUS = "focus"
    CONFIRM = "confirm"
    NEXT = "next"
    PREVIOUS = "previous"
    LEAVE = "leave"


CHOICES = {
    Action.LEFT: Preference.LEFT,
    Action.TIE: Preference.TIE,
    Action.INCOMPARABLE: Preference.INCOMPARABLE,
    Action.RIGHT: Preference.RIGHT,
}
"""In the order in which the focus goes through them."""

Key: TypeAlias = int | str
"""Tells pairs apart: a query's number, or the name of a check."""


@dataclass(frozen=True)
class Pair:
    """What the state machine knows about a pair of clips.

    Attributes:
      pictures: how many the left and the right clip have.
      fps: pictures in a second, at speed 1.
      standing: in a review, the answer that was given, by the sides of the screen.
    """

    key: Key
    pictures: tuple[int, int]
    fps: float
    standing: Preference | None = None

    @property
    def seconds(self) -> float:
        """Length of the longer clip."""
        return max(self.pictures) / self.fps


@dataclass(frozen=True)
class Answer:
    """Store an answer; its sides are those of the screen, not those of the query."""

    key: Key
    preference: Preference
    viewing: Viewing


@dataclass(frozen=True)
class Undo:
    """Withdraw an answer and show its pair again."""

    key: Key


@dataclass(frozen=True)
class PutBack:
    """Make the pair that was on the screen the next one again."""

    key: Key


@dataclass(frozen=True)
class Skip:
    """Put a pair off."""

    key: Key


@dataclass(frozen=True)
class Release:
    """Give all pairs back: nobody is looking, and newer ones come when somebody is there."""


@dataclass(frozen=True)
class Page:
    """Show the next answered pair of a review (1), or the one before (-1)."""

    by: int


Effect: TypeAlias = Answer | Undo | PutBack | Skip | Release | Page


@dataclass(frozen=True)
class State:
    """State of the viewer.

    Attributes:
      pair: the one on the screen; None while none is ready.
      position: of the playhead, in seconds into the clips, the hold at their end included.
      reached: the furthest position so far.
      looked: seconds for which the pair has been visible.
      clock: time of the last update, in seconds.
      answered: pairs that an undo goes back to, latest last.
      given: the latest answer.
      acted_at: when somebody last did something.
      working_since: when somebody began to work without a longer pause.
    """

    clock: float = 0.0
    review: bool = False
    pair: Pair | None = None
    position: float = 0.0
    reached: float = 0.0
    looked: float = 0.0
    speed: float = 1.0
    paused: bool = False
    legend: bool = False
    away: bool = False
    leaving: bool = False
    focus: Action | None = None
    answered: tuple[Key, ...] = ()
    given: Preference | None = None
    given_at: float = 0.0
    acted_at: float = 0.0
    working_since: float = 0.0
    note: str = ""
    note_until: float = 0.0


Step: TypeAlias = tuple[State, Sequence[Effect]]


def begin(now: float, review: bool = False) -> State:
    """The first state."""
    return State(clock=now, acted_at=now, working_since=now, review=review)


def present(state: State, pair: Pair, now: float) -> State:
    """Show a pair from its start."""
    state = _to(state, now)
    return replace(
        state, pair=pair, position=0.0, reached=0.0, looked=0.0, paused=False, focus=None
    )


def tick(state: State, now: float) -> Step:
    """Let time pass; a pair that nobody looks at any more is given back."""
    state = _to(state, now)
    if state.review or state.away or now - state.acted_at < AWAY:
        return state, ()
    return replace(state, pair=None, away=True, legend=False, paused=False), (Release(),)


def press(state: State, action: Action, now: float) -> Step:
    """Apply an action."""
    state, gone = tick(state, now)
    if state.away:  # whatever it was, it was not about the next pair
        back = replace(state, away=False, acted_at=now, working_since=now)
        return replace(back, leaving=action is Action.LEAVE), gone
    state = replace(state, acted_at=now)
    if action is Action.LEAVE:
        return replace(state, leaving=not state.legend, legend=False), ()
    if state.legend or action is Action.LEGEND:
        return replace(state, legend=not state.legend), ()
    if action in (Action.UNDO, Action.PREVIOUS) and not state.review:
        return _undo(state)
    if state.review and action in _PAGES:
        return replace(state, pair=None), (Page(_PAGES[action]),)
    return (state, ()) if state.pair is None else _about(state, state.pair, action)


def noted(state: State, text: str, now: float) -> State:
    """The state with a note to show for a moment."""
    return replace(state, note=text, note_until=now + NOTE)


def forgotten(state: State, key: Key) -> State:
    """The state without an answer that could not be stored."""
    left = tuple(k for k in state.answered if k != key)
    return replace(state, pair=None, answered=left, given=None)


_PAGES = {
    Action.NEXT: 1,
    Action.SKIP: 1,
    Action.PREVIOUS: -1,
    Action.UNDO: -1,
}


def _about(state: State, pair: Pair, action: Action) -> Step:
    """Apply an action to the pair on the screen."""
    if action is Action.CONFIRM and state.focus is not None:
        action = state.focus
    if action in CHOICES:
        return _choose(state, pair, CHOICES[action])
    match action:
        case Action.SKIP | Action.NEXT:
            return replace(state, pair=None), (Skip(pair.key),)
        case Action.PAUSE:
            return replace(state, paused=not state.paused), ()
        case Action.REPLAY:
            return replace(state, position=0.0, paused=False), ()
        case Action.SLOWER | Action.FASTER:
            by = 1 if action is Action.FASTER else -1
            place = min(max(SPEEDS.index(state.speed) + by, 0), len(SPEEDS) - 1)
            return replace(state, speed=SPEEDS[place]), ()
        case Action.FRAME_ON | Action.FRAME_BACK:
            return _one_picture(state, pair, 1 if action is Action.FRAME_ON else -1), ()
        case Action.FOCUS:
            order = (None, *CHOICES)
            return replace(state, focus=order[(order.index(state.focus) + 1) % len(order)]), ()
    return state, ()


def _choose(state: State, pair: Pair, preference: Preference) -> Step:
    if state.looked < DEBOUNCE:
        return state, ()
    viewing = Viewing(seconds=state.looked, watched=min(1.0, state.reached / pair.seconds))
    answer = Answer(pair.key, preference, viewing)
    if state.review:
        if preference is pair.standing:
            return state, ()
        return replace(state, pair=replace(pair, standing=preference)), (answer,)
    answered = (*state.answered, pair.key)[-UNDOABLE:]
    given = replace(state, given=preference, given_at=state.clock)
    return replace(given, pair=None, answered=answered), (answer,)


def _undo(state: State) -> Step:
    if not state.answered:
        return noted(state, "there is no answer to undo", state.clock), ()
    *rest, key = state.answered
    shown = () if state.pair is None else (PutBack(state.pair.key),)
    state = noted(state, "that answer is taken back: choose again", state.clock)
    return replace(state, pair=None, answered=tuple(rest), given=None), (*shown, Undo(key))


def _one_picture(state: State, pair: Pair, by: int) -> State:
    """Pause on the next or previous picture; after the last comes the first."""
    picture = (_picture(state.position, pair) + by) % max(pair.pictures)
    position = (picture + 0.5) / pair.fps  # its middle: no rounding puts it in the one before
    return replace(state, paused=True, position=position, reached=max(state.reached, position))


def _to(state: State, now: float) -> State:
    """The state at a later time."""
    passed = max(0.0, now - state.clock)
    state = replace(state, clock=max(now, state.clock))
    if state.pair is None or state.legend:
        return state
    looked = state.looked + passed
    if state.paused:
        return replace(state, looked=looked)
    played = state.position + passed * state.speed
    return replace(
        state,
        looked=looked,
        reached=max(state.reached, played),
        position=played % (state.pair.seconds + HOLD),
    )


@dataclass(frozen=True)
class View:
    """What to draw; equal views need no redraw.

    Attributes:
      key: of the pair; None where there is none.
      pictures: of the left and the right clip, counted from 0; the shorter one stays at its last.
      played: share of the clips that has been played, in [0, 1].
      flash: the border that marks the end of the clips.
      given: the answer that has just been given to the pair before.
      break_due: a break is suggested.
    """

    key: Key | None
    pictures: tuple[int, int]
    played: float
    flash: bool
    speed: float
    paused: bool
    legend: bool
    away: bool
    review: bool
    focus: Action | None
    standing: Preference | None
    given: Preference | None
    break_due: bool
    note: str


def view(state: State) -> View:
    """What to draw at the state's time."""
    pair = state.pair
    picture = 0 if pair is None else _picture(state.position, pair)
    longest = 1 if pair is None else max(pair.pictures)
    sizes = (1, 1) if pair is None else pair.pictures
    return View(
        key=None if pair is None else pair.key,
        pictures=(min(picture, sizes[0] - 1), min(picture, sizes[1] - 1)),
        played=(picture + 1) / longest if pair else 0.0,
        flash=pair is not None and state.position >= pair.seconds,
        speed=state.speed,
        paused=state.paused,
        legend=state.legend,
        away=state.away,
        review=state.review,
        focus=state.focus,
        standing=None if pair is None else pair.standing,
        given=state.given if state.clock < state.given_at + GLOW else None,
        break_due=state.clock - state.working_since >= BREAK,
        note=state.note if state.clock < state.note_until else "",
    )


def next_change(state: State) -> float:
    """Seconds until `view` may change by itself, at most one."""
    if state.pair is None or state.paused or state.legend:
        return 1.0
    until = (int(state.position * state.pair.fps) + 1) / state.pair.fps - state.position
    return min(1.0, max(0.001, until / state.speed))


def _picture(position: float, pair: Pair) -> int:
    """Picture of the longer clip at a position, counted from 0."""
    return min(int(position * pair.fps + 1e-6), max(pair.pictures) - 1)
