"""Candidates, strategies and the gate, on literal arrays and by their contracts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import logit

from prefrl.queries import (
    STRATEGIES,
    Candidates,
    by_score,
    disagreement,
    draw_pairs,
    entropy,
    k_center,
    mutual_information,
    preferences,
    select,
)
from prefrl.types import Array

LN2 = math.log(2)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def returns_of(p_left: list[list[float]]) -> Array:
    """Member returns (M, N, 2) under which P(left > right) is `p_left` (M, N)."""
    p = np.array(p_left)
    return np.stack([logit(p) + 3.0, np.full(p.shape, 3.0)], axis=-1)


def on_a_line(*points: float, asked: tuple[float, ...] = ()) -> Candidates:
    features = np.array(points, dtype=float)[:, None]
    return Candidates(
        np.zeros((2, len(points), 2)), features, np.array(asked, dtype=float).reshape(-1, 1)
    )


member_returns = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
    lambda shape: hnp.arrays(np.float64, (*shape, 2), elements=st.floats(-1e6, 1e6))
)


@st.composite
def candidates(draw: st.DrawFn) -> Candidates:
    members, n, asked = draw(st.integers(1, 4)), draw(st.integers(0, 12)), draw(st.integers(0, 4))
    values = st.floats(-5, 5) | st.sampled_from([0.0, 1.0])  # ties, too
    return Candidates(
        draw(hnp.arrays(np.float64, (members, n, 2), elements=values)),
        draw(hnp.arrays(np.float64, (n, 3), elements=values)),
        draw(hnp.arrays(np.float64, (asked, 3), elements=values)),
    )


@given(st.integers(2, 20), st.integers(0, 50), st.integers(0, 99))
def test_pairs_are_of_two_segments_of_the_pool(n_segments: int, n: int, seed: int) -> None:
    pairs = draw_pairs(n_segments, n, rng(seed))
    assert pairs.shape == (n, 2)
    assert ((pairs >= 0) & (pairs < n_segments)).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()


@pytest.mark.parametrize("n", [0, 20, 45])
def test_no_pair_is_drawn_twice_in_either_order(n: int) -> None:
    for seed in range(20):
        pairs = np.sort(draw_pairs(20, n, rng(seed)), axis=1)
        assert len(np.unique(pairs, axis=0)) == n


def test_pairs_are_uniform() -> None:
    n_segments, n = 5, 40_000
    pairs = draw_pairs(n_segments, n, rng())
    counts = np.zeros((n_segments, n_segments))
    np.add.at(counts, (pairs[:, 0], pairs[:, 1]), 1)
    expected = n / (n_segments * (n_segments - 1))
    off_diagonal = counts[~np.eye(n_segments, dtype=bool)]
    assert np.abs(off_diagonal - expected).max() < 5 * math.sqrt(expected)


def test_preferences_and_disagreement_on_paper() -> None:
    returns = returns_of([[0.75, 0.5, 0.9], [0.25, 0.5, 0.9]])
    np.testing.assert_allclose(preferences(returns), [[0.75, 0.5, 0.9], [0.25, 0.5, 0.9]])
    np.testing.assert_allclose(disagreement(returns), [0.25, 0, 0], atol=1e-12)
    split = np.array([[[1e9, 0.0]], [[-1e9, 0.0]]])
    assert disagreement(split).tolist() == [0.5]
    np.testing.assert_allclose(disagreement(returns_of([[0.2], [0.5], [0.8]])), [math.sqrt(0.06)])


def test_entropy_and_mutual_information_on_paper() -> None:
    returns = returns_of([[0.5, 0.75], [0.5, 0.25]])
    h = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    np.testing.assert_allclose(entropy(returns), [LN2, h])
    np.testing.assert_allclose(mutual_information(returns), [0, LN2 - h], atol=1e-12)
    split = np.array([[[1e9, 0.0]], [[-1e9, 0.0]]])
    assert entropy(split).tolist() == [0.0]
    assert mutual_information(split).tolist() == pytest.approx([LN2])


def test_an_agreed_tie_is_uncertain_but_teaches_nothing() -> None:
    """What tells mutual information from entropy."""
    tie, dispute = returns_of([[0.5]] * 3), returns_of([[0.9], [0.5], [0.1]])
    assert entropy(tie)[0] == pytest.approx(LN2)
    assert entropy(tie)[0] > entropy(dispute)[0]
    assert abs(mutual_information(tie)[0]) < 1e-12
    assert mutual_information(dispute)[0] > 0.1
    both = Candidates(np.concatenate([tie, dispute], 1), np.zeros((2, 1)), np.zeros((0, 1)))
    assert STRATEGIES["entropy"](both, 1, rng()).tolist() == [0]
    assert STRATEGIES["mutual-information"](both, 1, rng()).tolist() == [1]
    assert STRATEGIES["disagreement"](both, 1, rng()).tolist() == [1]


@given(member_returns)
def test_scores_stay_in_their_ranges(returns: Array) -> None:
    for score, low, high in [
        (disagreement, 0.0, 0.5),
        (entropy, 0.0, LN2),
        (mutual_information, 0.0, LN2),
    ]:
        values = score(returns)
        assert values.shape == (returns.shape[1],)
        assert (values >= low - 1e-9).all()
        assert (values <= high + 1e-9).all()


@given(member_returns, st.floats(-100, 100))
def test_scores_are_blind_to_sides_and_to_a_constant(returns: Array, constant: float) -> None:
    for score in (disagreement, entropy, mutual_information):
        np.testing.assert_allclose(score(returns[..., ::-1]), score(returns), atol=1e-9)
        np.testing.assert_allclose(score(returns + constant), score(returns), atol=1e-6)


@pytest.mark.parametrize(
    ("points", "asked", "picked"),
    [
        # nothing asked yet: the first of them, then always the farthest from all picked
        ((0.0, 1.0, 2.0, 10.0), (), [0, 3, 2, 1]),
        # 10 is next to what was asked: 0 is farthest, then 4 (4 from 0, 5 from 9)
        ((10.0, 4.0, 0.0, 1.0), (9.0,), [2, 1, 0, 3]),
        ((1.0, 5.0, 9.0), (0.0, 10.0), [1, 0, 2]),
        ((3.0, 3.0, 3.0), (), [0, 1, 2]),
    ],
)
def test_k_center_on_a_line(
    points: tuple[float, ...], asked: tuple[float, ...], picked: list[int]
) -> None:
    for n in range(len(points) + 1):
        assert k_center(on_a_line(*points, asked=asked), n, rng()).tolist() == picked[:n]


def test_k_center_spreads_out_among_the_better_half() -> None:
    """The half of highest disagreement lies at 0, 1, 5; the rest far away is left out."""
    p = [[0.9, 0.9, 0.9, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.5, 0.5, 0.5]]
    features = np.array([0.0, 1.0, 5.0, 100.0, 200.0, 300.0])[:, None]
    pairs = Candidates(returns_of(p), features, np.zeros((0, 1)))
    picked = STRATEGIES["k-center-disagreement"](pairs, 2, rng())
    assert picked.tolist() == [0, 2]
    assert k_center(pairs, 2, rng()).tolist() == [0, 5]
    unsure = STRATEGIES["k-center-entropy"](pairs, 2, rng())
    assert unsure.tolist() == [3, 5]
    # more wanted than half of them: all that are needed
    assert len(STRATEGIES["k-center-disagreement"](pairs, 5, rng())) == 5


def test_the_best_scores_come_first() -> None:
    score = np.array([0.1, 0.9, 0.5, 0.9])
    strategy = by_score(lambda returns: score)
    assert strategy(on_a_line(0, 0, 0, 0), 3, rng()).tolist() == [1, 3, 2]


def test_uniform_takes_each_as_often() -> None:
    pairs = on_a_line(*range(6))
    draws = rng()
    counts = np.bincount(
        np.concatenate([STRATEGIES["uniform"](pairs, 2, draws) for _ in range(3000)]), minlength=6
    )
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@given(candidates(), st.integers(0, 15), st.integers(0, 99))
def test_every_strategy_keeps_to_the_contract(
    name: str, pairs: Candidates, n: int, seed: int
) -> None:
    total = pairs.returns.shape[1]
    chosen = STRATEGIES[name](pairs, n, rng(seed))
    assert len(chosen) == min(n, total)
    assert len(set(chosen.tolist())) == len(chosen)
    assert chosen.dtype.kind == "i"
    assert ((chosen >= 0) & (chosen < total)).all()
    np.testing.assert_array_equal(STRATEGIES[name](pairs, n, rng(seed)), chosen)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@given(candidates(), st.integers(0, 15), st.floats(0, 0.5))
def test_nothing_under_the_gate_is_ever_asked(
    name: str, pairs: Candidates, n: int, ask_above: float
) -> None:
    spread = disagreement(pairs.returns)
    chosen = select(pairs, STRATEGIES[name], n, ask_above, rng())
    assert (spread[chosen] >= ask_above).all()
    assert len(set(chosen.tolist())) == len(chosen)
    assert len(chosen) == min(n, int((spread >= ask_above).sum()))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_gate_of_zero_asks_even_where_all_agree(name: str) -> None:
    pairs = on_a_line(1, 2, 3)
    assert sorted(select(pairs, STRATEGIES[name], 3, 0.0, rng())) == [0, 1, 2]
    nobody = select(pairs, STRATEGIES[name], 3, 0.01, rng())
    assert nobody.tolist() == []
    assert nobody.dtype.kind == "i", "it must do as an index"


def test_the_gate_keeps_the_strategys_own_order() -> None:
    p = [[0.9, 0.6, 0.8, 0.5], [0.1, 0.4, 0.2, 0.5]]  # spreads 0.4, 0.1, 0.3, 0
    pairs = Candidates(returns_of(p), np.zeros((4, 1)), np.zeros((0, 1)))
    strategy = STRATEGIES["disagreement"]
    assert select(pairs, strategy, 4, 0.05, rng()).tolist() == [0, 2, 1]
    assert select(pairs, strategy, 4, 0.25, rng()).tolist() == [0, 2]
    assert select(pairs, strategy, 1, 0.05, rng()).tolist() == [0]
