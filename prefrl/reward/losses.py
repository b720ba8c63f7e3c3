"""Losses on predicted returns: pure functions, shared by clips and text."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_loss(
    return_left: Tensor, return_right: Tensor, p_left: Tensor, noise: float = 0.0
) -> Tensor:
    """Cross-entropy of the predicted preferences with the answers.

    Args:
      return_left, return_right: undiscounted sums of predicted reward, any equal shape.
      p_left: targets in [0, 1], broadcast against them; one half is a tie.
      noise: share of answers taken to be uniformly random; it bounds the loss, so that
        the returns of clean answers do not grow without end.
    Returns:
      The loss of each comparison, same shape, nats.
    Source: Christiano et al. 2017, section 2.2.3; p' = (1 - noise) p + noise / 2.
    """
    logit = return_left - return_right
    log_left = _with_noise(logsigmoid(logit), noise)
    log_right = _with_noise(logsigmoid(-logit), noise)
    return -(p_left * log_left + (1 - p_left) * log_right)


def masked_loss(differences: Tensor, p_left: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    """Mean loss of each member's answers that count, (M,); NaN: there are none.

    Args:
      differences: of the comparisons at `index`, (M, K).
      p_left, mask: of all comparisons, (N,) and (M, N).
    """
    zero = torch.zeros_like(differences)
    return masked_mean(bradley_terry_loss(differences, zero, p_left[index]), mask, index)


def masked_mean(losses: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    """Mean of the losses (M, K) at `index` where a mask of all comparisons (M, N) is true, (M,)."""
    counts = mask.gather(1, index)
    return (losses * counts).sum(1) / counts.sum(1)


def _with_noise(log_p: Tensor, noise: float) -> Tensor:
    if noise == 0:
        return log_p
    floor = torch.full_like(log_p, math.log(noise) - math.log(2))
    return torch.logaddexp(log_p + math.log1p(-noise), floor)
