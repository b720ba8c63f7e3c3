"""Pairs drawn ahead of time, checks of the person among them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from numpy.random import Generator

from prefrl.store import Check, ComparisonStore
from prefrl.types import Query
from viewer.checks import CHECK_SHARE, KINDS, next_check
from viewer.clips import Clip, ClipProcess
from viewer.state import Key, Pair

AHEAD = 8
"""Pairs that are kept drawn."""
_MAX_AHEAD_BYTES, _MIN_AHEAD = 200 * 2**20, 2
"""Fewer pairs are kept where their pictures take this much memory, but at least two."""
LEASE_SECONDS = 60.0
_RENEW_SECONDS = LEASE_SECONDS / 4
_IDLE_SECONDS = 0.1

Question: TypeAlias = Query | Check


@dataclass(frozen=True, eq=False)
class ReadyPair:
    """A question as the person sees it.

    Attributes:
      swapped: the left segment is on the right of the screen.
      clips: left and right on the screen; None where they have to be drawn first.
    """

    question: Question
    swapped: bool
    clips: tuple[Clip, Clip] | None = None

    @property
    def key(self) -> Key:
        if isinstance(self.question, Check):
            return self.question.name
        assert self.question.id is not None
        return self.question.id

    @property
    def pair(self) -> Pair:
        """What the state machine knows about it."""
        assert self.clips is not None
        left, right = self.clips
        return Pair(self.key, (len(left), len(right)), left.fps)

    @property
    def nbytes(self) -> int:
        """Size of its pictures."""
        return sum(clip.pictures.nbytes for clip in self.clips or ())

    def drawn(self, clips: ClipProcess) -> ReadyPair:
        """The same pair with its clips."""
        if self.clips is not None:
            return self
        sides = (self.question.left, self.question.right)
        left, right = clips.draw(sides[::-1] if self.swapped else sides)
        return replace(self, clips=(left, right))


class Feeder:
    """Claims queries, draws their clips and renews the leases, in a background thread.

    Args:
      clips: used by this thread alone from now on; the caller closes it.
      worker: who holds the leases.
      labeler: whose answers are checked.
      rng: draws sides and checks.
      checks: share of the pairs that are checks.
      check_kinds: kinds of these checks.
    """

    def __init__(
        self,
        store: ComparisonStore,
        clips: ClipProcess,
        worker: str,
        labeler: str,
        rng: Generator,
        ahead: int = AHEAD,
        checks: float = CHECK_SHARE,
        check_kinds: Sequence[str] = KINDS,
    ) -> None:
        self._store, self._clips, self._worker, self._labeler = store, clips, worker, labeler
        self._rng, self._ahead, self._checks, self._kinds = rng, ahead, checks, check_kinds
        self._lock = threading.Lock()  # never held while something is drawn, read or written
        self._leases = threading.RLock()  # around all changes of leases and of `_held`
        self._ready: deque[ReadyPair] = deque()
        self._to_draw: deque[ReadyPair] = deque()
        self._held: set[int] = set()
        self._skipped: set[int] = set()
        self._paused = False
        self._pauses = 0  # what was claimed before a pause is not shown after it
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="prefrl-feeder", daemon=True)
        self._thread.start()

    def take(self) -> ReadyPair | None:
        """The next pair; None while none is drawn.

        Raises:
          PrefrlError: the error that ended the thread.
        """
        if self._error is not None:
            raise self._error
        with self._lock:
            return self._ready.popleft() if self._ready and not self._to_draw else None

    def put_back(self, pair: ReadyPair) -> None:
        """Make this the next pair; it is drawn again if it has no clips."""
        with self._leases, self._lock:
            if isinstance(pair.question, Query):
                assert pair.question.id is not None
                self._held.add(pair.question.id)
            if pair.clips is None:
                self._to_draw.append(pair)
            else:
                self._ready.appendleft(pair)

    def done_with(self, key: Key) -> None:
        """Stop renewing the lease of a pair that is answered."""
        with self._leases, self._lock:
            self._held.discard(key)

    def skip(self, key: Key) -> None:
        """Give a pair back; it comes again when no other is left."""
        if isinstance(key, str):
            return
        with self._leases:
            with self._lock:
                self._held.discard(key)
                self._skipped.add(key)
            self._store.release(key, self._worker)

    def pause(self) -> None:
        """Give everything back, and claim nothing until `resume`."""
        with self._leases:
            with self._lock:
                self._paused = True
                self._pauses += 1
                self._ready.clear()
                self._to_draw.clear()
                held, self._held = self._held, set()
            for query_id in held:
                self._store.release(query_id, self._worker)

    def resume(self) -> None:
        self._paused = False

    @property
    def drawing(self) -> bool:
        """Whether a pair is being drawn and none is ready."""
        with self._lock:
            return bool(self._held or self._to_draw) and not self._ready

    def close(self) -> None:
        """End the thread and give everything back."""
        self._stop.set()
        self._thread.join(timeout=30)
        self.pause()

    def _run(self) -> None:
        renewed = time.monotonic()
        try:
            while not self._stop.is_set():
                if time.monotonic() - renewed > _RENEW_SECONDS:
                    renewed = time.monotonic()
                    self._renew()
                if not self._one_more():
                    self._stop.wait(_IDLE_SECONDS)
        except Exception as error:
            self._error = error

    def _one_more(self) -> bool:
        """Draw a pair where one is due; returns whether there was one."""
        with self._lock:
            urgent = self._to_draw[0] if self._to_draw else None
            full = self._paused or self._enough()
            pauses = self._pauses
        if urgent is not None:
            self._keep(urgent.drawn(self._clips), pauses, first=True)
            return True
        asked = () if full else self._ask(pauses)
        for pair in asked:
            self._keep(pair.drawn(self._clips), pauses)
        return bool(asked)

    def _enough(self) -> bool:
        """Whether enough pairs are drawn, or their pictures take all the memory allowed."""
        drawn = len(self._ready)
        size = sum(pair.nbytes for pair in self._ready)
        return drawn >= self._ahead or (drawn >= _MIN_AHEAD and size >= _MAX_AHEAD_BYTES)

    def _ask(self, pauses: int) -> Sequence[ReadyPair]:
        """The next query, sometimes with a check before it."""
        with self._leases:
            if pauses != self._pauses:
                return ()
            query = self._store.claim(self._worker, LEASE_SECONDS, self._skipped)
            if query is None or query.id is None or query.id in self._held:
                return ()  # held: its lease ran out while this machine slept, and is renewed now
            with self._lock:
                self._held.add(query.id)
        pairs = [ReadyPair(query, bool(self._rng.random() < 0.5))]
        if self._rng.random() < self._checks / (1 - self._checks):
            found = next_check(self._store, self._labeler, self._rng, self._kinds)
            if found is not None:
                pairs.insert(0, ReadyPair(*found))
        return pairs

    def _keep(self, pair: ReadyPair, pauses: int, first: bool = False) -> None:
        with self._lock:
            if pauses != self._pauses:  # given back while it was drawn
                return
            if first:
                self._to_draw.popleft()
                self._ready.appendleft(pair)
            else:
                self._ready.append(pair)

    def _renew(self) -> None:
        """Renew the leases, and drop pairs whose lease was lost: the machine may have slept."""
        with self._leases:
            with self._lock:
                held = set(self._held)
            kept = self._store.renew(self._worker, sorted(held), LEASE_SECONDS)
            with self._lock:
                lost = held - kept
                self._held -= lost
                self._ready = deque(pair for pair in self._ready if pair.key not in lost)
                self._to_draw = deque(pair for pair in self._to_draw if pair.key not in lost)
