"""The label budget over time: how many labels may have been asked for by now.

A schedule is a function of (step, total steps, budget, first batch) to a number of labels;
it starts at the first batch and ends at the budget. Steps are those of the run, random and
exploring ones before the first batch included: what was due during them is asked in the first pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int, int, int], int]


def constant(step: int, total: int, budget: int, first: int) -> int:
    """The same number of labels for every step."""
    return first + math.floor((budget - first) * min(step / total, 1.0))


def hyperbolic(step: int, total: int, budget: int, first: int, half_rate_at: float = 0.1) -> int:
    """A rate proportional to h / (step + h): after h steps it has halved.

    Args:
      half_rate_at: h as a share of the run.
    Source: Christiano et al. 2017, appendix A.1: 2e6 / (T + 2e6) in runs of about 2e7 steps.
    """
    h = total * half_rate_at
    share = math.log1p(min(step, total) / h) / math.log1p(total / h)
    return first + math.floor((budget - first) * share + 1e-9)


def all_at_start(step: int, total: int, budget: int, first: int) -> int:
    """Every label before training: the paper's ablation without online queries."""
    return budget


def disagreement_weight(step: int, total: int, bonus: float, pessimism: float) -> float:
    """What the members' standard deviation counts in the agent's reward.

    It falls in a straight line from the bonus to minus the pessimism: curious while little is
    known, wary of what few members like in the end.

    Source: the bonus, Liang et al. 2022 (RUNE), arXiv 2205.12401, section 4.1 (there it decays
    exponentially); pessimism, Coste et al. 2024, arXiv 2310.02743, section 3.2 (there it is the
    variance that counts).
    """
    over = min(step / total, 1.0)
    return (1 - over) * bonus - over * pessimism


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "hyperbolic": hyperbolic,
    "all-at-start": all_at_start,
}
