"""Whatever workers do to a store in whatever order: who holds what, and which answers stand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefrl.store import AlreadyAnswered, ComparisonStore, Counts
from prefrl.types import Preference, PrefrlError, Query, Segment

LEASE = 10.0
ZERO = np.zeros((2, 1))
SEGMENT = Segment(ZERO, ZERO, ZERO[:, 0])

workers = st.sampled_from(["ann", "bob"])
preferences = st.sampled_from(Preference)
places = st.integers(0, 50)


@dataclass
class Asked:
    """What a query should be."""

    step: int
    preference: Preference | None = None
    labeler: str = ""
    holder: str = ""
    until: float = 0.0
    expired: bool = False


class Leases(RuleBasedStateMachine):
    """Each method against the few lines that say what it is to do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = ComparisonStore(Path(self.folder.name) / "store.sqlite")
        self.asked: dict[int, Asked] = {}
        self.now = 0.0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def leased(self, query: Asked) -> bool:
        return query.preference is None and query.until > self.now

    def is_open(self, query: Asked) -> bool:
        return query.preference is None and not query.expired and not self.leased(query)

    def lease(self, query: Asked, worker: str) -> None:
        query.holder, query.until = worker, self.now + LEASE

    def one(self, place: int) -> tuple[int, Asked]:
        number = list(self.asked)[place % len(self.asked)]
        return number, self.asked[number]

    @initialize(steps=st.lists(st.integers(0, 3), min_size=1, max_size=4))
    def asks(self, steps: list[int]) -> None:
        for query in self.store.add([Query(SEGMENT, SEGMENT, step=step) for step in steps]):
            assert query.id is not None
            self.asked[query.id] = Asked(query.step)

    @rule(seconds=st.sampled_from([1.0, 5.0, 10.0]))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=workers, some=st.lists(places, max_size=4))
    def claims(self, worker: str, some: list[int]) -> None:
        last = {number for number, _ in map(self.one, some)}
        wanted = (i for i, query in self.asked.items() if self.is_open(query))
        first = min(wanted, key=lambda i: (i in last, i), default=None)
        got = self.store.claim(worker, LEASE, last, self.now)
        assert (got.id if got else None) == first
        if first:
            self.lease(self.asked[first], worker)

    @rule(worker=workers, some=st.lists(places, max_size=4))
    def renews(self, worker: str, some: list[int]) -> None:
        chosen = dict(self.one(place) for place in some)
        held = {
            i
            for i, query in chosen.items()
            if self.is_open(query) or (self.leased(query) and query.holder == worker)
        }
        assert self.store.renew(worker, chosen, LEASE, self.now) == held
        for i in held:
            self.lease(chosen[i], worker)

    @rule(worker=workers, place=places)
    def releases(self, worker: str, place: int) -> None:
        number, query = self.one(place)
        self.store.release(number, worker)
        if query.holder == worker:
            query.until = 0.0

    @rule(labeler=workers, place=places, preference=preferences)
    def answers(self, labeler: str, place: int, preference: Preference) -> None:
        number, query = self.one(place)
        if query.preference:
            with pytest.raises(AlreadyAnswered):
                self.store.answer(number, preference, labeler)
            return
        self.store.answer(number, preference, labeler)
        query.preference, query.labeler, query.until = preference, labeler, 0.0

    @rule(labeler=workers, place=places, preference=st.none() | preferences)
    def revises(self, labeler: str, place: int, preference: Preference | None) -> None:
        number, query = self.one(place)
        if not query.preference:
            with pytest.raises(PrefrlError, match="no answer to revise"):
                self.store.revise(number, preference, labeler)
            return
        self.store.revise(number, preference, labeler)
        query.preference, query.labeler = preference, labeler

    @rule(worker=workers, labeler=workers, place=places)
    def undoes(self, worker: str, labeler: str, place: int) -> None:
        number, query = self.one(place)
        if not query.preference or query.labeler != labeler:
            with pytest.raises(PrefrlError, match=r"no answer to undo|was answered by"):
                self.store.undo(number, worker, labeler, LEASE, self.now)
            return
        self.store.undo(number, worker, labeler, LEASE, self.now)
        query.preference = None
        self.lease(query, worker)

    @precondition(lambda self: len(self.asked) < 8)
    @rule(step=st.integers(0, 3))
    def asks_again(self, step: int) -> None:
        self.asks([step])

    @rule(before=st.integers(0, 4))
    def expires(self, before: int) -> None:
        stale = [q for q in self.asked.values() if self.is_open(q) and q.step < before]
        assert self.store.expire(before, self.now) == len(stale)
        for query in stale:
            query.expired = True

    @invariant()
    def every_query_is_in_one_state(self) -> None:
        waiting = [query for query in self.asked.values() if not query.preference]
        assert self.store.counts(self.now) == Counts(
            open=sum(map(self.is_open, waiting)),
            leased=sum(self.leased(query) and not query.expired for query in waiting),
            answered=len(self.asked) - len(waiting),
            expired=sum(query.expired for query in waiting),
        )

    @invariant()
    def the_last_answers_stand(self) -> None:
        standing = {i: (q.preference, q.labeler) for i, q in self.asked.items() if q.preference}
        last = {c.query.id: c for c in self.store.comparisons()}
        log = self.store.answer_log()
        assert {row.query_id: (row.preference, row.labeler) for row in log} == standing
        assert [row.id for row in log] == sorted(c.id for c in last.values() if c.preference)


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
