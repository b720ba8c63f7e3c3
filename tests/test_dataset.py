"""Which answers count, and who trains on which of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.reward.dataset import REFERENCE_PAIRS, ComparisonData
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.types import Comparison, Preference, PrefrlError, Query, Segment

LEFT, RIGHT, TIE, INCOMPARABLE = Preference


def segment(value: float, steps: int = 4) -> Segment:
    obs, actions = np.full((steps, 3), value), np.full((steps, 1), -value)
    return Segment(obs, actions, np.full(steps, np.nan))


class Answers:
    """Comparisons with growing ids; query q compares segments of q and -q."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self, query: int, preference: Preference | None) -> Comparison:
        self.last += 1
        asked = Query(segment(query), segment(-query), id=query)
        return Comparison(asked, preference, "test", 0.0, 0.0, self.last)


@pytest.fixture
def data(ensemble_of: Callable[..., RewardEnsemble]) -> ComparisonData:
    return ComparisonData(ensemble_of(), seed=0)


@pytest.fixture
def answer() -> Answers:
    return Answers()


def queries_of(data: ComparisonData) -> list[int]:
    return [int(row[0, 0, 0]) for row in data.inputs] if len(data) else []


def test_inputs_and_targets(data: ComparisonData, answer: Answers) -> None:
    data.add([answer(1, LEFT), answer(2, RIGHT), answer(3, TIE)])
    assert data.inputs.shape == (3, 2, 4, 4)  # (N, 2, T, D)
    assert data.inputs[1, 0, 3].tolist() == [2, 2, 2, -2]
    assert data.inputs[1, 1, 3].tolist() == [-2, -2, -2, 2]
    assert data.p_left.tolist() == [1.0, 0.0, 0.5]
    assert data.p_left.dtype == torch.float32
    assert data.last_id == 3


def test_the_latest_answer_of_a_query_counts(data: ComparisonData, answer: Answers) -> None:
    data.add([answer(1, LEFT), answer(2, LEFT)])
    assert data.p_left.tolist() == [1.0, 1.0]
    data.add([answer(1, RIGHT)])
    assert queries_of(data) == [2, 1]
    assert data.p_left.tolist() == [1.0, 0.0]
    data.add([answer(1, TIE), answer(1, LEFT), answer(2, TIE)])
    assert queries_of(data) == [1, 2]
    assert data.p_left.tolist() == [1.0, 0.5]


def test_a_withdrawal_removes_and_a_new_answer_brings_back(
    data: ComparisonData, answer: Answers
) -> None:
    data.add([answer(1, LEFT), answer(2, RIGHT)])
    data.add([answer(1, None)])
    assert queries_of(data) == [2]
    data.add([answer(2, None)])
    assert len(data) == 0
    assert data.last_id == 4, "a withdrawal has been read, too"
    data.add([answer(1, RIGHT)])
    assert queries_of(data) == [1]


def test_incomparable_never_trains(data: ComparisonData, answer: Answers) -> None:
    data.add([answer(1, INCOMPARABLE)])
    assert len(data) == 0
    data.add([answer(2, LEFT), answer(2, INCOMPARABLE)])
    assert len(data) == 0
    assert data.last_id == 3


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from([*Preference, None])),
        max_size=25,
    ),
    st.integers(1, 5),
)
def test_answers_in_any_pieces_make_the_same_data(
    ensemble_of: Callable[..., RewardEnsemble],
    log: list[tuple[int, Preference | None]],
    piece: int,
) -> None:
    answer = Answers()
    rows = [answer(query, preference) for query, preference in log]
    at_once, piecewise = (ComparisonData(ensemble_of(), seed=0) for _ in range(2))
    at_once.add(rows)
    for start in range(0, len(rows), piece):
        piecewise.add(rows[start : start + piece])
        if len(piecewise):
            assert len(piecewise.inputs) == len(piecewise)
    standing: dict[int, Preference | None] = {}
    for query, preference in log:
        standing.pop(query, None)
        standing[query] = preference
    trained = {q: p.p_left for q, p in standing.items() if p and p.p_left is not None}
    assert queries_of(at_once) == queries_of(piecewise) == list(trained)
    if trained:
        assert at_once.p_left.tolist() == piecewise.p_left.tolist() == list(trained.values())


