"""Answers that the reward has reason to doubt: left out of a fit, or flipped."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from prefrl.reward.losses import bradley_terry_loss

ALPHA, SPREADS = 0.5, 1.0
UPPER = 3 * math.log(10)
"""Loss, in nats, over which an answer is flipped: it had a chance of one in a thousand."""


class Believed(NamedTuple):
    """What of the answers is believed.

    Attributes:
      p_left: targets, with flipped answers flipped, (N,).
      kept: which of them a fit is to learn from, (N,).
    """

    p_left: Tensor
    kept: Tensor


def believed(differences: Tensor, heldout: Tensor, p_left: Tensor) -> Believed:
    """Tell wrong answers from those that are only hard.

    Each is judged by members that did not learn from it, where there are any. An answer is left
    out if its loss is over a bound that rises as the reward fits the others better, and falls as
    its losses lie closer together; ties stay.

    Args:
      differences: calibrated left minus right returns, (M, N).
      heldout: whether a member did not learn from a comparison, (M, N).
      p_left: the answers, (N,).
    Source: after Cheng et al. 2024 (RIME), arXiv 2402.17257, section 4.1: its lower bound
    -ln(rho) + alpha rho plus a term in the losses' spread, whose weight is 1 here from
    the start and not only in the end, with the mean loss for rho; its upper bound as it is.
    """
    judges = torch.where(heldout.any(0), heldout, torch.ones_like(heldout)).to(differences)
    difference = (differences * judges).sum(0) / judges.sum(0)
    losses = bradley_terry_loss(difference, torch.zeros_like(difference), p_left)
    decided = p_left != 0.5
    if int(decided.sum()) < 2:
        return Believed(p_left, torch.ones_like(decided))
    rho = float(losses[decided].mean().clamp(1e-3, 1.0))
    bound = -math.log(rho) + ALPHA * rho + SPREADS * float(losses[decided].std())
    flipped = decided & (losses > UPPER)
    kept = ~decided | (losses <= bound) | flipped
    return Believed(torch.where(flipped, 1 - p_left, p_left), kept)
