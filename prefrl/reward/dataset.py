"""The comparisons that a reward is fitted to, as tensors that grow with the answers."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from prefrl.reward.ensemble import RewardEnsemble
from prefrl.streams import Stage, stream
from prefrl.types import Array, Comparison, PrefrlError

REFERENCE_PAIRS = 50


class _Answer(NamedTuple):
    """What is known of a comparison.

    Attributes:
      place: of its segments in the bank.
      p_left: what was answered.
      returns: true returns of the left and the right segment.
    """

    place: int
    p_left: float
    returns: tuple[float, float]


class ComparisonData:
    """Encoded comparisons; of several answers to one query the latest counts.

    Args:
      ensemble: encodes the segments.
      seed: of the bootstrap.
      latest: number of the newest comparisons to keep; 0 keeps all.
    """

    def __init__(self, ensemble: RewardEnsemble, seed: int, latest: int = 0) -> None:
        self._encode = ensemble.encode
        self._seed = seed
        self._latest = latest
        self._rows: dict[int, _Answer] = {}  # by query, oldest answer first
        self._bank = _Bank(5 * latest // 4)
        self._first_batch: dict[int, tuple[Tensor, tuple[float, float]]] = {}
        self.last_id = 0
        """Number of the last comparison read; the next read starts after it."""

    def __len__(self) -> int:
        return len(self._kept())

    def add(self, comparisons: Iterable[Comparison]) -> int:
        """Take in new answers, in the order in which they were given.

        Returns:
          How many of them have a preference to learn from.
        Raises:
          PrefrlError: a segment's length differs from those before.
        """
        taken = 0
        for comparison in comparisons:
            query = comparison.query
            assert query.id is not None
            self._rows.pop(query.id, None)
            self._first_batch.pop(query.id, None)
            self.last_id = max(self.last_id, comparison.id)
            p_left = comparison.preference.p_left if comparison.preference else None
            if p_left is None:
                continue
            self._check_length(len(query.left), len(query.right))
            sides = [self._encode(s.obs, s.actions) for s in (query.left, query.right)]
            returns = query.left.true_return, query.right.true_return
            self._append(query.id, torch.stack(sides), p_left, returns)
            taken += 1
            if math.isnan(query.disagreement):
                self._add_to_first_batch(query.id)
        return taken

    def part(self, n: int, newest: int, rng: Generator) -> ComparisonData:
        """The newest comparisons and others at random, in the order in which they were answered.

        Args:
          n: how many in all; fewer than there are.
          newest: how many of the newest are surely among them; at most half of n are.
        Returns:
          Comparisons to read and not to add to: their segments are those kept here.
        """
        queries = self._kept()
        older = len(queries) - min(newest, n // 2)
        drawn = rng.choice(older, size=n - (len(queries) - older), replace=False)
        chosen = [queries[i] for i in sorted(drawn)] + queries[older:]
        part = copy.copy(self)
        part._rows = {query: self._rows[query] for query in chosen}
        return part

    @property
    def inputs(self) -> Tensor:
        """Encoded segments, (N, 2, T, D)."""
        return self._bank.take(self._places())

    @property
    def sides(self) -> Array:
        """Names of the left and right segments of each comparison, (N, 2); equal where they are."""
        named = [[_name(side) for side in self._bank[place]] for place in self._places()]
        return np.array(named).reshape(-1, 2)

    @property
    def reference(self) -> Tensor:
        """Segments of the first batch's queries, (R, 2, T, D): what rewards are normalised on.

        It stays the same from fit to fit, and after a resume. On a batch that follows the
        agent, the reward's offset would move with every fit, and the agent's value estimates
        with it.
        """
        return torch.stack([segments for segments, _ in self._first()])

    @property
    def p_left(self) -> Tensor:
        """Targets, (N,)."""
        return torch.tensor([self._rows[q].p_left for q in self._kept()], dtype=torch.float32)

    @property
    def standard_returns(self) -> Tensor:
        """True returns of the segments, (N, 2), scaled to mean 0 and variance T on `reference`.

        T steps add up to that variance whose rewards have variance 1 each, which is what an
        untrained net is near: of 25 answers about HalfCheetah's random policy, a reward fitted to
        returns of variance 1 had a correlation of 0.57 with the true return, of variance 25 one of
        0.98. The scale stays the same from fit to fit: a net that goes on from the last fit would
        otherwise have to learn its old answers again.

        Raises:
          PrefrlError: some are not finite.
        """
        returns = torch.tensor([self._rows[q].returns for q in self._kept()], dtype=torch.float64)
        if not returns.isfinite().all():
            raise PrefrlError(
                f"{int((~returns.isfinite()).sum())} true returns in the store are not finite, and "
                "reward.target = 'returns' learns from them: fix the environment's reward, or "
                "use reward.target=comparisons"
            )
        first = torch.tensor([returns for _, returns in self._first()], dtype=torch.float64)
        std = first.std()
        scaled = (returns - first.mean()) / torch.where(std > 1e-8, std, torch.ones_like(std))
        return (math.sqrt(self._bank.steps or 1) * scaled).float()

    def bootstrap_weights(self, n_members: int) -> Array:
        """How often each member sees each comparison, (N, M); 0 means held out from it.

        Poisson(1) weights are the bootstrap in the limit of many comparisons: |D| draws with
        replacement leave 1/e of the data out, and what is left out is the member's
        held-out share. A query keeps its weights as answers arrive, so nothing that a member
        was trained on turns up among what it is judged by, but for one that drew none of a handful
        of answers: it learns from them all until it draws one.

        Source: Christiano et al. 2017, section 2.2.3; Oza and Russell 2001, "Online bagging".
        """
        queries = np.array(self._kept(), dtype=np.int64)
        rng = stream(self._seed, Stage.BOOTSTRAP, n_members)
        weights = rng.poisson(1.0, (int(queries.max(initial=0)) + 1, n_members))
        chosen = weights[queries]
        for member in np.flatnonzero(~chosen.any(0)):  # a handful of answers: train on them all
            chosen[:, member] = 1
        return chosen

    def _kept(self) -> list[int]:
        queries = list(self._rows)
        return queries[-self._latest :] if self._latest else queries

    def _places(self) -> list[int]:
        return [self._rows[query].place for query in self._kept()]

    def _first(self) -> list[tuple[Tensor, tuple[float, float]]]:
        """Segments and true returns of the first batch; of the earliest where there was none."""
        if self._first_batch:
            return [self._first_batch[query] for query in sorted(self._first_batch)]
        earliest = sorted(self._rows)[:REFERENCE_PAIRS]  # a revised answer keeps its place
        answers = [self._rows[query] for query in earliest]
        return [(self._bank[answer.place], answer.returns) for answer in answers]

    def _append(
        self, query: int, inputs: Tensor, p_left: float, returns: tuple[float, float]
    ) -> None:
        if self._bank.full:
            kept = self._kept()
            self._bank.keep(self._places())
            self._rows = {q: self._rows[q]._replace(place=place) for place, q in enumerate(kept)}
        self._rows[query] = _Answer(self._bank.append(inputs), p_left, returns)

    def _add_to_first_batch(self, query: int) -> None:
        """Whether it is among the earliest: a copy, as the bank forgets what is old."""
        answer = self._rows[query]
        self._first_batch[query] = self._bank[answer.place].clone(), answer.returns
        if len(self._first_batch) > REFERENCE_PAIRS:
            del self._first_batch[max(self._first_batch)]

    def _check_length(self, *lengths: int) -> None:
        known = set() if self._bank.steps is None else {self._bank.steps}
        if len(known | set(lengths)) > 1:
            raise PrefrlError(
                f"segments of {sorted(known | set(lengths))} steps cannot be fitted together: "
                "use one labels.segment_length in a run"
            )


def _name(segment: Tensor) -> int:
    """Of what is in it: the store gives a segment that is asked about again a number of its own."""
    content = segment.numpy(force=True).tobytes()
    digest = blake2b(content, digest_size=8).digest()  # hash() differs between processes
    return int.from_bytes(digest, signed=True)


class _Bank:
    """Rows in the order in which they came, in one tensor: images by the thousand fill memory.

    Args:
      capacity: rows to make room for at once; more room is made as it is needed.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = max(capacity, 64)
        self._rows: Tensor | None = None
        self._filled = 0

    @property
    def full(self) -> bool:
        return self._rows is not None and self._filled == len(self._rows)

    @property
    def steps(self) -> int | None:
        """T of rows (2, T, D)."""
        return None if self._rows is None else self._rows.shape[2]

    def __getitem__(self, place: int) -> Tensor:
        assert self._rows is not None
        return self._rows[place]

    def take(self, places: Sequence[int]) -> Tensor:
        """The rows at rising places; no copy where they are neighbours."""
        assert self._rows is not None
        start, end = places[0], places[-1] + 1
        return self._rows[start:end] if end - start == len(places) else self._rows[places]

    def append(self, row: Tensor) -> int:
        """Returns its place."""
        if self._rows is None:
            self._rows = row.new_empty((self._capacity, *row.shape))
        self._rows[self._filled] = row
        self._filled += 1
        return self._filled - 1

    def keep(self, places: Sequence[int]) -> None:
        """Move the rows at rising places to the front, and make room behind them."""
        assert self._rows is not None
        for new, old in enumerate(places):
            if new != old:
                self._rows[new] = self._rows[old]
        self._filled = len(places)
        if 5 * self._filled > 4 * len(self._rows):
            larger = self._rows.new_empty((2 * len(self._rows), *self._rows.shape[1:]))
            larger[: self._filled] = self._rows[: self._filled]
            self._rows = larger
