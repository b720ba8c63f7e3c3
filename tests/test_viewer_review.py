"""Answered pairs again: their pages, their bars, and answers that are corrected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from viewing import FPS, LENGTH, Painter, number_on, questions, wait_until

from prefrl.reward.ensemble import RewardEnsemble
from prefrl.store import AnswerRow, ComparisonStore
from prefrl.types import Array, MachineError, Preference, Viewing
from viewer.clips import Clip, shown_steps
from viewer.review import ReviewController, most_disagreed, per_picture, predicted_p_left
from viewer.session import perform_all
from viewer.state import Action, Pair, State, begin, present, press, view

LEFT, RIGHT, TIE, NEITHER = (
    Preference.LEFT,
    Preference.RIGHT,
    Preference.TIE,
    Preference.INCOMPARABLE,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ComparisonStore]:
    with ComparisonStore(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def reward(ensemble_of: Callable[..., RewardEnsemble]) -> RewardEnsemble:
    """Of one number."""
    return ensemble_of(obs_size=1, n_members=3)


def answered(store: ComparisonStore, *answers: tuple[Preference, bool]) -> list[AnswerRow]:
    """Answers as the store has them, and whether the sides were swapped."""
    for query, (preference, swapped) in zip(
        store.add(questions(len(answers))), answers, strict=True
    ):
        store.answer(query.id or 0, preference, "ann", Viewing(2.0, 1.0, swapped))
    return store.answer_log()


class Reader:
    """Pages through answers, by the same state machine as the window."""

    def __init__(
        self, store: ComparisonStore, reward: RewardEnsemble, rows: Sequence[AnswerRow]
    ) -> None:
        self.clips: Any = Painter()
        self.controller = ReviewController(store, self.clips, reward, rows, "bob", "Choose.")
        self.state: State = begin(0.0, review=True)
        self.now = 0.0

    def close(self) -> None:
        self.clips.may_draw.set()
        self.controller.close()

    def look(self) -> Pair | None:
        if self.state.pair is None and (pair := self.controller.next_pair()) is not None:
            self.state = present(self.state, pair, self.now)
        return self.state.pair

    def shown(self) -> Pair:
        wait_until(lambda: self.look() is not None)
        assert self.state.pair is not None
        return self.state.pair

    def press(self, action: Action) -> None:
        self.now += 0.5
        state, effects = press(self.state, action, self.now)
        self.state = perform_all(self.controller, state, effects, self.now)

    def numbers(self) -> tuple[int, int]:
        pictures = self.controller.pictures((0, LENGTH - 1))
        assert pictures is not None
        return number_on(pictures[0]), number_on(pictures[1])


@pytest.fixture
def read(store: ComparisonStore, reward: RewardEnsemble) -> Iterator[Callable[..., Reader]]:
    with ExitStack() as stack:

        def begin_with(rows: Sequence[AnswerRow]) -> Reader:
            reader = Reader(store, reward, rows)
            stack.callback(reader.close)
            return reader

        yield begin_with


Read = Callable[[Sequence[AnswerRow]], Reader]


# ---- pages


def test_it_is_paged_through_and_ends_at_both_ends(store: ComparisonStore, read: Read) -> None:
    reader = read(answered(store, (LEFT, False), (TIE, False), (NEITHER, False)))
    seen = []
    for action in (*[Action.NEXT] * 3, *[Action.PREVIOUS] * 3):
        seen.append((reader.shown().key, reader.numbers(), view(reader.state).standing))
        reader.press(action)
    pages = [(1, (0, 1), LEFT), (2, (2, 3), TIE), (3, (4, 5), NEITHER)]
    assert seen == [*pages, pages[2], pages[1], pages[0]]
    assert reader.shown().key == 1
    assert reader.controller.window_text().status == "answer 1 of 3: left, by ann"


def test_the_pages_beside_it_are_drawn_ahead(store: ComparisonStore, read: Read) -> None:
    reader = read(answered(store, *[(LEFT, False)] * 6))
    reader.shown()
    reader.press(Action.NEXT)
    reader.shown()
    wait_until(lambda: reader.clips.finished == 6)
    assert sorted(reader.clips.drawn) == [0, 1, 2, 3, 4, 5]
    reader.clips.may_draw.clear()
    for action, key in ((Action.NEXT, 3), (Action.PREVIOUS, 2)):
        reader.press(action)
        assert reader.shown().key == key
    reader.press(Action.PREVIOUS)
    reader.press(Action.NEXT)
    reader.press(Action.NEXT)
    reader.press(Action.NEXT)
    assert reader.look() is None and "Drawing the clips" in reader.controller.window_text().waiting
    reader.clips.may_draw.set()
    assert reader.shown().key == 4


def test_a_fault_in_drawing_is_told(store: ComparisonStore, read: Read) -> None:
    reader = read(answered(store, (LEFT, False), (LEFT, False), (LEFT, False)))
    reader.shown()
    wait_until(lambda: len(reader.clips.drawn) == 4)
    reader.clips.error = MachineError("the process ended")
    reader.press(Action.NEXT)
    with pytest.raises(MachineError, match="the process ended"):
        while True:
            reader.look()
            reader.press(Action.NEXT)


# ---- as it was seen


@pytest.mark.parametrize(
    ("stored", "swapped", "standing", "status"),
    [
        (LEFT, False, LEFT, "left"),
        (LEFT, True, RIGHT, "right"),
        (RIGHT, True, LEFT, "left"),
        (TIE, True, TIE, "tie"),
        (NEITHER, True, NEITHER, "can't tell"),
    ],
)
def test_it_is_shown_as_the_person_saw_it(
    store: ComparisonStore,
    read: Read,
    reward: RewardEnsemble,
    stored: Preference,
    swapped: bool,
    standing: Preference,
    status: str,
) -> None:
    reader = read(answered(store, (stored, swapped)))
    assert reader.shown().standing is standing
    assert reader.numbers() == ((1, 0) if swapped else (0, 1))
    said = reader.controller.window_text()
    assert said.status == f"answer 1 of 1: {status}, by ann"
    query = store.query(1)
    sides = (query.right, query.left) if swapped else (query.left, query.right)
    p = predicted_p_left(reward, replace(query, left=sides[0], right=sides[1]))
    words = f"left {p:.0%}" if p >= 0.5 else f"right {1 - p:.0%}"
    assert said.trainer == f"the ensemble says {words}"
    rewards = np.stack([reward.predict(side.obs, side.actions) for side in sides])
    assert said.bars is not None
    np.testing.assert_allclose(said.bars, rewards / np.abs(rewards).max(), rtol=1e-5)


# ---- corrections


@pytest.mark.parametrize("swapped", [False, True])
def test_a_correction_is_a_new_row_and_the_old_one_stays(
    store: ComparisonStore, read: Read, swapped: bool
) -> None:
    reader = read(answered(store, (LEFT, swapped), (LEFT, False)))
    on_screen = reader.shown().standing
    reader.press(Action.LEFT if swapped else Action.RIGHT)
    rows = [(c.query.id, c.preference, c.labeler, c.swapped) for c in store.comparisons()]
    assert rows[:2] == [(1, LEFT, "ann", swapped), (2, LEFT, "ann", False)]
    assert rows[2:] == [(1, RIGHT, "bob", swapped)]
    assert store.comparisons()[2].seconds == pytest.approx(0.5)
    for action in (Action.NEXT, Action.PREVIOUS):
        reader.press(action)
        reader.shown()
    assert reader.shown().standing is on_screen.mirrored if on_screen else False
    assert reader.controller.window_text().status.endswith(", by bob")
    assert store.counts().answered == 2


def test_a_correction_of_a_correction(store: ComparisonStore, read: Read) -> None:
    reader = read(answered(store, (LEFT, True)))
    reader.shown()
    for action in (Action.TIE, Action.INCOMPARABLE, Action.RIGHT):
        reader.press(action)
    assert [c.preference for c in store.comparisons()] == [LEFT, TIE, NEITHER, LEFT]


def test_the_same_answer_again_is_no_correction(store: ComparisonStore, read: Read) -> None:
    reader = read(answered(store, (LEFT, True)))
    reader.shown()
    reader.press(Action.RIGHT)
    assert len(store.comparisons()) == 1


def test_an_answer_that_was_withdrawn_meanwhile(store: ComparisonStore, read: Read) -> None:
    reader = read(answered(store, (LEFT, False)))
    reader.shown()
    store.undo(1, "window", "ann")
    reader.press(Action.RIGHT)
    assert "no answer to revise" in reader.state.note
    assert reader.shown().standing is LEFT, "the correction does not stand"
    assert reader.controller.window_text().status == "answer 1 of 1: left, by ann"
    assert len(store.comparisons()) == 2


# ---- rewards and orders


def clip(stride: int) -> Clip:
    return Clip(np.zeros((1, 1, 1, 3), np.uint8), FPS, stride)


@pytest.mark.parametrize(
    ("rewards", "stride", "means"),
    [
        ([1, 2, 3, 4], 1, [1, 2, 3, 4]),
        ([1, 3, 5, 9], 2, [2, 7]),
        ([7, 1, 3, 5, 9], 2, [7, 2, 7]),
        ([1, 2, 3, 4], 3, [1, 3]),
        ([1, 2, 3], 5, [2]),
    ],
)
def test_a_picture_stands_for_the_steps_that_end_with_it(
    rewards: list[float], stride: int, means: list[float]
) -> None:
    np.testing.assert_allclose(per_picture(np.array(rewards, float), clip(stride)), means)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.integers(1, 9))
def test_there_is_a_bar_for_each_picture_and_no_reward_is_lost(
    rewards: list[float], stride: int
) -> None:
    means = per_picture(np.array(rewards), clip(stride))
    steps = shown_steps(len(rewards), stride)
    assert len(means) == len(steps)
    counts = np.diff(np.concatenate([[-1], steps]))
    assert float(means @ counts) == pytest.approx(sum(rewards), abs=1e-6)


def test_the_ensembles_choice_is_the_mean_of_its_members(
    store: ComparisonStore, reward: RewardEnsemble
) -> None:
    (asked,) = store.add(questions(1))
    returns = reward.member_returns([asked.left, asked.right])
    assert returns.shape == (3, 2)
    expected = expit(returns[:, 0] - returns[:, 1]).mean()
    assert predicted_p_left(reward, asked) == pytest.approx(expected)


class Believes:
    """Stands in for an ensemble of one member, to which the smaller number is so much better."""

    def __init__(self, by: float) -> None:
        self._by = by

    def member_returns(self, segments: Sequence[Any]) -> Array:
        return np.array([[-self._by * (s.obs[0, 0] % 2) for s in segments]])


@pytest.mark.parametrize(
    ("by", "order"),
    [
        (1.0, [4, 2, 5, 3, 1]),  # P = 0.73: a tie is likelier than even that
        (1e4, [4, 3, 2, 5, 1]),
        (-1.0, [2, 5, 4, 3, 1]),
        (-1e4, [2, 5, 3, 4, 1]),
    ],
)
def test_the_least_likely_answers_come_first(
    store: ComparisonStore, by: float, order: list[int]
) -> None:
    """Those that decide nothing are last, after what is certain."""
    rows = answered(
        store, (NEITHER, False), (LEFT, True), (TIE, False), (RIGHT, False), (LEFT, False)
    )
    reward: Any = Believes(by)
    assert [row.query_id for row in most_disagreed(store, reward, rows)] == order