def test_latest_keeps_the_newest_answers(
    ensemble_of: Callable[..., RewardEnsemble], answer: Answers
) -> None:
    data = ComparisonData(ensemble_of(), seed=0, latest=3)
    data.add([answer(q, LEFT) for q in range(1, 6)])
    assert len(data) == 3
    assert queries_of(data) == [3, 4, 5]
    data.add([answer(1, RIGHT)])
    assert queries_of(data) == [4, 5, 1]
    assert data.p_left.tolist() == [1.0, 1.0, 0.0]
    assert data.bootstrap_weights(2).shape == (3, 2)


def test_segments_of_different_lengths_are_refused(data: ComparisonData, answer: Answers) -> None:
    uneven = replace(answer(1, LEFT), query=Query(segment(1, 4), segment(2, 5), id=1))
    with pytest.raises(PrefrlError, match=r"segments of \[4, 5\] steps"):
        data.add([uneven])
    data.add([answer(2, LEFT)])
    longer = replace(answer(3, LEFT), query=Query(segment(1, 5), segment(2, 5), id=3))
    with pytest.raises(PrefrlError, match=r"\[4, 5\] .* labels.segment_length"):
        data.add([longer])
    assert queries_of(data) == [2]


def test_the_reference_is_the_first_comparisons(
    ensemble_of: Callable[..., RewardEnsemble], answer: Answers
) -> None:
    data = ComparisonData(ensemble_of(), seed=0, latest=5)
    data.add([answer(q, LEFT) for q in range(1, 4)])
    assert data.reference.shape == (3, 2, 4, 4)
    data.add([answer(q, LEFT) for q in range(4, REFERENCE_PAIRS + 1)])
    before = data.reference
    assert before[:, 0, 0, 0].tolist() == list(range(1, REFERENCE_PAIRS + 1))
    data.add([answer(q, RIGHT) for q in range(200, 300)])
    assert torch.equal(data.reference, before)


def test_a_small_first_batch_is_the_reference_for_good(
    ensemble_of: Callable[..., RewardEnsemble], answer: Answers
) -> None:
    """Only the first batch is asked without a known disagreement."""
    data = ComparisonData(ensemble_of(), seed=0)
    data.add([answer(q, LEFT) for q in range(1, 4)])
    before = data.reference
    for q in range(4, 9):
        later = answer(q, RIGHT)
        data.add([replace(later, query=replace(later.query, disagreement=0.2))])
    assert torch.equal(data.reference, before)


def filled(
    ensemble_of: Callable[..., RewardEnsemble], n: int, seed: int = 0, first: int = 1
) -> ComparisonData:
    data, answer = ComparisonData(ensemble_of(), seed), Answers()
    data.add([answer(q, LEFT) for q in range(first, first + n)])
    return data


def test_the_bootstrap_is_poisson(ensemble_of: Callable[..., RewardEnsemble]) -> None:
    weights = filled(ensemble_of, 2000).bootstrap_weights(4)  # (N, M)
    assert weights.shape == (2000, 4)
    assert weights.mean() == pytest.approx(1, abs=0.04)
    assert weights.var() == pytest.approx(1, abs=0.1)
    held_out = (weights == 0).mean(0)
    assert held_out == pytest.approx(np.full(4, np.exp(-1)), abs=0.04)
    # members draw for themselves: held out from two at once is the product of the shares
    both = (weights[:, 0] == 0) & (weights[:, 1] == 0)
    assert both.mean() == pytest.approx(np.exp(-2), abs=0.04)


def test_other_seeds_draw_other_bootstraps(ensemble_of: Callable[..., RewardEnsemble]) -> None:
    one, same, other = (filled(ensemble_of, 50, seed).bootstrap_weights(3) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@given(
    st.integers(0, 10),
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from([LEFT, RIGHT, None])), max_size=15),
)
def test_queries_keep_their_weights_as_answers_come_and_go(
    ensemble_of: Callable[..., RewardEnsemble],
    seed: int,
    later: list[tuple[int, Preference | None]],
) -> None:
    """What a member was trained on never turns up among what it is judged by."""
    data, answer = ComparisonData(ensemble_of(), seed), Answers()
    data.add([answer(q, LEFT) for q in range(1, 21)])
    before = dict(zip(queries_of(data), data.bootstrap_weights(3).tolist(), strict=True))
    for query, preference in later:
        data.add([answer(query, preference)])
        after = dict(zip(queries_of(data), data.bootstrap_weights(3).tolist(), strict=True))
        for known in before.keys() & after.keys():
            assert after[known] == before[known]
        before |= after


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_member_trains_on_something(
    ensemble_of: Callable[..., RewardEnsemble], n: int
) -> None:
    for first in range(1, 60):
        assert filled(ensemble_of, n, first=first).bootstrap_weights(3).any(0).all()


