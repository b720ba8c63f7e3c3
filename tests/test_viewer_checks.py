"""Checks of the person: how many, which pairs, on which sides, and that they train nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from numpy.random import default_rng
from scipy.stats import binom
from viewing import Sitting, questions, run_at, segment, wait_until

import viewer.feed
from prefrl.label_quality import OBVIOUS, REPEAT, REPEAT_SWAPPED, quality
from prefrl.store import CheckRow, ComparisonStore
from prefrl.types import Preference, Viewing
from viewer.checks import CHECK_SHARE, REPEAT_AFTER, REPEATS, clearest, next_check
from viewer.state import Action, Key

N = 900
KINDS = (REPEAT, REPEAT_SWAPPED, OBVIOUS)


@dataclass(frozen=True)
class Sat:
    """A long sitting of somebody for whom the larger number is better.

    Attributes:
      keys: of all pairs in the order in which they were shown.
      seen: the numbers on the left and on the right.
    """

    keys: Sequence[Key]
    seen: dict[Key, tuple[int, int]]
    store: ComparisonStore

    def checks(self, *kinds: str) -> list[CheckRow]:
        return [row for row in self.store.checks() if row.kind in (kinds or KINDS)]


@pytest.fixture(scope="module")
def sat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sat]:
    run = run_at(tmp_path_factory.mktemp("sat") / "run")
    with pytest.MonkeyPatch.context() as patch, ComparisonStore(run.store_path) as store:
        patch.setattr(viewer.feed, "_IDLE_SECONDS", 0.005)
        store.add(questions(N, float))
        keys, seen = list[Key](), dict[Key, tuple[int, int]]()
        with ComparisonStore(run.store_path) as own, Sitting(run, own, checks=CHECK_SHARE) as ann:
            while len(keys) - sum(isinstance(key, str) for key in keys) < N:
                keys.append(ann.shown().key)
                left, right = seen[keys[-1]] = ann.numbers()
                ann.press(Action.LEFT if left > right else Action.RIGHT)
        yield Sat(keys, seen, store)


def test_about_one_pair_in_twenty_is_a_check(sat: Sat) -> None:
    n = sum(isinstance(key, str) for key in sat.keys)
    least, most = binom.ppf([1e-4, 1 - 1e-4], len(sat.keys), 0.05)
    assert CHECK_SHARE == 0.05 and least <= n <= most
    assert len(sat.checks()) == n and {row.kind for row in sat.checks()} == set(KINDS)


def test_repeats_come_late_enough_and_once(sat: Sat) -> None:
    repeated = [row.query_id for row in sat.checks(REPEAT, REPEAT_SWAPPED)]
    assert len(set(repeated)) == len(repeated) > 5
    for row in sat.checks(REPEAT, REPEAT_SWAPPED):
        assert row.query_id is not None
        between = sat.keys[sat.keys.index(row.query_id) + 1 : sat.keys.index(row.name)]
        assert sum(isinstance(key, int) for key in between) >= REPEAT_AFTER


def test_repeats_show_the_same_sides_and_swapped_ones_the_others(sat: Sat) -> None:
    for row in sat.checks(REPEAT, REPEAT_SWAPPED):
        assert row.query_id is not None
        first = sat.seen[row.query_id]
        assert sat.seen[row.name] == (first if row.kind == REPEAT else first[::-1])
    assert sat.checks(REPEAT) and sat.checks(REPEAT_SWAPPED)


def test_obvious_pairs_differ_much_and_on_either_side(sat: Sat) -> None:
    """The true return is the number itself: those that differ little are hard to tell apart."""
    seen = [sat.seen[row.name] for row in sat.checks(OBVIOUS)]
    assert len(seen) > 3
    assert min(abs(left - right) for left, right in seen) > N / 2
    queries = [sat.seen[key] for key in sat.keys if isinstance(key, int)]
    assert max(abs(left - right) for left, right in queries) == 1


def test_none_of_them_trains_or_counts(sat: Sat) -> None:
    assert sat.store.counts().answered == N
    assert [c.query.id for c in sat.store.comparisons()] == list(range(1, N + 1))


def test_whoever_is_consistent_is_found_so(sat: Sat) -> None:
    found = quality(sat.store.answer_log("ann"), sat.store.checks("ann"))
    repeats, obvious = len(sat.checks(REPEAT, REPEAT_SWAPPED)), len(sat.checks(OBVIOUS))
    assert (found.labels, found.consistent) == (N, (repeats, repeats))
    assert found.obvious == (obvious, obvious)
    left, decided = found.left
    assert decided == N + repeats + obvious
    least, most = binom.ppf([1e-4, 1 - 1e-4], decided, 0.5)
    assert least <= left <= most
    assert left == sum(left > right for left, right in sat.seen.values())


# ---- one at a time


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ComparisonStore]:
    with ComparisonStore(tmp_path / "store.sqlite") as opened:
        yield opened


def answered(
    store: ComparisonStore,
    n: int,
    preference: Preference = Preference.LEFT,
    labeler: str = "ann",
    true_return: Callable[[int], float] = lambda number: float("nan"),
) -> list[int]:
    asked = [query.id or 0 for query in store.add(questions(n, true_return))]
    for i, number in enumerate(asked):
        store.answer(number, preference, labeler, Viewing(swapped=i % 2 > 0))
    return asked


def found_kinds(store: ComparisonStore, n: int = 40) -> list[tuple[str, int | None]]:
    drawn = [next_check(store, "ann", default_rng(seed)) for seed in range(n)]
    return [(check.kind, check.query_id) for check, _ in filter(None, drawn)]


def test_nothing_is_repeated_too_soon(store: ComparisonStore) -> None:
    answered(store, REPEAT_AFTER)
    assert found_kinds(store) == []
    answered(store, 1)
    assert set(found_kinds(store)) == {(REPEAT, 1), (REPEAT_SWAPPED, 1)}


@pytest.mark.parametrize("preference", [Preference.TIE, Preference.INCOMPARABLE])
def test_only_what_was_decided_is_repeated(store: ComparisonStore, preference: Preference) -> None:
    answered(store, 3, preference)
    answered(store, REPEAT_AFTER)
    assert found_kinds(store) == []


def test_only_ones_own_answers_are_repeated(store: ComparisonStore) -> None:
    answered(store, 3, labeler="bob")
    answered(store, REPEAT_AFTER)
    answered(store, REPEAT_AFTER, labeler="bob")
    assert found_kinds(store) == []


def test_what_was_repeated_is_not_repeated_again(store: ComparisonStore) -> None:
    answered(store, REPEAT_AFTER + 2)
    found = next_check(store, "ann", default_rng(0))
    assert found is not None
    store.record_check(found[0], Preference.TIE, "ann")
    assert {number for _, number in found_kinds(store)} == {1, 2} - {found[0].query_id}
    store.record_check(found[0], None, "ann")
    assert {number for _, number in found_kinds(store)} == {1, 2}


def test_each_check_has_a_name_of_its_own(store: ComparisonStore) -> None:
    answered(store, REPEAT_AFTER + 2)
    drawn = [next_check(store, "ann", default_rng(seed)) for seed in range(50)]
    assert len({check.name for check, _ in filter(None, drawn)}) == 50


def test_the_better_of_an_obvious_pair_is_expected_wherever_it_is(store: ComparisonStore) -> None:
    answered(store, 4, true_return=lambda number: (9.0, 10.0, 50.0, 30.0)[number % 4])
    seen = set()
    for seed in range(60):
        found = next_check(store, "ann", default_rng(seed))
        assert found is not None
        check, swapped = found
        assert check.kind == OBVIOUS and check.query_id is None
        returns = round(check.left.true_return), round(check.right.true_return)
        expected = Preference.LEFT if returns[0] > returns[1] else Preference.RIGHT
        assert sorted(returns) == [9, 50] and check.expected is expected
        on_left = store.query((check.left_id + 1) // 2)
        stored = (on_left.left, on_left.right)[(check.left_id + 1) % 2]
        assert stored.true_return == check.left.true_return, "its number is that of its clip"
        seen.add((returns, swapped))
    assert len(seen) == 4


def test_obvious_pairs_are_left_out_where_they_would_not_do(store: ComparisonStore) -> None:
    answered(store, REPEAT_AFTER + 2, true_return=float)
    drawn = [next_check(store, "ann", default_rng(seed), REPEATS) for seed in range(40)]
    assert {check.kind for check, _ in filter(None, drawn)} == set(REPEATS)


@pytest.mark.parametrize(
    ("returns", "pair"),
    [
        ([5, 1, 9, 3], (1, 9)),
        ([-90, -10, -20, -30], (-90, -10)),
        ([-5, 5, 0, 0], (-5, 5)),
        ([0, 0, 0, 1], (0, 1)),
        ([24, 25, 25, 24.5], None),
        ([-101, -100, -102, -99], None),
        ([7, 7, 7, 7], None),
        ([0, 0, 0, 0], None),
        ([1, 9, 5], None),
        ([], None),
        ([1, 9, 5, float("nan")], None),
    ],
)
def test_the_clearest_pair(returns: list[float], pair: tuple[float, float] | None) -> None:
    """The worst and the best; none where even these hardly differ, or nobody knows."""
    found = clearest([(i, segment(i, value)) for i, value in enumerate(returns)])
    if pair is None:
        assert found is None
    else:
        assert found is not None
        assert tuple(returns[i] for i, _ in found) == pair
        assert [s.obs[0, 0] for _, s in found] == [i for i, _ in found]


def test_without_answers_and_true_reward_there_is_no_check(store: ComparisonStore) -> None:
    assert next_check(store, "ann", default_rng(0)) is None
    run = run_at(Path(store.where).parent / "run")
    with ComparisonStore(run.store_path) as own, Sitting(run, own, checks=0.9) as ann:
        own.add(questions(12))
        wait_until(lambda: ann.ahead() == 8)
        assert [ann.answer(Action.LEFT) for _ in range(12)] == list(range(1, 13))
