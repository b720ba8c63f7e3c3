"""What held-out answers say of predicted preferences."""

from __future__ import annotations

import math

from scipy.optimize import minimize_scalar
from scipy.stats import chi2
from torch import Tensor, zeros_like

from prefrl.reward.losses import bradley_terry_loss


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
    """Whether so many held-out answers rule out guessing, at a level of 0.1 %.

    A likelihood-ratio test of the calibrated preferences against P = 1/2; the temperature is
    its one free parameter. An ensemble that is right more often than not but whose differences
    mean nothing is calibrated to P = 1/2 all the same, and does not pass. The level is low
    because the question comes anew at every fit, and a fit stops where its held-out loss is
    least.

    Args:
      nll: mean negative log-likelihood, nats; NaN where n is 0.
      n: held-out answers.
    Source: Wilks 1938, "The large-sample distribution of the likelihood ratio".
    """
    return n > 0 and float(chi2.sf(2 * n * (math.log(2) - nll), df=1)) < 1e-3
