"""Review of answered pairs, with the predicted reward of each picture."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prefrl.queries import preferences
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.store import AnswerRow, ComparisonStore
from prefrl.types import Array, Query
from viewer.clips import Clip, ClipProcess
from viewer.draw import ANSWER_WORDS, Bars, WindowText
from viewer.feed import ReadyPair
from viewer.session import of_clips, swap_sides
from viewer.state import Answer, Effect, Page, Pair

_AROUND = 1
"""Pages that are drawn ahead, on each side of the one on the screen."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A page with its clips."""

    shown: ReadyPair
    bars: tuple[Bars, Bars]
    p_left: float  # by the ensemble, of the clip on the screen's left


class ReviewController:
    """Pages through answers; a correction adds a row to the store and keeps the old one.

    Args:
      rows: the answers, in the order in which they are shown.
      reward: the run's.
      labeler: name stored with a correction.
    """

    def __init__(
        self,
        store: ComparisonStore,
        clips: ClipProcess,
        reward: RewardEnsemble,
        rows: Sequence[AnswerRow],
        labeler: str,
        instruction: str,
    ) -> None:
        self._store, self._labeler, self._instruction = store, labeler, instruction
        self._rows = list(rows)
        self._at = 0
        self._pages = _Pages(lambda i: self._drawn(i, clips, reward), len(self._rows))
        self._shown: _Drawn | None = None

    def next_pair(self) -> Pair | None:
        self._shown = self._pages.page(self._at)
        if self._shown is None:
            return None
        row = self._rows[self._at]
        standing = swap_sides(row.preference, row.swapped)
        return replace(self._shown.shown.pair, standing=standing)

    def pictures(self, at: tuple[int, int]) -> tuple[Array, Array] | None:
        return None if self._shown is None else of_clips(self._shown.shown.clips, at)

    def perform(self, effect: Effect) -> None:
        match effect:
            case Page(by):
                self._at = min(max(self._at + by, 0), len(self._rows) - 1)
                self._shown = None
            case Answer():
                row = self._rows[self._at]
                preference = swap_sides(effect.preference, row.swapped)
                viewing = replace(effect.viewing, swapped=row.swapped)
                self._store.revise(row.query_id, preference, self._labeler, viewing)
                self._rows[self._at] = replace(row, preference=preference, labeler=self._labeler)

    def window_text(self) -> WindowText:
        row = self._rows[self._at]
        given = swap_sides(row.preference, row.swapped)
        status = (
            f"answer {self._at + 1} of {len(self._rows)}: {ANSWER_WORDS[given]}, by {row.labeler}"
        )
        if self._shown is None:
            return WindowText(self._instruction, status, waiting="Drawing the clips \u2026")
        p = self._shown.p_left
        side = f"left {p:.0%}" if p >= 0.5 else f"right {1 - p:.0%}"
        return WindowText(
            self._instruction, status, f"the ensemble says {side}", "", self._shown.bars
        )

    def close(self) -> None:
        self._pages.close()

    def _drawn(self, i: int, clips: ClipProcess, reward: RewardEnsemble) -> _Drawn:
        row = self._rows[i]
        query = self._store.query(row.query_id)
        shown = ReadyPair(query, row.swapped).drawn(clips)
        p_left = predicted_p_left(reward, query)
        assert shown.clips is not None
        sides = (query.right, query.left) if row.swapped else (query.left, query.right)
        rewards = [
            per_picture(reward.predict(side.obs, side.actions), clip)
            for side, clip in zip(sides, shown.clips, strict=True)
        ]
        top = max(float(np.abs(np.concatenate(rewards)).max()), 1e-9)
        left, right = (tuple((r / top).tolist()) for r in rewards)
        return _Drawn(shown, (left, right), 1 - p_left if row.swapped else p_left)


def per_picture(rewards: Array, clip: Clip) -> Array:
    """Mean reward of the steps that each picture of a clip stands for, (T,) -> (N,)."""
    ends = np.arange(len(rewards), 0, -clip.stride)[::-1]  # one past each picture's step
    starts = np.maximum(ends - clip.stride, 0)
    means: Array = np.array([rewards[a:b].mean() for a, b in zip(starts, ends, strict=True)])
    return means


def predicted_p_left(reward: RewardEnsemble, query: Query) -> float:
    """P(left > right), averaged over the members."""
    returns = reward.member_returns([query.left, query.right])  # (M, 2)
    return float(preferences(returns[:, None]).mean())


def most_disagreed(
    store: ComparisonStore, reward: RewardEnsemble, rows: Sequence[AnswerRow]
) -> list[AnswerRow]:
    """The answers, least likely first by the ensemble; incomparable ones last."""

    def likely(row: AnswerRow) -> float:
        target = row.preference.p_left
        if target is None:
            return math.inf
        return 1 - abs(predicted_p_left(reward, store.query(row.query_id)) - target)

    return sorted(rows, key=likely)


class _Pages:
    """Draws the current page and its neighbours, in a background thread."""

    def __init__(self, draw: Callable[[int], _Drawn], n: int) -> None:
        self._draw, self._n = draw, n
        self._wanted = 0
        self._drawn: dict[int, _Drawn] = {}
        self._error: Exception | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefrl-pages", daemon=True)
        self._thread.start()

    def page(self, i: int) -> _Drawn | None:
        """A page; None while it is being drawn."""
        if self._error is not None:
            raise self._error
        self._wanted = i
        self._wake.set()
        return self._drawn.get(i)

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                missing = self._missing()
                if missing is None:
                    self._wake.wait()
                    self._wake.clear()
                else:
                    self._drawn[missing] = self._draw(missing)
        except Exception as error:
            self._error = error

    def _missing(self) -> int | None:
        """The nearest page that is not drawn; pages further away are dropped."""
        near = sorted(
            range(self._wanted - _AROUND, self._wanted + _AROUND + 1),
            key=lambda i: (abs(i - self._wanted), -i),
        )
        near = [i for i in near if 0 <= i < self._n]
        for i in [i for i in self._drawn if i not in near]:
            del self._drawn[i]
        return next((i for i in near if i not in self._drawn), None)
