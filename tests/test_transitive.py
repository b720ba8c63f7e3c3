"""What follows from answers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from prefrl.asking import Asker
from prefrl.queries import STRATEGIES
from prefrl.reward.dataset import ComparisonData
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitSettings, fit
from prefrl.reward.transitive import implied, implied_by_drawn, transitive_loss
from prefrl.segments import SegmentPool
from prefrl.types import Comparison, Preference, Query, Segment


def names(sides: list[tuple[int, int]], p_left: list[float]) -> set[tuple[int, int]]:
    """(better, worse) of what follows."""
    array = np.array(sides)
    return {tuple(array.ravel()[pair].tolist()) for pair in implied(array, np.array(p_left))}


def test_better_than_better_is_better() -> None:
    assert names([(7, 3), (5, 3), (5, 2)], [1.0, 0.0, 1.0]) == {(7, 5), (7, 2), (3, 2)}


def test_ties_and_single_answers_imply_nothing() -> None:
    assert names([(1, 2), (2, 3)], [1.0, 0.5]) == set()
    assert names([(1, 2), (3, 4)], [1.0, 1.0]) == set()
    assert names([(1, 2)], [0.5]) == set()


def test_answers_that_go_round_imply_nothing_about_each_other() -> None:
    assert names([(1, 2), (2, 3), (3, 1)], [1.0] * 3) == set()
    assert names([(1, 2), (2, 3), (3, 1), (3, 4)], [1.0] * 4) == {(1, 4), (2, 4)}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_what_follows_from_an_order_is_true_in_it(pairs: list[tuple[int, int]]) -> None:
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    if pairs:
        p_left = [float(a > b) for a, b in pairs]
        found = names(pairs, p_left)
        assert all(a > b for a, b in found)
        assert not found & {(max(pair), min(pair)) for pair in pairs}, "that was asked"


def test_a_member_draws_no_conclusion_from_what_it_has_not_drawn() -> None:
    sides, p_left = np.array([(1, 2), (2, 3), (3, 4)]), np.ones(3)
    weights = np.array([[1, 2, 0], [1, 0, 1], [1, 1, 1]])
    found = implied_by_drawn(sides, p_left, weights)
    named = [{tuple(sides.ravel()[pair].tolist()) for pair in own} for own in found]
    assert named == [{(1, 3)}, set(), {(1, 3), (1, 4), (2, 4)}]


def segments(n: int, seed: int = 0) -> list[Segment]:
    obs = default_rng(seed).normal(size=(n, 5, 3)).astype(np.float32)
    return [Segment(o, np.zeros((5, 1), np.float32), o[:, 0]) for o in obs]


def answered(pairs: list[tuple[Segment, Segment]]) -> list[Comparison]:
    found = []
    for i, (left, right) in enumerate(pairs, 1):
        better = Preference.LEFT if left.true_return > right.true_return else Preference.RIGHT
        found.append(Comparison(Query(left, right, id=i), better, "test", 0.0, 0.0, i))
    return found


def test_a_segment_has_one_name_however_often_it_is_asked_about(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    a, b, c = segments(3)
    again = Segment(b.obs.copy(), b.actions.copy(), b.true_rewards)
    data = ComparisonData(ensemble_of(), seed=0)
    data.add(answered([(a, b), (again, c)]))
    (first, second), (third, fourth) = data.sides
    assert second == third and len({first, second, fourth}) == 3


def test_the_loss_is_of_what_follows_alone(ensemble_of: Callable[..., RewardEnsemble]) -> None:
    ensemble = ensemble_of(n_members=2, hidden=())
    with torch.no_grad():
        for layer, size in zip(ensemble.net.layers[0].weight, (50.0, -50.0), strict=True):
            layer.zero_()[0] = size  # one knows the order, one the opposite
    ranked = sorted(segments(8), key=lambda s: -s.true_return)
    data = ComparisonData(ensemble, seed=0)
    data.add(answered(list(pairwise(ranked))))
    pairs = implied_by_drawn(data.sides, data.p_left.numpy(), np.ones((2, 7)))
    assert [len(own) for own in pairs] == [21, 21]
    none = [pairs[0], pairs[1][:0]]
    right = transitive_loss(ensemble, data.inputs, none, 32, 0.0, default_rng(0))
    both = transitive_loss(ensemble, data.inputs, pairs, 32, 0.0, default_rng(0))
    assert isinstance(right, torch.Tensor) and isinstance(both, torch.Tensor)
    assert right.item() < 0.5 and both.item() > 10
    assert transitive_loss(ensemble, data.inputs, [pairs[0][:0]] * 2, 32, 0.0, default_rng(0)) == 0


def test_what_follows_may_be_as_wrong_as_an_answer(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    ensemble = ensemble_of(n_members=1, hidden=())
    with torch.no_grad():
        ensemble.net.layers[0].weight.zero_()[0, 0] = -1e4
    data = ComparisonData(ensemble, seed=0)
    data.add(answered(list(pairwise(sorted(segments(3), key=lambda s: -s.true_return)))))
    pairs = implied_by_drawn(data.sides, data.p_left.numpy(), np.ones((1, 2)))
    loss = transitive_loss(ensemble, data.inputs, pairs, 8, 0.1, default_rng(0))
    assert isinstance(loss, torch.Tensor)
    assert loss.item() == pytest.approx(2.9957, abs=1e-3), "of ten answers one is random: -ln 0.05"


def sorted_by_asking(some: list[Segment]) -> list[tuple[Segment, Segment]]:
    """What a binary insertion sort asks about, as in LiRE's lists."""
    ranked, asked = list[Segment](), list[tuple[Segment, Segment]]()
    for segment in some:
        low, high = 0, len(ranked)
        while low < high:
            middle = (low + high) // 2
            asked.append((segment, ranked[middle]))
            if segment.true_return > ranked[middle].true_return:
                low = middle + 1
            else:
                high = middle
        ranked.insert(low, segment)
    return asked


def test_answers_that_sort_teach_more_with_what_they_imply(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    answers, unseen = answered(sorted_by_asking(segments(12))), segments(200, seed=1)
    true = [s.true_return for s in unseen]

    def known(seed: int, transitive: bool) -> float:
        """Correlation of predicted and true returns."""
        ensemble = ensemble_of(hidden=(16,), scaled=False, seed=seed)
        data = ComparisonData(ensemble, seed)
        data.add(answers)
        fit(ensemble, data, FitSettings(transitive=transitive, patience=99), default_rng(seed))
        return float(np.corrcoef(ensemble.member_returns(unseen).mean(0), true)[0, 1])

    more = [known(seed, True) - known(seed, False) for seed in range(12)]
    assert np.mean(more) > 0.02, more


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_share_of_the_candidates_was_asked_about_before(
    ensemble_of: Callable[..., RewardEnsemble], share: float
) -> None:
    old, new = segments(20), segments(30, seed=1)
    pool = SegmentPool(30)
    pool.add(new)
    asker = Asker(pool, ensemble_of(), STRATEGIES["uniform"], 10, default_rng(0), reuse=share)
    asker.remember([Query(left, right) for left, right in zip(old[::2], old[1::2], strict=True)])
    queries, _ = asker.best(40, 0.0, step=2)
    ids = {id(segment) for segment in old}
    assert np.mean([id(q.left) in ids for q in queries]) == pytest.approx(share, abs=0.2)
    assert not any(id(q.right) in ids for q in queries)
