"""What the loop keeps count of while people answer: some, none, late, or with a kill between.

The loop is the real one, and so is the store; environments, agent and reward are stand-ins.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from prefrl.config import RunConfig
from prefrl.labelers import LABELERS
from prefrl.loop import LoopSettings, PreferenceLoop, Progress
from prefrl.queries import uniform
from prefrl.run import loop_settings
from prefrl.schedules import SCHEDULES, constant
from prefrl.store import AlreadyAnswered, ComparisonStore
from prefrl.types import Array, Preference, PrefrlError, Query, Segment

ROLLOUT, WARMUP, TOTAL, FIRST = 400, 400, 8000, 6
USUAL = replace(
    loop_settings(RunConfig()), total_steps=TOTAL, budget=30, first_batch=FIRST, schedule=constant,
    strategy=uniform, ask_above=0.0, oversample=3, segment_length=10, pool_size=50,
    ask_every=ROLLOUT, warmup_steps=WARMUP, expire_after=1000,
)  # fmt: skip
SEGMENT = Segment(np.zeros((10, 2)), np.zeros((10, 1)), np.zeros(10))


class Environments:
    """Counts steps."""

    num_envs, recorded, action_space = 4, 100, spaces.Discrete(2)

    def __init__(self, steps_taken: int) -> None:
        self.steps_taken = steps_taken

    def reset(self) -> None:
        """Nothing is kept."""

    def step(self, actions: Array) -> None:
        self.steps_taken += self.num_envs

    def take_finished(self) -> list[tuple[float, int]]:
        return []

    def sample_segments(self, n: int, *_: Any) -> list[Segment]:
        return [SEGMENT] * n


class Reward:
    """Members that disagree about some pairs and not about others."""

    informed = True

    def __init__(self, fitted: bool) -> None:
        self.fitted = fitted
        self._rng = np.random.default_rng(0)

    def member_returns(self, segments: Sequence[Segment]) -> Array:
        return self._rng.normal(size=(3, len(segments)))

    def segment_summaries(self, segments: Sequence[Segment]) -> Array:
        return np.zeros((len(segments), 2))


class Fitter:
    """Fits to whatever there is, if it is two answers."""

    fitted_to = 0

    def __init__(self, reward: Reward, store: ComparisonStore) -> None:
        self._reward, self._store = reward, store

    def start(self) -> None:
        self._reward.fitted |= self._store.counts().answered >= 2

    def update(self) -> None:
        """Nothing is learned."""

    def see(self, segments: Any) -> None:
        """Nor from these."""


class Killed(Exception):  # noqa: N818 - what happens
    """kill -9, between two rollouts."""


class Agent:
    """Takes steps, and lets the world go on meanwhile."""

    def __init__(self, envs: Environments, meanwhile: Callable[[], None]) -> None:
        self._envs, self._meanwhile = envs, meanwhile

    def learn(self, steps: int, callback: Any, reset_num_timesteps: bool) -> None:
        end = self._envs.steps_taken + steps
        while self._envs.steps_taken < end:
            callback.on_rollout_start()
            self._envs.steps_taken += ROLLOUT
            self._meanwhile()


class Person:
    """Does one thing a rollout, as told."""

    def __init__(self, store: ComparisonStore, where: Path) -> None:
        self._store, self._where = store, where
        self._in_hand: list[Query] = []
        self.answered: list[int] = []

    def does(self, what: str) -> None:
        getattr(self, what)()

    def nothing(self) -> None:
        """At lunch."""

    def answer_three(self) -> None:
        for _ in range(3):
            if query := self._store.claim("anna"):
                self._answer(query)

    def answer_all(self) -> None:
        while query := self._store.claim("anna"):
            self._answer(query)

    def hold(self) -> None:
        """The viewer shows it, and keeps its lease."""
        self._in_hand += filter(None, [self._store.claim("anna", 1e6)])

    def stare(self) -> None:
        """Their leases are over, and they still think."""
        self._in_hand += filter(None, [self._store.claim("anna", 1e6) for _ in range(4)])
        with sqlite3.connect(self._where) as database:
            database.execute("UPDATE queries SET lease_until = 0")
        database.close()

    def answer_in_hand(self) -> None:
        for query in self._in_hand:
            with suppress(AlreadyAnswered):
                self._answer(query)
        self._in_hand.clear()

    def withdraw(self) -> None:
        with suppress(PrefrlError):
            self._store.revise(self.answered.pop() if self.answered else 0, None, "anna")

    def _answer(self, query: Query) -> None:
        assert query.id is not None
        self._store.answer(query.id, Preference.LEFT, "anna")
        self.answered.append(query.id)


HABITS = ["nothing", "answer_three", "answer_all", "hold", "stare", "answer_in_hand", "withdraw"]


class Run:
    """A run that people answer, kept as a run folder keeps it: a store, and a checkpoint."""

    def __init__(self, where: Path, settings: LoopSettings = USUAL, labeler: str = "human") -> None:
        self.settings, self.labeler = settings, labeler
        self.store = ComparisonStore(where)
        self.where = where
        self.person = Person(self.store, where)
        self.rows: list[Mapping[str, float]] = []
        self.checkpoint: tuple[int, dict[str, Any]] = (0, {})
        self.waited: list[tuple[int, int]] = []

    def go(
        self,
        habits: Sequence[str] = (),
        on_pass: Callable[[PreferenceLoop], None] = lambda loop: None,
        killed_after: int | None = None,
    ) -> PreferenceLoop:
        """Trains from the last checkpoint; one is written every other pass.

        Args:
          habits: what the person does in each rollout; after the last, nothing.
          killed_after: so many rollouts.
        """
        step, progress = self.checkpoint
        envs, todo, rollouts = Environments(step), list(habits), 0
        reward = Reward(fitted=step > 0)

        def meanwhile() -> None:
            nonlocal rollouts
            rollouts += 1
            if rollouts == killed_after:
                raise Killed
            self.person.does(todo.pop(0) if todo else "nothing")

        def passed(row: Mapping[str, float]) -> None:
            self.rows.append(row)
            on_pass(loop)
            if len(self.rows) % 2:
                self.checkpoint = envs.steps_taken, asdict(loop.progress)

        def wait(missing: int, first: int) -> None:
            self.waited.append((missing, first))
            self.person.answer_all()

        stages: Any = {
            "recorder": envs, "agent": Agent(envs, meanwhile), "reward": reward,
            "fitter": Fitter(reward, self.store),
        }  # fmt: skip
        loop = PreferenceLoop(
            **stages,
            labeler=LABELERS[self.labeler](np.random.default_rng(0)),
            store=self.store,
            settings=self.settings,
            rng=np.random.default_rng(step),
            on_pass=passed,
            on_wait=wait,
            progress=Progress(**progress),
        )
        with ExitStack() as stack:
            stack.enter_context(pytest.MonkeyPatch.context()).setattr("time.sleep", lambda _: None)
            stack.enter_context(suppress(Killed))
            loop.run()
        return loop

    def sql(self, question: str) -> Any:
        database = sqlite3.connect(self.where)
        try:
            return database.execute(question).fetchone()[0]
        finally:
            database.close()


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def due(loop: PreferenceLoop) -> int:
    s = loop.settings
    return s.schedule(loop.recorder.steps_taken, s.total_steps, s.budget, s.first_batch)


@settings(max_examples=30)
@given(
    habits=st.lists(st.sampled_from(HABITS), max_size=20),
    kills=st.lists(st.integers(2, 12), max_size=2),
    schedule=st.sampled_from(sorted(SCHEDULES)),
    ask_above=st.sampled_from([0.0, 0.1, 0.5]),
    expire_after=st.sampled_from([0, 300, 1000, 3000]),
    open_at_once=st.sampled_from([3, 100]),
)
def test_the_budget_holds_whatever_a_person_does(
    habits: list[str],
    kills: list[int],
    schedule: str,
    ask_above: float,
    expire_after: int,
    open_at_once: int,
) -> None:
    s = replace(
        USUAL, schedule=SCHEDULES[schedule], ask_above=ask_above, expire_after=expire_after,
        open_at_once=open_at_once,
    )  # fmt: skip
    first = s.budget if schedule == "all-at-start" else FIRST
    s = replace(s, first_batch=first)

    def check(loop: PreferenceLoop) -> None:
        progress, counts, step = loop.progress, loop.store.counts(), loop.recorder.steps_taken
        late = run.sql("SELECT count(*) FROM queries WHERE answered AND expired")
        withdrawn = run.sql("SELECT count(*) FROM comparisons WHERE preference IS NULL")
        waiting = counts.open + counts.leased
        assert progress.labels == counts.answered <= s.budget + late
        assert progress.asked == counts.answered + waiting <= s.budget + late
        assert progress.asked <= progress.offered <= due(loop) + late
        assert progress.expired == counts.expired == run.rows[-1]["expired"]
        assert waiting <= max(first, open_at_once) + withdrawn
        if expire_after and step < TOTAL and "hold" not in habits:
            oldest = run.sql("SELECT min(step) FROM queries WHERE NOT answered AND NOT expired")
            assert oldest is None or oldest >= step - expire_after

    with TemporaryDirectory() as folder:
        run = Run(Path(folder) / "store.sqlite", s)
        for rollouts in (*kills, None):
            run.go(habits, check, rollouts)
        run.store.close()
    assert run.rows[-1]["step"] >= TOTAL


@pytest.mark.parametrize("kills", [[], [7], [4, 9]])
def test_what_expires_is_offered_again_and_nothing_is_lost(where: Path, kills: list[int]) -> None:
    """Nobody is there after the first batch: at any time as many wait as the schedule allows."""

    def check(loop: PreferenceLoop) -> None:
        progress, counts = loop.progress, loop.store.counts()
        if loop.recorder.steps_taken < TOTAL:
            assert progress.asked == progress.offered == due(loop)
        assert counts.answered == FIRST
        assert counts.open == progress.asked - FIRST <= USUAL.budget - counts.answered
        oldest = run.sql("SELECT min(step) FROM queries WHERE NOT answered AND NOT expired")
        assert oldest is None or oldest >= loop.recorder.steps_taken - 1000 - ROLLOUT

    run = Run(where)
    for rollouts in (*kills, None):
        run.go((), check, rollouts)
    assert run.rows[-1]["expired"] > 30, "one budget after the other"
    assert run.sql("SELECT max(step) FROM queries WHERE expired") < TOTAL - 1000


def test_whoever_comes_back_finds_todays_agent_and_the_whole_budget(where: Path) -> None:
    run = Run(where)
    run.go(["nothing"] * 12 + ["answer_all"] * 8)
    assert run.rows[-1]["labels"] == run.rows[-2]["offered"] == due_at(run.rows[-2]["step"])
    steps = [c.query.step for c in run.store.comparisons()[FIRST:]]
    assert min(steps) >= 12 * ROLLOUT + WARMUP - 1000


def due_at(step: float) -> int:
    return constant(int(step), TOTAL, USUAL.budget, FIRST)


def test_without_expiry_old_queries_wait(where: Path) -> None:
    run = Run(where, replace(USUAL, expire_after=0))
    loop = run.go()
    assert run.rows[-1]["expired"] == 0 and loop.store.counts().expired == 0
    assert run.sql("SELECT min(step) FROM queries WHERE NOT answered") <= 3 * ROLLOUT


def test_what_the_gate_held_back_stays_back(where: Path) -> None:
    """Only what was posted, and expired, is offered again."""
    run = Run(where, replace(USUAL, ask_above=0.5))  # three members never disagree so much
    loop = run.go()
    counts = loop.store.counts()
    assert (counts.open, counts.expired, counts.answered) == (0, 0, FIRST)
    assert loop.progress.asked == FIRST
    assert loop.progress.offered >= USUAL.budget - 2


def test_a_query_in_somebodys_hands_does_not_expire(where: Path) -> None:
    run = Run(where)
    run.go(["nothing", "nothing", "hold", *["nothing"] * 10, "answer_in_hand"])
    assert run.sql("SELECT count(*) FROM queries WHERE answered AND expired") == 0
    assert run.store.counts().answered == FIRST + 1


def test_an_expired_query_that_is_answered_all_the_same_counts(where: Path) -> None:
    """The schedule offers as many fewer from then on."""
    run = Run(where)
    loop = run.go(["nothing"] * 8 + ["stare", *["nothing"] * 4, "answer_in_hand"])
    assert run.sql("SELECT count(*) FROM queries WHERE answered AND expired") == 4
    assert loop.progress.labels == loop.store.counts().answered == FIRST + 4
    counts = loop.store.counts()
    assert run.rows[-1]["offered"] == FIRST + 4 + counts.open == due_at(run.rows[-2]["step"])


def test_no_more_wait_at_once_than_people_can_answer(where: Path) -> None:
    run = Run(where, replace(USUAL, open_at_once=4))
    waiting: list[int] = []
    run.go(["nothing"] * 8 + ["answer_all"] * 12, lambda loop: waiting.append(open_now(loop)))
    assert max(waiting) == 4
    assert run.rows[-1]["labels"] == due_at(run.rows[-2]["step"]), "but all are asked in the end"


def test_who_answers_at_once_is_asked_in_every_pass(tmp_path: Path) -> None:
    """Whether old queries expire or not."""
    offered = []
    for expire_after in (1000, 0):
        where = tmp_path / f"store-{expire_after}.sqlite"
        run = Run(where, replace(USUAL, open_at_once=1, expire_after=expire_after))
        run.go(["answer_all"] * 20)
        offered.append([row["offered"] for row in run.rows])
    assert offered[0] == offered[1] and offered[0][1] > offered[0][0]


def open_now(loop: PreferenceLoop) -> int:
    return loop.store.counts().open


def test_the_first_batch_does_not_expire_while_training_waits(where: Path) -> None:
    """However long: it was asked at the step at which training stands."""
    run = Run(where, replace(USUAL, expire_after=1))
    run.go()
    assert run.waited == [(FIRST, FIRST), (0, FIRST)]
    assert [c.query.step for c in run.store.comparisons()] == [WARMUP] * FIRST


def test_a_simulated_labeler_leaves_nothing_to_expire(where: Path) -> None:
    run = Run(where, labeler="oracle")
    loop = run.go()
    assert not run.waited and all("expired" not in row for row in run.rows)
    assert loop.store.counts().answered == loop.progress.asked == run.rows[-1]["offered"]


# ---- answers that are there before


def answered_before(store: ComparisonStore, n: int) -> None:
    for query in store.add([Query(SEGMENT, SEGMENT, step=10**6)] * n):
        assert query.id is not None
        store.answer(query.id, Preference.LEFT, "bert")


@pytest.mark.parametrize(("there", "missing"), [(4, 2), (FIRST, 0), (20, 0)])
def test_a_run_goes_on_where_another_left(where: Path, there: int, missing: int) -> None:
    """What was answered there is part of this run's first batch, and of its budget."""
    run = Run(where)
    answered_before(run.store, there)
    run.store.add([Query(SEGMENT, SEGMENT, step=10**6)] * 3)
    assert run.store.expire(10**7) == 3

    def check(loop: PreferenceLoop) -> None:
        assert loop.progress.offered == loop.progress.asked <= USUAL.budget
        if loop.recorder.steps_taken < TOTAL:
            assert loop.progress.offered == max(there, due(loop))

    run.go(["answer_all"] * 30, check)
    assert run.waited[0] == ((missing, FIRST) if missing else (0, FIRST))
    assert run.store.counts().answered == max(there, due_at(run.rows[-2]["step"]))
    assert run.sql(f"SELECT count(*) FROM queries WHERE step = {WARMUP}") == missing


