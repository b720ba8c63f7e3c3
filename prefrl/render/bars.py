"""Reward as a moving bar beside the picture, as in the Atari clips of OpenAI's article."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from prefrl.types import Array

BLUE, ORANGE = (0, 114, 178), (230, 159, 0)  # colour-blind people can tell them apart
_INK, _PAPER, _LINE = (40, 40, 40), (255, 255, 255), (170, 170, 170)
_MIN_SIDE = 320  # pixels; below it the labels would be larger than the picture
_COLUMN, _BAR = 84, 30  # widths
_MARGIN, _TEXT = 26, 0.45
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Bar:
    """One bar: from zero in the middle up to `limit` at the top, down to -limit at the bottom."""

    label: str
    value: float
    limit: float
    colour: tuple[int, int, int]


def with_reward_bars(
    frames: Iterable[Array], predicted: Array, true: Array | None = None
) -> Iterator[Array]:
    """Frames with the reward of each step beside them, scaled to the clip's range.

    Args:
      frames: (H, W, 3) uint8 each.
      predicted: reward of each frame, (T,).
      true: reward by the environment, (T,); None where it is unknown.
    Yields:
      (H', W', 3) uint8; a small picture is enlarged first, in whole pixels.
    """
    top, top_true = limit_of(predicted), 1.0 if true is None else limit_of(true)
    for t, frame in enumerate(frames):
        bars = reward_bars(predicted[t], top, None if true is None else true[t], top_true)
        yield draw_bars(frame, bars)


def reward_bars(predicted: float, top: float, true: float | None, top_true: float) -> list[Bar]:
    """The predicted reward, in blue, and the true one in orange where it is known."""
    bars = [Bar("predicted", float(predicted), top, BLUE)]
    return bars if true is None else [*bars, Bar("true", float(true), top_true, ORANGE)]


def limit_of(rewards: Array) -> float:
    """The largest absolute reward; 1 where all are zero."""
    return float(np.abs(rewards).max(initial=0.0)) or 1.0


def draw_bars(frame: Array, bars: Sequence[Bar], columns: int = 0) -> Array:
    """A frame with bars to its right.

    Args:
      frame: (H, W, 3) uint8.
      columns: number of bars to leave room for, where fewer are drawn.
    Returns:
      (H', W', 3) uint8.
    """
    picture = enlarged(frame)
    panel = np.full((len(picture), _COLUMN * max(columns, len(bars)), 3), _PAPER, np.uint8)
    panel[:, 0] = _LINE
    for i, bar in enumerate(bars):
        _draw(panel, i * _COLUMN + _COLUMN // 2, bar)
    return np.concatenate([picture, panel], axis=1)


def enlarged(frame: Array) -> Array:
    """A small picture enlarged in whole pixels; another one as it is."""
    factor = -(-_MIN_SIDE // max(frame.shape[:2]))
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


def _draw(panel: Array, x: int, bar: Bar) -> None:
    """One bar around column `x`: frame, scale, label."""
    top, bottom = _MARGIN, len(panel) - 1 - 2 * _MARGIN
    middle, reach = (top + bottom) // 2, (bottom - top) // 2
    left, right = x - _BAR // 2, x + _BAR // 2
    length = round(float(np.clip(bar.value / bar.limit, -1, 1)) * reach)
    cv2.rectangle(panel, (left, middle - reach), (right, middle + reach), _LINE)
    cv2.rectangle(panel, (left, middle), (right, middle - length), bar.colour, cv2.FILLED)
    cv2.line(panel, (left - 8, middle), (right + 8, middle), _INK)
    _write(panel, f"{bar.limit:+.2g}", x, top - 8)
    _write(panel, f"{-bar.limit:+.2g}", x, bottom + 16)
    _write(panel, bar.label, x, bottom + 40)


def _write(panel: Array, text: str, x: int, y: int) -> None:
    """Text centred at `x`, its baseline at `y`."""
    (width, _), _ = cv2.getTextSize(text, _FONT, _TEXT, 1)
    cv2.putText(panel, text, (x - width // 2, y), _FONT, _TEXT, _INK, 1, cv2.LINE_AA)
