"""One person labels one run: answers go to the store, and texts about the run to the window."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from prefrl.label_quality import per_hour
from prefrl.metrics import read_last
from prefrl.rundir import RunDir, to_json
from prefrl.store import AlreadyAnswered, Check, ComparisonStore, Counts
from prefrl.types import Array, MachineError, Preference, PrefrlError, Query
from viewer.clips import Clip
from viewer.draw import WindowText
from viewer.feed import LEASE_SECONDS, Feeder, ReadyPair
from viewer.state import (
    UNDOABLE,
    Answer,
    Effect,
    Key,
    Pair,
    PutBack,
    Release,
    Skip,
    State,
    Undo,
    forgotten,
    noted,
)

_DRAWN = 3
"""Latest answered pairs, whose clips are kept; an undo of earlier ones draws them again."""
_RATE_OVER = 100
"""Latest answers, over which the rate is measured."""
_REFRESH_EVERY = 1.0
"""Seconds between two refreshes of the run's status."""


class Controller(Protocol):
    """Gives the window its pairs and texts, and performs the effects of the state machine."""

    def next_pair(self) -> Pair | None:
        """The pair to show now; None while none is ready."""

    def perform(self, effect: Effect) -> None:
        """Perform an effect; raises PrefrlError, which the window shows, where that fails."""

    def pictures(self, at: tuple[int, int]) -> tuple[Array, Array] | None:
        """Picture of each clip on the screen, by their numbers; None where there is no pair."""

    def window_text(self) -> WindowText:
        """Texts to show."""


def perform_all(
    controller: Controller, state: State, effects: Sequence[Effect], now: float
) -> State:
    """Perform effects; returns the state, with a note about each that failed."""
    for effect in effects:
        try:
            controller.perform(effect)
        except PrefrlError as error:
            state = noted(state, str(error), now)
            if isinstance(effect, Answer):
                state = forgotten(state, effect.key)
    return state


class LabelController:
    """Takes pairs from the feeder, and writes answers to the store.

    Args:
      labeler: name stored with each answer.
      worker: who holds the leases.
    """

    def __init__(
        self,
        run: RunDir,
        store: ComparisonStore,
        feeder: Feeder,
        labeler: str,
        worker: str,
        instruction: str,
    ) -> None:
        self._store, self._feeder = store, feeder
        self._labeler, self._worker, self._instruction = labeler, worker, instruction
        self._shown: ReadyPair | None = None
        self._answered: deque[ReadyPair] = deque(maxlen=UNDOABLE)
        self._times: deque[float] = deque(maxlen=_RATE_OVER)
        self._shown_log = run.path / "shown.jsonl"
        self._status = RunStatus(run, store)

    def next_pair(self) -> Pair | None:
        self._feeder.resume()  # somebody is there again
        pair = self._feeder.take()
        if pair is None:
            return None
        self._shown = pair
        self._log(pair)
        return pair.pair

    def pictures(self, at: tuple[int, int]) -> tuple[Array, Array] | None:
        return None if self._shown is None else of_clips(self._shown.clips, at)

    def perform(self, effect: Effect) -> None:
        match effect:
            case Answer():
                self._answer(effect)
            case Undo(key):
                self._undo(key)
            case PutBack():
                if self._shown is not None:
                    self._feeder.put_back(self._shown)
                self._shown = None
            case Skip(key):
                self._shown = None
                self._feeder.skip(key)
            case Release():
                self._shown = None
                self._feeder.pause()

    def window_text(self) -> WindowText:
        status, trainer, waiting = self._status.texts(self._feeder.drawing)
        rate = per_hour(list(self._times))
        pace = f"  \u00b7  {rate:,.0f} an hour" if rate == rate else ""
        return WindowText(self._instruction, status + pace, trainer, waiting)

    def _log(self, pair: ReadyPair) -> None:
        """Log what was shown to whom, answered or not, for people to read."""
        shown = {"time": time.time(), "labeler": self._labeler, "pair": pair.key}
        with suppress(OSError), self._shown_log.open("a", encoding="utf-8") as file:
            file.write(to_json(shown | {"swapped": pair.swapped}) + "\n")

    def _answer(self, answer: Answer) -> None:
        pair = self._shown
        assert pair is not None and pair.key == answer.key
        preference = swap_sides(answer.preference, pair.swapped)
        viewing = replace(answer.viewing, swapped=pair.swapped)
        self._shown = None
        try:
            if isinstance(pair.question, Check):
                self._store.record_check(pair.question, preference, self._labeler, viewing)
            else:
                self._store.answer(int(answer.key), preference, self._labeler, viewing)
        except MachineError:
            self._feeder.put_back(pair)  # it is the next one again, nothing is lost
            raise
        except AlreadyAnswered as error:
            self._feeder.done_with(answer.key)
            raise PrefrlError("somebody else answered this pair first: here is another") from error
        self._feeder.done_with(answer.key)
        self._status.count(pair, 1)
        self._answered.append(pair)
        if len(self._answered) > _DRAWN:
            self._answered[-1 - _DRAWN] = replace(self._answered[-1 - _DRAWN], clips=None)
        self._times.append(time.time())

    def _undo(self, key: Key) -> None:
        pair = next(pair for pair in self._answered if pair.key == key)
        self._answered.remove(pair)  # it can be undone once, even if that fails
        if isinstance(pair.question, Check):
            self._store.record_check(pair.question, None, self._labeler)
        else:
            self._store.undo(int(pair.key), self._worker, self._labeler, LEASE_SECONDS)
        self._status.count(pair, -1)
        if self._times:
            self._times.pop()
        self._feeder.put_back(pair)


