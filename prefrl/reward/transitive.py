"""What answers imply: whoever likes a better than b, and b better than c, likes a better than c."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from prefrl.reward.batches import returns_of
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.losses import bradley_terry_loss
from prefrl.types import Array


def implied(sides: Array, p_left: Array) -> Array:
    """Pairs that follow from answers about others; none that also follows the other way round.

    Args:
      sides: which segment was on the left and right of each comparison, (N, 2).
      p_left: answers, (N,); ties say nothing here.
    Returns:
      Places in the flattened `sides` of the better and the worse segment, (K, 2).
    Source: Choi et al. 2024 (LiRE), arXiv 2408.04190, section 4, where such pairs come from lists
    that are ranked by insertion.
    """
    decided = np.flatnonzero(p_left != 0.5)
    names, first, nodes = np.unique(sides, return_index=True, return_inverse=True)
    nodes = nodes.reshape(sides.shape)[decided]
    left_wins = p_left[decided] > 0.5
    better = np.where(left_wins, nodes[:, 0], nodes[:, 1])
    worse = np.where(left_wins, nodes[:, 1], nodes[:, 0])
    edges = csr_matrix((np.ones(len(decided)), (better, worse)), (len(names), len(names)))
    steps = shortest_path(edges, unweighted=True)
    reached = np.isfinite(steps) & (steps > 0)
    follows = reached & ~reached.T & (steps > 1)
    pairs: Array = first[np.argwhere(follows)]
    return pairs


def implied_by_drawn(sides: Array, p_left: Array, weights: Array) -> list[Array]:
    """Of each member, what follows from the answers that it learns from.

    Args:
      weights: how often each member drew each comparison, (M, N).
    """
    found = []
    for drawn in map(np.flatnonzero, weights):
        own = implied(sides[drawn], p_left[drawn])
        found.append(2 * drawn[own // 2] + own % 2)
    return found


def transitive_loss(
    ensemble: RewardEnsemble,
    inputs: Tensor,
    pairs: list[Array],
    n: int,
    noise: float,
    rng: Generator,
) -> Tensor | float:
    """Loss on pairs that follow from answers.

    Args:
      inputs: of all comparisons, (N, 2, T, D).
      pairs: of each member, see `implied_by_drawn`.
      n: how many of them each member gets, at random.
    Returns:
      Mean loss of a pair, summed over members; 0 of a member without any.
    """
    if not any(map(len, pairs)):
        return 0.0
    nothing = np.zeros((1, 2), np.int64)
    drawn = [own[rng.integers(len(own), size=n)] if len(own) else nothing.repeat(n, 0)
             for own in pairs]  # fmt: skip
    places = torch.as_tensor(np.stack(drawn)).to(inputs.device)  # (M, n, 2)
    returns = returns_of(ensemble, inputs.flatten(0, 1)[places])
    one = torch.ones((), device=returns.device)
    losses = bradley_terry_loss(returns[..., 0], returns[..., 1], one, noise).mean(1)
    counts = torch.tensor([len(own) > 0 for own in pairs], device=losses.device)
    return (losses * counts).sum()
