"""The comparisons that a reward is fitted to, as tensors that grow with the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from prefrl.reward.ensemble import RewardEnsemble
from prefrl.types import Array, Comparison, PrefrlError

REFERENCE_PAIRS = 50


class ComparisonData:
    """Encoded comparisons; of several answers to one query the latest counts.

    Args:
      ensemble: encodes the segments.
      seed: of the bootstrap.
      latest: keep only so many newest comparisons; 0 keeps all.
    """

    def __init__(self, ensemble: RewardEnsemble, seed: int, latest: int = 0) -> None:
        self._encode = ensemble.encode
        self._seed = seed
        self._latest = latest
        self._rows: dict[int, tuple[Tensor, float]] = {}  # by query, oldest answer first
        self._stacked: tuple[Tensor, Tensor] | None = None
        self._first_batch: set[int] = set()
        self.last_id = 0
        """Number of the last comparison read; the next read starts after it."""

    def __len__(self) -> int:
        return len(self._kept())

    def add(self, comparisons: Sequence[Comparison]) -> None:
        """Take in new answers, in the order in which they were given.

        Raises:
          PrefrlError: a segment's length differs from those before.
        """
        for comparison in comparisons:
            query = comparison.query
            assert query.id is not None
            self._rows.pop(query.id, None)
            self.last_id = max(self.last_id, comparison.id)
            p_left = comparison.preference.p_left if comparison.preference else None
            if p_left is None:
                continue
            self._check_length(len(query.left), len(query.right))
            sides = [self._encode(s.obs, s.actions) for s in (query.left, query.right)]
            self._rows[query.id] = torch.stack(sides), p_left
            if math.isnan(query.disagreement):
                self._first_batch.add(query.id)
        if comparisons:
            self._stacked = None

    @property
    def inputs(self) -> Tensor:
        """Encoded segments, (N, 2, T, D)."""
        return self._stack()[0]

    @property
    def reference(self) -> Tensor:
        """Segments of the first batch's queries, (R, 2, T, D): what rewards are normalised on.

        It stays the same from fit to fit, and after a resume. On a batch that follows the
        agent, the reward's offset would move with every fit, and the agent's value estimates
        with it.
        """
        queries = self._rows.keys() & self._first_batch or self._rows.keys()
        earliest = sorted(queries)[:REFERENCE_PAIRS]  # a revised answer keeps its place
        return torch.stack([self._rows[query][0] for query in earliest])

    @property
    def p_left(self) -> Tensor:
        """Targets, (N,)."""
        return self._stack()[1]

    def bootstrap_weights(self, n_members: int) -> Array:
        """How often each member sees each comparison, (N, M); 0 means held out from it.

        Poisson(1) weights are the bootstrap in the limit of many comparisons: |D| draws with
        replacement leave 1/e of the data out, and what is left out is the member's
        held-out share. A query keeps its weights as answers arrive, so nothing that a member
        was trained on ever turns up among what it is judged by.

        Source: Christiano et al. 2017, section 2.2.3; Oza and Russell 2001, "Online bagging".
        """
        queries = np.array(self._kept(), dtype=np.int64)
        rng = np.random.default_rng([self._seed, n_members])
        weights = rng.poisson(1.0, (int(queries.max(initial=0)) + 1, n_members))
        chosen = weights[queries]
        for member in np.flatnonzero(~chosen.any(0)):  # a handful of answers: train on them all
            chosen[:, member] = 1
        return chosen

    def _kept(self) -> list[int]:
        queries = list(self._rows)
        return queries[-self._latest :] if self._latest else queries

    def _stack(self) -> tuple[Tensor, Tensor]:
        if self._stacked is None:
            rows = [self._rows[query] for query in self._kept()]
            p_left = torch.tensor([p for _, p in rows], dtype=torch.float32)
            self._stacked = torch.stack([inputs for inputs, _ in rows]), p_left
        return self._stacked

    def _check_length(self, *lengths: int) -> None:
        known = {len(inputs[0]) for inputs, _ in list(self._rows.values())[:1]}
        if len(known | set(lengths)) > 1:
            raise PrefrlError(
                f"segments of {sorted(known | set(lengths))} steps cannot be fitted together: "
                "use one labels.segment_length in a run"
            )