class RunStatus:
    """What a run's folder and store say about it, read at most once a second."""

    def __init__(self, run: RunDir, store: ComparisonStore) -> None:
        self._run, self._store = run, store
        self._config = run.config()
        self._next = 0.0
        self._counts = Counts(0, 0, 0, 0)
        self._row: dict[str, float] = {}
        self._trains = False

    def count(self, pair: ReadyPair, by: int) -> None:
        """Adjust the answer count between refreshes; checks don't count."""
        if isinstance(pair.question, Query):
            self._counts = replace(self._counts, answered=self._counts.answered + by)

    def texts(self, drawing: bool) -> tuple[str, str, str]:
        """Labels so far, what the trainer does, and why there is no pair."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _REFRESH_EVERY
            self._counts, self._trains = self._store.counts(), self._run.in_use()
            self._row = read_last(self._run.metrics_path)
            self._config = self._run.config()  # a resumed run may have another budget
        budget = self._config.labels.budget
        status = f"{self._counts.answered:,} of {budget:,} labels"
        return status, self._trainer(), "Drawing the next clips \u2026" if drawing else self._why()

    def _trainer(self) -> str:
        if not self._trains:
            return "no trainer runs"
        if not self._row:
            return "training waits for its first answers"
        step, rate = self._row["step"], self._row["steps_per_second"]
        return f"training: {step:,.0f} of {self._config.steps:,} steps, {rate:,.0f} a second"

    def _why(self) -> str:
        if self._counts.answered >= self._config.labels.budget:
            rest = "Training goes on; you can leave." if self._trains else "You can leave."
            return f"All {self._counts.answered:,} answers are given. Thank you.\n{rest}"
        if self._trains:
            return "Nothing to compare just now.\nThe next clips come as training goes on."
        goes_on, more = f"prefrl train --resume {self._run.path}", ""
        if self._row and self._row["step"] >= self._config.steps:
            goes_on += " --steps MORE"
            more = "\nThis window, opened again, has more about its newest agent."
        return (
            "Nothing is left to compare, and no trainer runs.\n"
            f"{goes_on} goes on with your answers.{more}"
        )


def of_clips(clips: tuple[Clip, Clip] | None, at: Sequence[int]) -> tuple[Array, Array] | None:
    """One picture of each clip."""
    return None if clips is None else (clips[0].pictures[at[0]], clips[1].pictures[at[1]])


def swap_sides(preference: Preference, swapped: bool) -> Preference:
    """An answer about the query as one about the screen, and back."""
    return preference.mirrored if swapped else preference
