"""The values that stages hand each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from prefrl.types import (
    Comparison,
    MachineError,
    Preference,
    PrefrlError,
    Query,
    Segment,
    Viewing,
)

LEFT, RIGHT, TIE, INCOMPARABLE = Preference


@pytest.mark.parametrize(
    ("preference", "p_left", "mirrored"),
    [(LEFT, 1.0, RIGHT), (RIGHT, 0.0, LEFT), (TIE, 0.5, TIE), (INCOMPARABLE, None, INCOMPARABLE)],
)
def test_preferences(preference: Preference, p_left: float | None, mirrored: Preference) -> None:
    assert preference.p_left == p_left
    assert preference.mirrored is mirrored
    assert preference.mirrored.mirrored is preference


def test_the_true_return_is_summed_in_double_precision() -> None:
    rewards = np.full(100_000, 0.1, dtype=np.float32)
    segment = Segment(np.zeros((100_000, 1)), np.zeros((100_000, 1)), rewards)
    assert segment.true_return == pytest.approx(100_000 * float(np.float32(0.1)), rel=1e-12)
    assert len(segment) == 100_000


def test_values_are_frozen() -> None:
    segment = Segment(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(2))
    query = Query(segment, segment)
    assert np.isnan(query.disagreement)
    assert query.id is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        segment.step = 3  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        query.id = 3  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Viewing().seconds = 3  # type: ignore[misc]


def test_nobody_watched_unless_they_say_so() -> None:
    segment = Segment(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(2))
    comparison = Comparison(Query(segment, segment), LEFT, "oracle", 9.0, 0.0)
    for looked in (Viewing(), comparison):
        assert looked.seconds == 0
        assert np.isnan(looked.watched)
        assert looked.swapped is False


def test_a_failing_machine_is_told_from_a_mistaken_user() -> None:
    assert issubclass(MachineError, PrefrlError)
    assert not issubclass(PrefrlError, MachineError)
