"""Simulated teachers on literal returns, and the contract that every labeler keeps to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.config import LabelConfig
from prefrl.labelers import LABELERS, is_asked
from prefrl.labelers.oracle import TEACHERS, SimulatedTeacher, TeacherSettings, simulated_teacher
from prefrl.labelers.perceptive import Perceptive
from prefrl.run import build_labeler
from prefrl.store import ComparisonStore
from prefrl.types import MachineError, Preference, PrefrlError, Query, Segment

LEFT, RIGHT, TIE, INCOMPARABLE = Preference
DRAWS = 4000


def query(left: Sequence[float], right: Sequence[float]) -> Query:
    sides = (
        Segment(np.zeros((len(r), 1)), np.zeros((len(r), 1)), np.asarray(r, np.float32))
        for r in (left, right)
    )
    return Query(*sides)


def teacher(name: str = "oracle", seed: int = 0) -> SimulatedTeacher:
    return simulated_teacher(name)(np.random.default_rng(seed))


def custom(settings: TeacherSettings, seed: int = 0) -> SimulatedTeacher:
    return SimulatedTeacher("custom", settings, np.random.default_rng(seed))


def share(labeler: SimulatedTeacher, asked: Query, answer: Preference) -> float:
    return sum(labeler.label(asked) is answer for _ in range(DRAWS)) / DRAWS


def near(p: float) -> object:
    """Within five standard errors of a share."""
    return pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / DRAWS))


def test_the_table_is_that_of_b_pref() -> None:
    assert {n: (t.beta, t.gamma, t.epsilon, t.skip, t.equal) for n, t in TEACHERS.items()} == {
        "oracle": (math.inf, 1, 0, 0, 0),
        "stochastic": (1, 1, 0, 0, 0),
        "mistake": (math.inf, 1, 0.1, 0, 0),
        "myopic": (math.inf, 0.9, 0, 0, 0),
        "skip": (math.inf, 1, 0, 0.1, 0),
        "equal": (math.inf, 1, 0, 0, 0.1),
    }
    assert set(LABELERS) >= {*TEACHERS, "human", "store"}


def test_the_larger_return_wins_and_equal_ones_tie() -> None:
    oracle = teacher()
    assert oracle.label(query([1, 2, 3], [3, 2, 0])) is LEFT
    assert oracle.label(query([-5, 0], [-2, -2])) is RIGHT
    assert oracle.label(query([1, 2, 3], [3, 2, 1])) is TIE
    assert oracle.label(query([0, 0], [0, 0])) is TIE
    assert oracle.label(query([0, 1e-6], [0, 0])) is LEFT


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=8),
)
def test_the_oracle_is_the_sign_of_the_difference(rewards: list[tuple[int, int]]) -> None:
    left, right = zip(*rewards, strict=True)
    expected = {1: LEFT, 0: TIE, -1: RIGHT}[int(np.sign(sum(left) - sum(right)))]
    assert teacher().label(query(left, right)) is expected
    assert teacher().label(query(right, left)) is expected.mirrored


def test_returns_are_not_rounded_before_they_are_compared() -> None:
    """In single precision 1e8 + 1 is 1e8."""
    assert teacher().label(query([1e8, 1], [1e8, 0])) is LEFT


@pytest.mark.parametrize(
    ("beta", "left", "p"),
    [
        (1.0, [math.log(3), 0], 0.75),
        (1.0, [-math.log(3), 0], 0.25),
        (2.0, [math.log(3), 0], 0.9),
        (0.5, [2 * math.log(3), 0], 0.75),
        (0.0, [5, 0], 0.5),
    ],
)
def test_beta_is_the_slope_of_a_logistic(beta: float, left: list[float], p: float) -> None:
    labeler = custom(TeacherSettings(beta=beta))
    assert share(labeler, query(left, [0, 0]), LEFT) == near(p)


def test_the_stochastic_teacher_sums_rewards() -> None:
    asked = query([0.5, math.log(3) - 0.5, 1], [1, 0, 0])
    assert share(teacher("stochastic"), asked, LEFT) == near(0.75)
    assert share(teacher("stochastic"), query([1e6, 0], [0, 0]), LEFT) == 1


@pytest.mark.parametrize("gamma", [0.9, 0.5])
def test_a_myopic_teacher_values_the_end(gamma: float) -> None:
    """A reward k steps before the end counts gamma^k, so it may reverse the answer."""
    labeler = custom(TeacherSettings(gamma=gamma))
    for k in range(1, 6):
        early, late = np.zeros(6), np.zeros(6)
        early[5 - k] = 1.0
        for factor, answer in [(0.999, LEFT), (1.001, RIGHT)]:
            late[5] = gamma**k * factor
            assert labeler.label(query(early, late)) is answer
            assert teacher().label(query(early, late)) is LEFT


def test_a_myopic_teacher_can_reverse_the_oracle() -> None:
    asked = query([4, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 3])  # 4 * 0.9^6 = 2.13
    assert teacher().label(asked) is LEFT
    assert teacher("myopic").label(asked) is RIGHT


def test_a_mistake_is_one_answer_in_ten() -> None:
    assert share(teacher("mistake"), query([1], [0]), RIGHT) == near(0.1)
    assert share(teacher("mistake"), query([0], [1]), RIGHT) == near(0.9)
    always = custom(TeacherSettings(epsilon=1.0))
    assert always.label(query([1], [0])) is RIGHT


def test_flips_come_after_the_logistic() -> None:
    labeler = custom(TeacherSettings(beta=1.0, epsilon=0.1))
    assert share(labeler, query([math.log(3)], [0]), LEFT) == near(0.75 * 0.9 + 0.25 * 0.1)


def test_a_tie_wins_over_flips() -> None:
    assert share(teacher("mistake"), query([1, 0], [0, 1]), TIE) == 1
    labeler = custom(TeacherSettings(epsilon=1.0, equal=0.1))
    labeler.observe_episode(100.0, 100)  # 1 a step: a tenth of 2 steps is 0.2
    assert labeler.label(query([1, 1], [1, 0.9])) is TIE
    assert labeler.label(query([1, 1], [1, 0.5])) is RIGHT


def test_skipping_on_paper() -> None:
    """delta = 0.1 x mean true episode return x segment length / episode length."""
    labeler = teacher("skip")
    labeler.observe_episode(150.0, 50)
    labeler.observe_episode(50.0, 50)  # mean 100 over 50 steps: 2 a step; delta is 0.8 of 4 steps
    assert labeler.label(query([0.75, 0, 0, 0], [0, 0.25, 0, 0])) is INCOMPARABLE
    assert labeler.label(query([0, 0, 0, 0], [0, 0, 0, 0])) is INCOMPARABLE, "before it could tie"
    assert labeler.label(query([0.875, 0, 0, 0], [0, 0.25, 0, 0])) is LEFT
    assert labeler.label(query([0.25, 0, 0, 0], [0.5, 0.5, 0, 0])) is RIGHT, "one will do"
    assert labeler.label(query([1, 0, 0, 0], [0, 1, 0, 0])) is TIE


def test_the_equal_margin_on_paper() -> None:
    labeler = teacher("equal")
    labeler.observe_episode(200.0, 100)  # delta is 0.8 of 4 steps
    assert labeler.label(query([5, 0, 0, 0.75], [5, 0, 0, 0])) is TIE
    assert labeler.label(query([5, 0, 0, 0], [5, 0, 0, 0.75])) is TIE
    assert labeler.label(query([5, 0, 0, 0.875], [5, 0, 0, 0])) is LEFT
    assert labeler.label(query([0, 0, 0, 0.875], [1, 1, 0, 0])) is RIGHT


def test_margins_are_strict() -> None:
    """Skip unless max > delta; equal where the difference is < delta; delta is 1 here."""
    skip, equal = (custom(s) for s in (TeacherSettings(skip=0.5), TeacherSettings(equal=0.5)))
    for labeler in (skip, equal):
        labeler.observe_episode(4.0, 4)
    assert skip.label(query([1, 0], [0, 0])) is INCOMPARABLE
    assert equal.label(query([1, 0], [0, 0])) is LEFT


def test_margins_do_not_shrink_with_every_answer() -> None:
    """The public code multiplies its threshold by the share again and again."""
    labeler = teacher("equal")
    for _ in range(50):
        labeler.observe_episode(200.0, 100)
        assert labeler.label(query([5, 0, 0, 0.75], [5, 0, 0, 0])) is TIE
        assert labeler.label(query([5, 0, 0, 0.875], [5, 0, 0, 0])) is LEFT


def test_margins_follow_the_mean_of_the_last_ten_episodes() -> None:
    labeler, asked = teacher("equal"), query([5, 0, 0, 0.75], [5, 0, 0, 0])
    labeler.observe_episode(1e6, 100)
    for _ in range(9):
        labeler.observe_episode(200.0, 100)
    assert labeler.label(query([400, 0, 0, 0], [0, 0, 0, 0])) is TIE
    labeler.observe_episode(200.0, 100)
    assert labeler.label(asked) is TIE, "delta is 0.8 of 4 steps"
    assert labeler.label(query([5, 0, 0, 0.875], [5, 0, 0, 0])) is LEFT


@pytest.mark.parametrize("name", ["skip", "equal"])
def test_margins_are_the_same_after_a_run_was_resumed(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    with ComparisonStore(tmp_path / "store.sqlite") as store:
        one = build_labeler(LabelConfig(name), np.random.default_rng(1), store)
        one.observe_episode(-500.0, 100)
        for stored in store.add([query(*rng.uniform(-10, 0, (2, 4))) for _ in range(30)]):
            assert stored.id is not None
            store.answer(stored.id, one.label(stored), name)
        other = build_labeler(LabelConfig(name), np.random.default_rng(1), store)
    other.observe_episode(-500.0, 100)
    levels = rng.uniform(-10, 0, 300)
    asked = [query(*rng.uniform(level - 0.5, level + 0.5, (2, 4))) for level in levels]
    answers = [one.label(q) for q in asked]
    assert answers == [other.label(q) for q in asked]
    assert answers.count(TIE if name == "equal" else INCOMPARABLE) > 5, "there are margins"


def test_without_an_episode_there_is_no_margin() -> None:
    for name in ("skip", "equal"):
        assert teacher(name).label(query([0.001, 0], [0, 0])) is LEFT
        assert teacher(name).label(query([0, 0], [0, 0])) is TIE


@pytest.mark.parametrize("name", ["skip", "equal"])
def test_negative_returns_keep_their_margins(name: str) -> None:
    """Rewards of -10 to 0: what is a margin above 0 is one below it, too."""
    labeler = teacher(name)
    labeler.label(query([-10.0] * 4, [-10.0, -10.0, -10.0, -9.0]))  # the worst there is
    labeler.observe_episode(-500.0, 100)  # -5 a step is 5 over the worst: delta is 2 of 4 steps
    if name == "equal":
        assert labeler.label(query([-5, -5, -5, -5], [-5, -5, -5, -6.5])) is TIE
        assert labeler.label(query([-5, -5, -5, -5], [-5, -5, -5, -7.5])) is LEFT
    else:
        assert labeler.label(query([-9.5, -10, -10, -9], [-10, -10, -10, -9])) is INCOMPARABLE
        assert labeler.label(query([-7.5, -10, -10, -10], [-10, -10, -10, -9])) is LEFT
        assert labeler.label(query([-1, -1, -1, -1], [0, 0, 0, 0])) is RIGHT


def test_few_good_segments_are_skipped_where_all_returns_are_negative() -> None:
    """The public code, whose margin is negative there, would skip the best and keep the worst."""
    labeler, rng = teacher("skip"), np.random.default_rng(0)
    labeler.observe_episode(-500.0, 100)
    answers = []
    for _ in range(200):
        left, right = rng.uniform(-10, 0, (2, 4))
        answers.append(labeler.label(query(left, right)))
    assert answers.count(INCOMPARABLE) < 20
    assert answers.count(LEFT) > 60
    assert answers.count(RIGHT) > 60


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", sorted(TEACHERS))
def test_a_true_reward_that_is_no_number_is_refused(name: str, value: float) -> None:
    for asked in (query([1, value], [0, 0]), query([0, 0], [value, 1])):
        with pytest.raises(PrefrlError, match="--labeler human") as caught:
            teacher(name).label(asked)
        assert not isinstance(caught.value, MachineError)
        assert str(value) in str(caught.value)


@pytest.mark.parametrize("name", sorted(LABELERS))
def test_every_labeler_keeps_to_the_contract(name: str) -> None:
    rng = np.random.default_rng(1)
    asked = [query(*rng.normal(size=(2, 5))) for _ in range(400)]

    def answers(seed: int) -> list[Preference]:
        labeler = LABELERS[name](np.random.default_rng(seed))
        assert labeler.name == name
        labeler.observe_episode(10.0, 20)
        if not labeler.immediate:
            return []
        return [labeler.label(q) for q in asked]

    first = answers(0)
    assert all(isinstance(a, Preference) for a in first)
    assert answers(0) == first, "chance is drawn from the generator alone"
    if first:
        truth = [teacher().label(q) for q in asked]
        decided = [(a, t) for a, t in zip(first, truth, strict=True) if a in (LEFT, RIGHT)]
        likes_what_is_good = np.mean([a is t for a, t in decided])
        if name == "shuffled":
            assert 0.4 < likes_what_is_good < 0.6, "it tells nothing"
        else:
            assert likes_what_is_good > 0.6


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1.0, 0.0], [0.5, 0.4], TIE),  # 1.0 against 0.9
        ([1.0, 0.0], [0.5, 0.25], LEFT),  # 0.25 is what it just sees
        ([-3.0, 0.0], [0.0, 0.0], RIGHT),
        ([2.0, 2.0], [2.0, 2.0], TIE),
    ],
)
def test_small_differences_are_not_seen(
    left: list[float], right: list[float], expected: Preference
) -> None:
    eyes = Perceptive(teacher(), tie_below=0.25)
    for _ in range(20):  # what there is to see
        assert eyes.label(query([9.0], [0.0])) is LEFT
    assert eyes.label(query(left, right)) is expected


def test_where_next_to_nothing_happens_a_fifth_is_told_apart() -> None:
    eyes = Perceptive(teacher(), tie_below=0.25)
    rng = np.random.default_rng(0)
    told = [eyes.label(query([d], [0.0])) is not TIE for d in rng.uniform(0, 0.1, 1000)]
    assert 0.15 < np.mean(told[100:]) < 0.25
    for _ in range(200):
        eyes.label(query([9.0], [0.0]))
    assert eyes.label(query([0.1], [0.0])) is TIE, "now there is more to see"


def test_what_is_not_comparable_stays_so() -> None:
    skipper = Perceptive(custom(TeacherSettings(skip=0.5)), tie_below=5.0)
    assert skipper.immediate and skipper.name == "custom"
    skipper.observe_episode(20.0, 20)
    assert skipper.label(query([9.0], [0.0])) is LEFT
    assert skipper.label(query([0.1], [0.0])) is INCOMPARABLE
    assert skipper.label(query([2.0], [0.0])) is TIE


def test_a_run_has_a_labeler_with_its_preset_eyes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with ComparisonStore(tmp_path / "store.sqlite") as store:
        assert isinstance(build_labeler(LabelConfig(), rng, store), SimulatedTeacher)
        assert isinstance(build_labeler(LabelConfig(tie_below=0.1), rng, store), Perceptive)
        assert not build_labeler(LabelConfig("human", tie_below=0.1), rng, store).immediate


@pytest.mark.parametrize(("seen", "answer"), [(0.01, LEFT), (9.0, TIE)])
def test_eyes_are_used_to_what_a_run_saw_before_it_was_resumed(
    tmp_path: Path, seen: float, answer: Preference
) -> None:
    asked = query([0.1], [0.0])
    with ComparisonStore(tmp_path / "store.sqlite") as store:
        for stored in store.add([query([seen], [0.0])] * 20):
            assert stored.id is not None
            store.answer(stored.id, LEFT, "oracle")
        eyes = build_labeler(LabelConfig(tie_below=0.25), np.random.default_rng(0), store)
    assert eyes.label(asked) is answer


@pytest.mark.parametrize(("name", "asked"), [("human", True), ("store", False)])
def test_nobody_can_make_a_person_answer(name: str, asked: bool) -> None:
    human = LABELERS[name](np.random.default_rng(0))
    assert not human.immediate and is_asked(human) is asked
    with pytest.raises(TypeError, match="comparison store"):
        human.label(query([1], [0]))
