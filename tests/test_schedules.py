"""The label budget over time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.schedules import SCHEDULES, constant, disagreement_weight, hyperbolic

names = pytest.mark.parametrize("name", sorted(SCHEDULES))


@names
@given(st.integers(100, 10**8), st.integers(0, 10**5), st.data())
def test_from_the_first_batch_to_the_budget_and_never_down(
    name: str, total: int, budget: int, data: st.DataObject
) -> None:
    schedule = SCHEDULES[name]
    first = data.draw(st.integers(0, budget))
    steps = sorted(data.draw(st.lists(st.integers(0, 2 * total), max_size=10)))
    offered = [schedule(step, total, budget, first) for step in [0, *steps, 3 * total]]
    assert all(isinstance(n, int) for n in offered)
    assert offered == sorted(offered)
    assert offered[0] == (budget if name == "all-at-start" else first)
    assert offered[-1] == budget
    assert schedule(total, total, budget, first) == budget


def test_constant_on_paper() -> None:
    assert [constant(step, 100, 50, 10) for step in (0, 1, 25, 50, 99, 100)] == [
        10, 10, 20, 30, 49, 50,
    ]  # fmt: skip


def test_hyperbolic_on_paper() -> None:
    """With h = total / 10: half of the labels are out where log(1 + x) is half of log 11."""
    total = 2_000_000
    half = round(total / 10 * (math.sqrt(11) - 1))
    assert hyperbolic(half, total, 1_000_100, 100) == pytest.approx(500_100, abs=5)
    assert hyperbolic(total // 10, total, 10**6, 0) == pytest.approx(
        10**6 * math.log(2) / math.log(11), abs=1
    )


@pytest.mark.parametrize("step", [0, 10**6, 2 * 10**6, 10**7, 2 * 10**7 - 10**4])
def test_the_hyperbolic_rate_is_the_papers(step: int) -> None:
    """Labels a step after T steps of 2e7, against the start, are 2e6 / (T + 2e6)."""
    total, budget, h, span = 2 * 10**7, 10**12, 2e6, 10**4

    def rate(at: int) -> float:
        return (hyperbolic(at + span, total, budget, 0) - hyperbolic(at, total, budget, 0)) / span

    assert rate(step) / rate(0) == pytest.approx(h / (step + h), rel=0.01)


@pytest.mark.parametrize("half_rate_at", [0.025, 0.1, 2.0])
def test_the_hyperbolic_rate_halves_where_it_is_told(half_rate_at: float) -> None:
    total, budget, span = 10**7, 10**12, 10**3
    h = round(half_rate_at * total)

    def rate(at: int, run: int) -> float:
        ends = (hyperbolic(s, run, budget, 0, half_rate_at * total / run) for s in (at, at + span))
        return -(next(ends) - next(ends)) / span

    run = max(total, 2 * h)  # long enough to see it
    assert rate(h, run) / rate(0, run) == pytest.approx(0.5, rel=0.01)
    assert hyperbolic(total, total, 700, 175, half_rate_at) == 700


def test_early_labels_come_faster_than_constant() -> None:
    steps = np.linspace(1, 599_999, 50).astype(int)
    assert all(hyperbolic(s, 600_000, 700, 175) >= constant(s, 600_000, 700, 175) for s in steps)


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 0.5), (250, 0.125), (500, -0.25), (1000, -1.0), (1100, -1.0)]
)
def test_disagreement_is_worth_a_bonus_first_and_costs_in_the_end(step: int, weight: float) -> None:
    assert disagreement_weight(step, 1000, 0.5, 1.0) == pytest.approx(weight)
    assert disagreement_weight(step, 1000, 0.0, 0.0) == 0
