"""The Bradley-Terry loss on literal numbers, and what never changes about it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.reward.losses import bradley_terry_loss

returns = st.floats(-50, 50)
noises = st.floats(0.01, 0.9)


def loss(left: float, right: float, p_left: float, noise: float = 0.0) -> float:
    values = (torch.tensor(x, dtype=torch.float64) for x in (left, right, p_left))
    return float(bradley_terry_loss(*values, noise))


@pytest.mark.parametrize(
    ("left", "right", "p_left", "noise", "value"),
    [
        (0.0, 0.0, 1.0, 0.0, math.log(2)),
        (0.0, 0.0, 0.5, 0.1, math.log(2)),
        # sigmoid(log 3) = 3/4
        (math.log(3), 0.0, 1.0, 0.0, -math.log(0.75)),
        (math.log(3), 0.0, 0.0, 0.0, -math.log(0.25)),
        (math.log(3), 0.0, 0.5, 0.0, -0.5 * math.log(0.75 * 0.25)),
        # 0.9 * 3/4 + 0.05 = 0.725
        (math.log(3), 0.0, 1.0, 0.1, -math.log(0.725)),
        (0.0, math.log(3), 1.0, 0.1, -math.log(0.275)),
        (2.0, 2.0 - math.log(3), 0.5, 0.1, -0.5 * math.log(0.725 * 0.275)),
        # the logit has no say where all is noise but 1 %
        (math.log(3), 0.0, 1.0, 0.99, -math.log(0.01 * 0.75 + 0.495)),
    ],
)
def test_literal_values(
    left: float, right: float, p_left: float, noise: float, value: float
) -> None:
    assert loss(left, right, p_left, noise) == pytest.approx(value, rel=1e-12)


def test_losses_are_of_each_comparison() -> None:
    left, right = torch.zeros(2, 3), torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    p_left = torch.tensor([1.0, 0.0, 0.5])
    together = bradley_terry_loss(left, right, p_left, 0.1)  # (M, B)
    assert together.shape == (2, 3)
    for m in range(2):
        for b in range(3):
            alone = loss(0.0, float(right[m, b]), float(p_left[b]), 0.1)
            assert float(together[m, b]) == pytest.approx(alone, rel=1e-5)


@given(returns, returns, st.floats(0, 0.9))
def test_the_two_preferences_sum_to_one(left: float, right: float, noise: float) -> None:
    p_left, p_right = math.exp(-loss(left, right, 1, noise)), math.exp(-loss(left, right, 0, noise))
    assert p_left + p_right == pytest.approx(1)
    assert math.exp(-loss(right, left, 1, noise)) == pytest.approx(p_right)


@given(returns, returns, st.floats(-50, 50), st.floats(0, 1), st.floats(0, 0.9))
def test_a_constant_added_to_both_changes_nothing(
    left: float, right: float, constant: float, p_left: float, noise: float
) -> None:
    moved = loss(left + constant, right + constant, p_left, noise)
    assert moved == pytest.approx(loss(left, right, p_left, noise), abs=1e-9)


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30), st.floats(0, 1), noises)
def test_noise_bounds_the_loss(left: float, right: float, p_left: float, noise: float) -> None:
    assert 0 <= loss(left, right, p_left, noise) <= -math.log(noise / 2) + 1e-9


def test_without_noise_the_loss_has_no_bound() -> None:
    assert loss(-1e4, 0.0, 1.0) == pytest.approx(1e4)


@given(returns, returns, noises)
def test_a_tie_costs_least_where_the_returns_are_equal(
    left: float, right: float, noise: float
) -> None:
    least = math.log(2)
    assert loss(left, left, 0.5, noise) == pytest.approx(least)
    assert loss(left, right, 0.5, noise) >= least - 1e-9
    assert loss(left, right, 0.5, noise) == pytest.approx(loss(right, left, 0.5, noise))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("p_left", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("logit", [-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30])
def test_loss_and_gradient_are_finite(logit: float, p_left: float, noise: float) -> None:
    left = torch.tensor([logit], requires_grad=True)
    value = bradley_terry_loss(left, torch.zeros(1), torch.tensor([p_left]), noise)
    value.sum().backward()
    assert left.grad is not None
    assert torch.isfinite(value).all()
    assert torch.isfinite(left.grad).all()
    assert float(left.grad.abs()) <= 1


@pytest.mark.parametrize(("logit", "noise"), [(0.0, 0.0), (1.3, 0.0), (-2.0, 0.1), (0.7, 0.3)])
def test_the_gradient_on_paper(logit: float, noise: float) -> None:
    left = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    bradley_terry_loss(left, zero, one, noise).backward()
    p = 1 / (1 + math.exp(-logit))
    assert left.grad is not None
    # d/dx of -log((1-n) p + n/2), with dp/dx = p (1 - p)
    slope = -(1 - noise) * p * (1 - p) / ((1 - noise) * p + noise / 2)
    assert float(left.grad) == pytest.approx(slope)


def test_noise_lets_go_of_an_answer_that_contradicts_everything() -> None:
    """A clear mistake pulls with full force without noise, and hardly with it."""

    def pull(noise: float) -> float:
        left = torch.tensor(-10.0, requires_grad=True)
        bradley_terry_loss(left, torch.zeros(()), torch.ones(()), noise).backward()
        assert left.grad is not None
        return float(left.grad.abs())

    assert pull(0.0) > 0.99
    assert pull(0.1) < 0.01
