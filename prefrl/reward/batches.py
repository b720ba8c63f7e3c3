"""What a step of a fit looks at: comparisons of each member, whole or in part."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from prefrl.reward.ensemble import RewardEnsemble

_MAX_VALUES = 2**26  # inputs scored at once: images by the thousand fill memory


def rows(inputs: Tensor, index: Tensor) -> Tensor:
    """Comparisons by their indices (M, B), wherever the inputs lie."""
    return inputs[index.to(inputs.device)]


def returns_of(ensemble: RewardEnsemble, batch: Tensor) -> Tensor:
    """Undiscounted predicted returns, (M, B, 2, T, D) -> (M, B, 2)."""
    return ensemble.returns(batch.flatten(1, 2)).view(batch.shape[:3])


@torch.no_grad()
def predicted_returns(ensemble: RewardEnsemble, inputs: Tensor, index: Tensor) -> Tensor:
    """Returns that each member predicts for both sides of comparisons of its own, (M, K, 2)."""
    pairs = max(1, _MAX_VALUES // (len(index) * inputs[0].numel()))
    found = [returns_of(ensemble, rows(inputs, part)) for part in torch.split(index, pairs, dim=1)]
    return torch.cat(found, dim=1)


def predicted_differences(ensemble: RewardEnsemble, inputs: Tensor, index: Tensor) -> Tensor:
    """Left minus right, (M, K)."""
    returns = predicted_returns(ensemble, inputs, index)
    return returns[..., 0] - returns[..., 1]


def indices(mask: Tensor) -> Tensor:
    """Where each row of a mask (M, N) is true, (M, K); shorter rows are filled up with others."""
    most = int(mask.sum(1).max())
    return mask.int().argsort(dim=1, descending=True, stable=True)[:, :most]


def minibatches(
    drawn: Tensor, weights: Tensor, batch_size: int, rng: Generator
) -> Iterator[Tensor]:
    """One epoch of every member's bootstrap, side by side: indices (M, B).

    A comparison that a member drew several times comes once, with its weight: the same
    gradient for two thirds of the work. `batch_size` counts draws.
    """
    order = torch.as_tensor(rng.permuted(drawn.numpy(force=True), axis=1)).to(drawn.device)
    n_batches = max(1, round(float(weights.sum(1).max()) / batch_size))
    yield from order.tensor_split(min(n_batches, order.shape[1]), dim=1)


def in_part(
    inputs: Tensor, index: Tensor, sampled: int, crop: float, rng: Generator
) -> tuple[Tensor, float]:
    """Comparisons at some of their segments' steps, drawn for each segment.

    Args:
      inputs: of all comparisons, (N, 2, T, D).
      index: of those that are wanted, (M, B).
      sampled: number of steps, anywhere in the segment; 0 or at least T: all of them.
      crop: else a stretch of at least this share of them; its length is the same in the whole
        batch, its start is not. 1: all of them.
    Returns:
      (M, B, 2, K, D), and the steps of a segment that each of them stands for.
    Source: crops, Park et al. 2022 (SURF), arXiv 2203.10050, section 4.2.
    """
    length = inputs.shape[2]
    if 0 < sampled < length:
        steps = rng.random((*index.shape, 2, length)).argsort(-1)[..., :sampled]
    elif crop < 1:
        kept = int(rng.integers(max(1, round(crop * length)), length + 1))
        steps = rng.integers(length - kept + 1, size=(*index.shape, 2, 1)) + np.arange(kept)
    else:
        return rows(inputs, index), 1.0
    chosen = torch.as_tensor(steps).to(inputs.device)
    index = index.to(inputs.device)
    sides = torch.arange(2, device=inputs.device)[:, None]
    return inputs[index[..., None, None], sides, chosen], length / chosen.shape[-1]
