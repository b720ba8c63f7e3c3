"""What a person's answers add up to, on rows written by hand."""

from __future__ import annotations

import math

import pytest

from prefrl.label_quality import (
    OBVIOUS,
    PAUSE,
    REPEAT,
    REPEAT_SWAPPED,
    Quality,
    described,
    per_hour,
    quality,
)
from prefrl.store import AnswerRow, CheckRow
from prefrl.types import Preference

LEFT, RIGHT, TIE, NEITHER = (
    Preference.LEFT,
    Preference.RIGHT,
    Preference.TIE,
    Preference.INCOMPARABLE,
)


def answer(
    preference: Preference, at: float = 0.0, swapped: bool = False, seconds: float = 1.0
) -> AnswerRow:
    return AnswerRow(1, 1, preference, "ann", at, seconds, 1.0, swapped)


def check(
    kind: str,
    preference: Preference,
    expected: Preference = LEFT,
    swapped: bool = False,
    at: float = 0.0,
) -> CheckRow:
    return CheckRow("c", kind, None, expected, preference, "ann", at, 9.0, 1.0, swapped)


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        ([0, 10, 20], 360),
        ([20, 0, 10], 360),
        ([0, 6, 6 + PAUSE + 1, 12 + PAUSE + 1], 600),
        ([0, PAUSE], 30),
        ([0, PAUSE + 0.5], math.nan),
        ([5], math.nan),
        ([], math.nan),
        ([3, 3], math.nan),
    ],
)
def test_pauses_are_no_work(times: list[float], rate: float) -> None:
    assert per_hour(times) == pytest.approx(rate, nan_ok=True)


def test_an_answer_to_a_check_is_work_and_no_label() -> None:
    found = quality([answer(LEFT, 0), answer(LEFT, 20)], [check(REPEAT, LEFT, at=10)])
    assert found.labels == 2
    assert found.per_hour == pytest.approx(360)
    assert found.median_seconds == 1.0


def test_both_kinds_of_repeats_are_consistent_where_the_answer_is_the_same() -> None:
    """What is stored is about the query's own sides, whatever was on the screen."""
    checks = [
        check(REPEAT, LEFT, LEFT),
        check(REPEAT, RIGHT, RIGHT, swapped=True),
        check(REPEAT, TIE, LEFT),
        check(REPEAT_SWAPPED, LEFT, LEFT, swapped=True),
        check(REPEAT_SWAPPED, LEFT, RIGHT, swapped=True),
        check(OBVIOUS, RIGHT, LEFT),
    ]
    found = quality([], checks)
    assert found.consistent == (3, 5)
    assert found.obvious == (0, 1)


def test_obvious_pairs() -> None:
    checks = [check(OBVIOUS, p, LEFT) for p in (LEFT, LEFT, RIGHT, TIE, NEITHER)]
    assert quality([], checks).obvious == (2, 5)
    assert quality([], checks).consistent == (0, 0)


def test_left_is_the_screens_left() -> None:
    """Half of the pairs are swapped; ties and those that cannot be compared are on no side."""
    answers = [
        answer(LEFT),
        answer(LEFT, swapped=True),
        answer(RIGHT),
        answer(RIGHT, swapped=True),
        answer(RIGHT, swapped=True),
        answer(TIE),
        answer(NEITHER, swapped=True),
    ]
    assert quality(answers, []).left == (3, 5)
    always_left = [answer(LEFT), answer(RIGHT, swapped=True)] * 4
    assert quality(always_left, [check(REPEAT, RIGHT, swapped=True)]).left == (9, 9)


def test_half_the_answers_took_less_than_the_median() -> None:
    answers = [answer(TIE, seconds=s) for s in (1, 2, 30)]
    assert quality(answers, []).median_seconds == 2


def test_of_nothing_nothing_is_said() -> None:
    found = quality([], [])
    assert (found.labels, found.consistent, found.left, found.obvious) == (0, *[(0, 0)] * 3)
    assert math.isnan(found.per_hour) and math.isnan(found.median_seconds)
    assert set(described(found).values()) == {
        *("0", "too few to say", "none", "none asked yet"),
    }


def test_in_words() -> None:
    found = Quality(1234, 1000.4, (3, 4), (600, 1200), (2, 2), 2.25)
    assert described(found) == {
        "labels": "1,234",
        "an hour": "1,000",
        "median time of an answer": "2.2 s",
        "same answer to a pair shown again": "75% (3 of 4)",
        "left chosen": "50% (600 of 1200)",
        "obvious pairs right": "100% (2 of 2)",
    }