def test_images_are_kept_once_and_the_oldest_make_room(
    ensemble_of: Callable[..., RewardEnsemble], answer: Answers
) -> None:
    data = ComparisonData(ensemble_of(), seed=0, latest=100)
    data.add([answer(1, LEFT), answer(2, LEFT)])
    held = data.inputs.untyped_storage().nbytes()
    first = data.reference[:2]
    for q in range(3, 1000):
        data.add([answer(q, LEFT)])
    assert queries_of(data) == list(range(900, 1000))
    assert data.inputs.untyped_storage().nbytes() == held == 125 * 2 * 4 * 4 * 4
    assert torch.equal(data.reference[:2], first)


@given(
    st.lists(st.tuples(st.integers(1, 150), st.sampled_from([LEFT, RIGHT, INCOMPARABLE]))),
    st.sampled_from([0, 7, 90]),
)
def test_rows_and_targets_stay_together_however_answers_come_and_go(
    ensemble_of: Callable[..., RewardEnsemble],
    given_: list[tuple[int, Preference]],
    latest: int,
) -> None:
    data, answer, standing = ComparisonData(ensemble_of(), seed=0, latest=latest), Answers(), {}
    given_ = [(q, LEFT) for q in range(1, 120)] + given_  # more than there is room for at first
    for query, preference in given_:
        standing.pop(query, None)
        if preference is not INCOMPARABLE:
            standing[query] = preference.p_left
        data.add([answer(query, preference)])
    kept = list(standing)[-latest:] if latest else list(standing)
    if not latest:
        assert queries_of(data) == kept
        assert data.p_left.tolist() == [standing[q] for q in kept]
    else:  # one that was withdrawn does not bring back what was forgotten
        assert queries_of(data) == kept[len(kept) - len(data) :]
        assert data.p_left.tolist() == [standing[q] for q in queries_of(data)]
        assert len(data) >= min(latest, len(kept)) - sum(p is INCOMPARABLE for _, p in given_)


@given(
    n=st.integers(2, 12),
    newest=st.integers(0, 40),
    withdrawn=st.sets(st.integers(1, 30), max_size=10),
    seed=st.integers(0, 9),
)
def test_a_part_has_what_is_new_and_others_at_random(
    ensemble_of: Callable[..., RewardEnsemble],
    n: int,
    newest: int,
    withdrawn: set[int],
    seed: int,
) -> None:
    data, answer = ComparisonData(ensemble_of(), seed=0), Answers()
    assert data.add([answer(query, LEFT) for query in range(1, 31)]) == 30
    assert data.add([answer(query, None) for query in sorted(withdrawn)]) == 0
    part = data.part(n, newest, np.random.default_rng(seed))
    chosen, every = queries_of(part), queries_of(data)
    assert len(part) == len(set(chosen)) == n and set(chosen) <= set(every)
    assert chosen == [query for query in every if query in chosen], "in order of the answers"
    surely = min(newest, n // 2)
    assert chosen[n - surely :] == every[len(every) - surely :]
    weights = dict(zip(every, data.bootstrap_weights(5).tolist(), strict=True))
    drawn = part.bootstrap_weights(5)
    known = np.array([weights[query] for query in chosen])
    assert (drawn == known)[:, known.any(0)].all(), "what a member is judged by stays held out"
    assert len(data) == 30 - len(withdrawn)


def test_every_older_comparison_has_its_turn(data: ComparisonData, answer: Answers) -> None:
    data.add([answer(query, LEFT) for query in range(1, 31)])
    parts = [queries_of(data.part(10, 4, np.random.default_rng(seed))) for seed in range(200)]
    counts = np.bincount(np.concatenate(parts), minlength=31)[1:]
    assert (counts[26:] == 200).all() and (counts[:26] > 20).all()
