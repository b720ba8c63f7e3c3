"""Drawing of the window: a pure function of the view, the clips and the window's texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pygame

from prefrl.types import Array, Preference
from viewer.keys import shown
from viewer.layout import Layout, layout
from viewer.state import CHOICES, Action, View
from viewer.text import Colour, cut, font_of, wrapped, write

Bars: TypeAlias = tuple[float, ...]
PAPER: Colour = (24, 26, 31)
PANEL: Colour = (38, 41, 49)
INK: Colour = (240, 240, 240)
MUTED: Colour = (170, 176, 188)
FOCUS: Colour = (255, 255, 255)
# Colour-blind people can tell these two apart (Okabe and Ito 2008).
BLUE: Colour = (86, 180, 233)
ORANGE: Colour = (230, 159, 0)

ACTION_WORDS: Mapping[Action, str] = {
    Action.LEFT: "left is better",
    Action.RIGHT: "right is better",
    Action.TIE: "tie",
    Action.INCOMPARABLE: "can't tell",
    Action.PAUSE: "pause, go on",
    Action.REPLAY: "from the start",
    Action.SLOWER: "slower",
    Action.FASTER: "faster",
    Action.FRAME_BACK: "a picture back",
    Action.FRAME_ON: "a picture on",
    Action.SKIP: "skip this pair",
    Action.UNDO: "undo an answer",
    Action.LEGEND: "these keys",
    Action.FOCUS: "to the next answer",
    Action.CONFIRM: "give that answer",
    Action.NEXT: "next pair",
    Action.PREVIOUS: "previous pair",
    Action.LEAVE: "leave, all is saved",
}
ANSWER_WORDS = {
    Preference.LEFT: "left",
    Preference.RIGHT: "right",
    Preference.TIE: "tie",
    Preference.INCOMPARABLE: "can't tell",
}
GIVEN = "\u2713"
"""Marks the standing answer in a review, and an answer that has just been given."""
_MAX_LINES = 3  # of the instruction


@dataclass(frozen=True)
class WindowText:
    """The texts of the window.

    Attributes:
      instruction: what to choose by.
      status: labels so far, and how many an hour.
      trainer: what the trainer is doing.
      waiting: why there is no pair.
      bars: of a review, the predicted reward of each picture of both clips, in [-1, 1].
    """

    instruction: str
    status: str = ""
    trainer: str = ""
    waiting: str = ""
    bars: tuple[Bars, Bars] | None = None


def draw(
    surface: pygame.Surface,
    view: View,
    pictures: tuple[Array, Array] | None,
    words: WindowText,
    keys: Mapping[str, Action],
) -> None:
    """Draw the whole window.

    Args:
      pictures: of the left and the right clip, (H, W, 3) uint8; None where there is no pair.
      keys: the action of each key.
    """
    places = layout(surface.get_size(), view.review)
    surface.fill(PAPER)
    _header(surface, places, view, words)
    if pictures is None:
        _middle(surface, places, _waiting(view, words))
    else:
        _clips(surface, places, view, pictures)
        _played(surface, places, view)
        if words.bars is not None:
            _bars(surface, places, view, words.bars)
    _buttons(surface, places, view, keys, pictures is not None)
    _footer(surface, places, view, keys)
    if view.paused and not view.legend and pictures is not None:
        _badge(surface, places, "paused")
    if view.legend:
        _legend(surface, places, keys, view.review)


def _header(surface: pygame.Surface, places: Layout, view: View, words: WindowText) -> None:
    box = places.header
    size = round(1.25 * places.text)
    lines = wrapped(words.instruction, size, box.width)
    if len(lines) > 2:
        size = places.text
        lines = wrapped(words.instruction, size, box.width)
        last = " ".join(lines[_MAX_LINES - 1 :])
        lines = [*lines[: _MAX_LINES - 1], cut(last, size, box.width, bold=True)]
    y = box.top
    for line in lines:
        y += write(surface, line, size, INK, (box.centerx, y), "midtop", bold=True)
    rest = box.bottom - round(1.45 * places.text)
    write(surface, words.status, places.text, INK, (box.left, rest), "topleft")
    note = "half an hour of work: time for a break" if view.break_due else words.trainer
    colour = ORANGE if view.break_due else MUTED
    room = box.width - font_of(places.text, False).size(words.status + "  ")[0]
    write(surface, cut(note, places.text, room), places.text, colour, (box.right, rest), "topright")


def _clips(
    surface: pygame.Surface, places: Layout, view: View, pictures: tuple[Array, Array]
) -> None:
    sides = (Action.LEFT, Action.RIGHT)
    for box, picture, colour, side in zip(
        places.clips, pictures, (BLUE, ORANGE), sides, strict=True
    ):
        inner = _letterboxed(box.inflate(-12, -12), picture.shape[1], picture.shape[0])
        image = pygame.image.frombuffer(picture.data, picture.shape[1::-1], "RGB")
        surface.blit(_scaled(image, inner.size), inner)
        chosen = view.standing is not None and CHOICES[side] is view.standing
        thick = 6 if view.flash or chosen or view.focus is side else 3
        edge = FOCUS if view.focus is side else colour
        pygame.draw.rect(surface, edge, inner.inflate(12, 12), thick, border_radius=6)
        _shape(surface, side, (inner.left + places.text, inner.top + places.text), places.text)


def _played(surface: pygame.Surface, places: Layout, view: View) -> None:
    """Progress bar: how much of the clips has been played."""
    pygame.draw.rect(surface, PANEL, places.played, border_radius=4)
    done = places.played.copy()
    done.width = round(places.played.width * view.played)
    pygame.draw.rect(surface, MUTED, done, border_radius=4)


def _bars(surface: pygame.Surface, places: Layout, view: View, bars: tuple[Bars, Bars]) -> None:
    """Predicted reward of each picture, upward where positive; that of the shown picture bright."""
    for box, rewards, at, colour in zip(
        places.bars, bars, view.pictures, (BLUE, ORANGE), strict=True
    ):
        pygame.draw.rect(surface, PANEL, box)
        wide = box.width / len(rewards)
        for i, value in enumerate(rewards):
            reach = round(value * (box.height / 2 - 2))
            left = box.left + round(i * wide)
            right = max(left + 1, box.left + round((i + 1) * wide) - 1)
            top = box.centery - max(reach, 0)
            bar = pygame.Rect(left, top, right - left, max(1, abs(reach)))
            pygame.draw.rect(surface, INK if i == at else colour, bar)
        pygame.draw.line(surface, MUTED, box.midleft, box.midright)


def _buttons(
    surface: pygame.Surface,
    places: Layout,
    view: View,
    keys: Mapping[str, Action],
    ready: bool,
) -> None:
    for action, box in places.buttons.items():
        chosen = CHOICES[action] in (view.standing, view.given)
        pygame.draw.rect(surface, PANEL, box, border_radius=8)
        if chosen or view.focus is action:
            edge = FOCUS if view.focus is action else _colour(action)
            pygame.draw.rect(surface, edge, box, 3, border_radius=8)
        key = _keys_of(keys, action)
        text = f"{GIVEN if chosen else key}  {ANSWER_WORDS[CHOICES[action]]}"
        width = font_of(places.text, False).size(text)[0]
        x = box.centerx - width // 2 + places.text // 2
        _shape(surface, action, (x - places.text, box.centery), places.text)
        colour = INK if ready else MUTED
        write(surface, text, places.text, colour, (x, box.centery), "midleft")


def _footer(
    surface: pygame.Surface, places: Layout, view: View, keys: Mapping[str, Action]
) -> None:
    box = places.footer
    speed = "" if view.speed == 1 else f"speed {view.speed:g}\u00d7"
    left = view.note or speed
    write(surface, left, places.text, INK if view.note else MUTED, box.topleft, "topleft")
    actions = (Action.PREVIOUS, Action.NEXT) if view.review else (Action.UNDO, Action.SKIP)
    short = {Action.UNDO: "undo", Action.SKIP: "skip", Action.NEXT: "next"}
    short |= {Action.PREVIOUS: "previous", Action.LEGEND: "keys", Action.LEAVE: "leave"}
    hints = [
        f"{_keys_of(keys, action)} {short[action]}"
        for action in (*actions, Action.LEGEND, Action.LEAVE)
    ]
    write(surface, "   ".join(hints), places.text, MUTED, box.topright, "topright")


def _legend(
    surface: pygame.Surface, places: Layout, keys: Mapping[str, Action], review: bool
) -> None:
    """All keys, in two columns over the dimmed window."""
    _dim(surface)
    text, line = places.text, round(1.5 * places.text)
    rows = _legend_rows(keys, review)
    half = -(-len(rows) // 2)
    columns = [rows[:half], rows[half:]]
    bold, plain = font_of(text, True), font_of(text, False)
    of_keys = [max(bold.size(key)[0] for key, _ in column) + text for column in columns]
    of_words = [max(plain.size(words)[0] for _, words in column) + text for column in columns]
    panel = pygame.Rect(0, 0, sum(of_keys + of_words) + text, line * (half + 3))
    panel.width = min(panel.width, places.size[0])
    panel.center = (places.size[0] // 2, places.size[1] // 2)
    pygame.draw.rect(surface, PANEL, panel, border_radius=10)
    x = panel.left + text
    for column, key_width, words_width in zip(columns, of_keys, of_words, strict=True):
        for i, (key, words) in enumerate(column):
            y = panel.top + line // 2 + i * line
            write(surface, key, text, BLUE, (x, y), "topleft", bold=True)
            words = cut(words, text, panel.right - x - key_width)
            write(surface, words, text, INK, (x + key_width, y), "topleft")
        x += key_width + words_width
    closing = "a click on a clip chooses it; any key closes this"
    write(surface, closing, text, MUTED, (panel.centerx, panel.bottom - line // 2), "midbottom")


def _legend_rows(keys: Mapping[str, Action], review: bool) -> list[tuple[str, str]]:
    """Keys and what they do: skip and undo while labeling, the same keys page through a review."""
    labelling = {Action.NEXT: Action.SKIP, Action.PREVIOUS: Action.UNDO}
    paging = {Action.SKIP: Action.NEXT, Action.UNDO: Action.PREVIOUS}
    same = paging if review else labelling
    meant = {shown(key): same.get(action, action) for key, action in keys.items()}
    return [
        ("  ".join(key for key, a in meant.items() if a is action), ACTION_WORDS[action])
        for action in Action
        if action in meant.values()
    ]


def _waiting(view: View, words: WindowText) -> Sequence[str]:
    if view.away:
        return ("Nobody seems to be here.", "Press any key for clips of the newest agent.")
    return tuple(words.waiting.splitlines())


def _middle(surface: pygame.Surface, places: Layout, lines: Sequence[str]) -> None:
    area = places.clips[0].union(places.clips[1])
    size = round(1.25 * places.text)
    line = round(1.6 * size)
    y = area.centery - line * len(lines) // 2
    for i, text in enumerate(lines):
        colour = INK if i == 0 else MUTED
        text = cut(text, size, area.width)
        write(surface, text, size, colour, (area.centerx, y + i * line), "midtop")


def _badge(surface: pygame.Surface, places: Layout, text: str) -> None:
    """A word at the bottom of the clips, between them."""
    size = round(1.25 * places.text)
    area = places.clips[0].union(places.clips[1])
    box = pygame.Rect((0, 0), font_of(size, True).size(text)).inflate(2 * size, size // 2)
    box.midbottom = area.midbottom
    pygame.draw.rect(surface, PANEL, box, border_radius=8)
    pygame.draw.rect(surface, INK, box, 2, border_radius=8)
    write(surface, text, size, INK, box.center, "center", bold=True)


def _dim(surface: pygame.Surface) -> None:
    veil = pygame.Surface(surface.get_size())
    veil.set_alpha(170)
    surface.blit(veil, (0, 0))


def _shape(surface: pygame.Surface, action: Action, at: tuple[int, int], size: int) -> None:
    """Each answer's own shape: a disc left, a square right, two bars for a tie, a ring."""
    x, y, r = at[0], at[1], round(0.42 * size)
    colour = _colour(action)
    match action:
        case Action.LEFT:
            pygame.draw.circle(surface, colour, (x, y), r)
        case Action.RIGHT:
            pygame.draw.rect(surface, colour, (x - r, y - r, 2 * r, 2 * r))
        case Action.TIE:
            for dy in (-r // 2, r // 2):
                pygame.draw.line(surface, colour, (x - r, y + dy), (x + r, y + dy), 3)
        case _:
            pygame.draw.circle(surface, colour, (x, y), r, 3)


def _colour(action: Action) -> Colour:
    return {Action.LEFT: BLUE, Action.RIGHT: ORANGE}.get(action, MUTED)


def _keys_of(keys: Mapping[str, Action], action: Action) -> str:
    """The first key of an action."""
    return next((shown(key) for key, meant in keys.items() if meant is action), "")


def _letterboxed(box: pygame.Rect, width: int, height: int) -> pygame.Rect:
    """The largest rectangle of a picture's aspect ratio inside a box, centred."""
    factor = min(box.width / width, box.height / height)
    inner = pygame.Rect(0, 0, max(1, round(width * factor)), max(1, round(height * factor)))
    inner.center = box.center
    return inner


def _scaled(image: pygame.Surface, size: tuple[int, int]) -> pygame.Surface:
    """A picture in another size: an enlarged one keeps its pixels, others are smoothed."""
    if image.get_size() == size:
        return image
    coarse = size[0] >= 2 * image.get_width()
    return (pygame.transform.scale if coarse else pygame.transform.smoothscale)(image, size)
