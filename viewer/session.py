"""One person labels one run: what the window does to the store, and what it says of the run."""

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
from viewer.draw import Said
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
"""Answered pairs whose clips are kept; those before are drawn again to be undone."""
_RATE_OVER = 100
"""Answers of which the rate is told."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at what the trainer does."""


class Desk(Protocol):
    """What the window needs: pairs, and somebody who does what the state machine says."""

    def next_pair(self) -> Pair | None:
        """The pair to be shown now; None while none is ready."""

    def perform(self, effect: Effect) -> None:
        """Do it; raises PrefrlError, which the window shows, where it cannot be done."""

    def pictures(self, at: tuple[int, int]) -> tuple[Array, Array] | None:
        """Of the pair that is shown, one of each clip; None where there is none."""

    def said(self) -> Said:
        """The words of the window."""


def carry_out(desk: Desk, state: State, effects: Sequence[Effect], now: float) -> State:
    """Have the desk do what follows from the state; the state tells what it could not do."""
    for effect in effects:
        try:
            desk.perform(effect)
        except PrefrlError as error:
            state = noted(state, str(error), now)
            if isinstance(effect, Answer):
                state = forgotten(state, effect.key)
    return state


class LabelDesk:
    """Answers into the store, pairs out of the feeder.

    Args:
      labeler: name written beside each answer.
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
        self._look = RunLook(run, store)

    def next_pair(self) -> Pair | None:
        self._feeder.wake()  # whoever asks is there
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
                self._feeder.rest()

    def said(self) -> Said:
        status, trainer, nothing = self._look.words(self._feeder.drawing)
        rate = per_hour(list(self._times))
        pace = f"  \u00b7  {rate:,.0f} an hour" if rate == rate else ""
        return Said(self._instruction, status + pace, trainer, nothing)

    def _log(self, pair: ReadyPair) -> None:
        """Keep what was shown to whom, answered or not; nothing reads it but people."""
        shown = {"time": time.time(), "labeler": self._labeler, "pair": pair.key}
        with suppress(OSError), self._shown_log.open("a", encoding="utf-8") as file:
            file.write(to_json(shown | {"swapped": pair.swapped}) + "\n")

    def _answer(self, answer: Answer) -> None:
        pair = self._shown
        assert pair is not None and pair.key == answer.key
        preference = on_store(answer.preference, pair.swapped)
        viewing = replace(answer.viewing, swapped=pair.swapped)
        self._shown = None
        try:
            if isinstance(pair.question, Check):
                self._store.record_check(pair.question, preference, self._labeler, viewing)
            else:
                self._store.answer(int(answer.key), preference, self._labeler, viewing)
        except MachineError:
            self._feeder.put_back(pair)  # it is the next one again: nothing is lost
            raise
        except AlreadyAnswered as error:
            self._feeder.done_with(answer.key)
            raise PrefrlError("somebody else answered this pair first: here is another") from error
        self._feeder.done_with(answer.key)
        self._look.count(pair, 1)
        self._answered.append(pair)
        if len(self._answered) > _DRAWN:
            self._answered[-1 - _DRAWN] = replace(self._answered[-1 - _DRAWN], clips=None)
        self._times.append(time.time())

    def _undo(self, key: Key) -> None:
        pair = next(pair for pair in self._answered if pair.key == key)
        self._answered.remove(pair)  # whatever comes of it: it is asked for once
        if isinstance(pair.question, Check):
            self._store.record_check(pair.question, None, self._labeler)
        else:
            self._store.undo(int(pair.key), self._worker, self._labeler, LEASE_SECONDS)
        self._look.count(pair, -1)
        if self._times:
            self._times.pop()
        self._feeder.put_back(pair)


class RunLook:
    """Looks at a run from outside, once a second at most."""

    def __init__(self, run: RunDir, store: ComparisonStore) -> None:
        self._run, self._store = run, store
        self._config = run.config()
        self._next = 0.0
        self._counts = Counts(0, 0, 0, 0)
        self._row: dict[str, float] = {}
        self._trains = False

    def count(self, pair: ReadyPair, by: int) -> None:
        """One answer more, or less, than when it looked; checks are none."""
        if isinstance(pair.question, Query):
            self._counts = replace(self._counts, answered=self._counts.answered + by)

    def words(self, drawing: bool) -> tuple[str, str, str]:
        """Labels so far; what the trainer does; why there is no pair."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOOK_EVERY
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
    """A picture of each."""
    return None if clips is None else (clips[0].pictures[at[0]], clips[1].pictures[at[1]])


def on_store(preference: Preference, swapped: bool) -> Preference:
    """An answer to what was on the screen, as one to the query; and the other way round."""
    return preference.mirrored if swapped else preference
