"""Actions of keys and gamepad buttons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefrl.names import nearest
from prefrl.types import PrefrlError
from viewer.state import Action

KEYS: Mapping[Action, tuple[str, ...]] = {
    Action.LEFT: ("left",),
    Action.RIGHT: ("right",),
    Action.TIE: ("up",),
    Action.INCOMPARABLE: ("down",),
    Action.PAUSE: ("space",),
    Action.REPLAY: ("r",),
    Action.SLOWER: ("[",),
    Action.FASTER: ("]",),
    Action.FRAME_BACK: (",",),
    Action.FRAME_ON: (".",),
    Action.SKIP: ("s",),
    Action.UNDO: ("u", "backspace"),
    Action.LEGEND: ("?", "f1"),
    Action.FOCUS: ("tab",),
    Action.CONFIRM: ("return",),
    Action.NEXT: ("page down",),
    Action.PREVIOUS: ("page up",),
    Action.LEAVE: ("escape",),
}
"""Characters as typed, on any keyboard, or names of keys that type none."""

BUTTONS: Mapping[int, Action] = {
    0: Action.REPLAY,
    1: Action.UNDO,
    2: Action.SKIP,
    3: Action.LEGEND,
    4: Action.SLOWER,
    5: Action.FASTER,
    6: Action.LEAVE,
    7: Action.PAUSE,
}
"""Actions of a gamepad's buttons, numbered as SDL numbers those of an Xbox controller."""
HAT: Mapping[tuple[int, int], Action] = {
    (-1, 0): Action.LEFT,
    (1, 0): Action.RIGHT,
    (0, 1): Action.TIE,
    (0, -1): Action.INCOMPARABLE,
}
"""Actions of its directional pad, (x, y)."""

KEY_NAMES = frozenset(
    [name for names in KEYS.values() for name in names if len(name) > 1]
    + [f"f{n}" for n in range(1, 13)]
    + ["home", "end", "insert", "delete", "enter"]
    + [f"[{n}]" for n in range(10)]
)
"""Names of keys that type no character; [0] to [9] are those of the number pad."""


def bindings(own: Mapping[str, Any]) -> Mapping[str, Action]:
    """The action of each key.

    Args:
      own: by the name of an action, its key or list of keys in place of the default ones.
    Raises:
      PrefrlError: no such action or key, or one key for two actions.
    """
    actions = {action.value: action for action in Action}
    keys = dict(KEYS)
    for name, value in own.items():
        if name not in actions:
            raise PrefrlError(f"viewer.keys.{name}: no such action, {nearest(name, actions)}")
        keys[actions[name]] = _names(name, value)
    found: dict[str, Action] = {}
    for action, names in keys.items():
        for name in map(str.lower, names):
            if len(name) != 1 and name not in KEY_NAMES:
                remedy = nearest(name, KEY_NAMES)
                raise PrefrlError(f"viewer.keys.{action.value} = {name!r}: no such key, {remedy}")
            if found.get(name, action) is not action:
                raise PrefrlError(
                    f"viewer.keys: {name!r} is the key of {found[name].value} and of "
                    f"{action.value}: give one of them another"
                )
            found[name] = action
    return found


def _names(action: str, value: Any) -> tuple[str, ...]:
    """Keys of an action, of which the configuration gives one or a list."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise PrefrlError(
            f'viewer.keys.{action} = {value!r}: write a key, "t", or a list of them, ["t", "up"]'
        )
    return tuple(names)


def shown(name: str) -> str:
    """A key as the legend writes it."""
    return _SHOWN.get(name, name.upper() if len(name) == 1 else name.capitalize())


_SHOWN = {
    "left": "\u2190",
    "right": "\u2192",
    "up": "\u2191",
    "down": "\u2193",
    "escape": "Esc",
    "page up": "PgUp",
    "page down": "PgDn",
}