def test_the_store_labeler_asks_nobody_and_waits_for_nothing(where: Path) -> None:
    run = Run(where, labeler="store")
    answered_before(run.store, 5)
    run.store.add([Query(SEGMENT, SEGMENT, step=0)] * 3)  # somebody may still answer them
    loop = run.go(["nothing", "nothing", "answer_three"])
    assert not run.waited
    assert run.sql("SELECT count(*) FROM queries") == 8
    assert loop.store.counts().expired == 0
    assert [row["labels"] for row in run.rows[:2]] == [5, 5] and run.rows[-1]["labels"] == 8
    assert run.rows[-1]["labels_budget"] == 8, "there is no other"
    assert run.rows[0]["step"] == ROLLOUT, "and no random policy first"


@pytest.mark.parametrize("there", [0, 1])
def test_the_store_labeler_needs_answers(where: Path, there: int) -> None:
    run = Run(where, labeler="store")
    answered_before(run.store, there)
    with pytest.raises(PrefrlError, match=rf"the {there} answers in .* \(--answers\)"):
        run.go()


def test_the_fitter_is_shown_the_segments_of_every_pass(
    where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Fitter, "see", lambda self, segments: seen.append(len(segments)))
    run = Run(where, labeler="oracle")
    run.go()
    assert len(seen) == 1 + len(run.rows) and min(seen) >= 2
