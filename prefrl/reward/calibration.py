"""Calibration of predicted preferences, and what held-out answers say of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from scipy.optimize import minimize_scalar
from scipy.stats import chi2
from torch import Tensor, zeros, zeros_like

from prefrl.reward.losses import bradley_terry_loss, masked_loss

INFORMED_ACCURACY = 0.7
"""Share of right held-out answers from which members that agree are taken to know the answer."""
ENOUGH_TO_JUDGE = 100
"""Held-out answers, ties apart, after which a reward that still guesses is not followed."""


def fit_temperature(differences: Tensor, p_left: Tensor) -> float:
    """The temperature under which predicted preferences are calibrated.

    Args:
      differences: left minus right predicted return of held-out comparisons, (K,).
      p_left: their answers, (K,).
    Returns:
      tau > 0 that minimises the negative log-likelihood of sigmoid(differences / tau).
    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    if len(differences) < 2:
        return 1.0

    def nll(log_tau: float) -> float:
        scaled = differences / math.exp(log_tau)
        zero = zeros_like(scaled)
        return float(bradley_terry_loss(scaled, zero, p_left).mean())

    found = minimize_scalar(nll, bounds=(-3.0, 6.0), method="bounded", options={"xatol": 1e-2})
    return math.exp(float(found.x))


def beats_chance(nll: float, n: int) -> bool:
    """Whether n held-out answers rule out guessing, at a level of 0.1 %.

    A likelihood-ratio test of the calibrated preferences against P = 1/2; the temperature is
    its one free parameter. An ensemble that is right more often than not but whose differences
    mean nothing is calibrated to P = 1/2 all the same, and does not pass. The level is low
    because the question comes up at every fit, and a fit stops where its held-out loss is
    lowest.

    Args:
      nll: mean negative log-likelihood, nats; NaN where n is 0.
      n: held-out answers.
    Source: Wilks 1938, "The large-sample distribution of the likelihood ratio".
    """
    return n > 0 and float(chi2.sf(2 * n * (math.log(2) - nll), df=1)) < 1e-3


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What members predict of answers that they have not learned from.

    Attributes:
      differences: left minus right returns of the comparisons at `where`, (M, K).
      p_left, mask: all answers, (N,), and which of them each member has not seen, (M, N).
      where: their indices, (M, K); a row may be filled up with others.
    """

    differences: Tensor
    p_left: Tensor
    mask: Tensor
    where: Tensor

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Differences and answers of all members, without what fills rows up, (P,) each."""
        held = self.mask.gather(1, self.where)
        return self.differences[held], self.p_left[self.where][held]

    @cached_property
    def temperature(self) -> float:
        """The temperature under which they are calibrated to these answers."""
        return fit_temperature(*self.pairs)


class Verdict(NamedTuple):
    """What held-out answers say of an ensemble.

    Attributes:
      accuracy: share of the decided ones that it predicts; NaN where none is decided.
      nll: their mean negative log-likelihood at a given temperature, nats.
      informed: it predicts them well enough that members who agree know the answer.
      guessing: it is not worth following.
    """

    accuracy: float
    nll: float
    informed: bool
    guessing: bool


def judge(answers: HeldOut, temperature: float) -> Verdict:
    """Judge an ensemble by held-out answers.

    It guesses, too, where every answer is a tie: what it predicts then is what its weights began
    with.

    Args:
      temperature: the ensemble's. Whether it beats chance is judged under the best one for these
        answers, which is another where `answers` are not those that it was calibrated to.
    """
    differences, targets = answers.pairs
    scaled = differences / answers.temperature
    best_nll = float(bradley_terry_loss(scaled, zeros(()), targets).mean())
    decided = targets != 0.5
    right = (differences > 0) == (targets > 0.5)
    accuracy = float(right[decided].float().mean()) if decided.any() else math.nan
    held_by_any = answers.mask.any(0)
    above_chance = beats_chance(best_nll, int(held_by_any.sum()))
    n_decided = int((held_by_any & (answers.p_left != 0.5)).sum())
    none_decides = bool((answers.p_left == 0.5).all())
    calibrated = answers.differences / temperature
    losses = masked_loss(calibrated, answers.p_left, answers.mask, answers.where)
    return Verdict(
        accuracy=accuracy,
        nll=float(losses.nanmean()),
        informed=above_chance and accuracy >= INFORMED_ACCURACY,
        guessing=none_decides or (n_decided >= ENOUGH_TO_JUDGE and not above_chance),
    )
