"""Interquartile means, and intervals by a stratified bootstrap.

Source: Agarwal et al. 2021, arXiv 2108.13264, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator, default_rng

from prefrl.types import Array

Interval = tuple[float, float, float]
"""A statistic, and the lower and upper end of its 95 % interval."""

_RESAMPLES = 2000


def iqm(scores: Sequence[float] | Array) -> float:
    """Interquartile mean (Agarwal et al. 2021, section 4.3)."""
    from rliable import metrics

    return float(metrics.aggregate_iqm(np.array(scores).reshape(-1, 1)))


def iqm_interval(scores: Array) -> Interval:
    """IQM of scores (seeds, tasks), with its interval.

    The seeds of each task are resampled with replacement. (rliable's own bootstrap needs a release
    of `arch` that today's pandas breaks.)
    """
    resampled = [iqm(drawn.ravel()) for drawn in _resampled(scores, default_rng(0))]
    return _with_quantiles(iqm(scores.ravel()), resampled)


def mean_interval(scores: Array, less: Array | None = None) -> Interval:
    """Mean of scores (seeds, tasks), with its interval.

    With three seeds the interval is too narrow rather than too wide: the bootstrap's standard
    deviation is about four fifths of the true one.

    Args:
      less: scores of another arm on the same tasks, (other seeds, tasks), whose mean is subtracted;
        its seeds are resampled independently.
    """
    rng = default_rng(0)
    middle, resampled = scores.mean(), _resampled(scores, rng).mean((1, 2))
    if less is not None:
        middle, resampled = middle - less.mean(), resampled - _resampled(less, rng).mean((1, 2))
    return _with_quantiles(middle, resampled)


def ratio_interval(scores: Array, over: Array) -> Interval:
    """Ratio of two arms' mean scores, each (seeds, tasks), with its interval.

    The seeds of each arm are resampled independently.
    """
    rng = default_rng(0)
    resampled = _resampled(scores, rng).mean((1, 2)) / _resampled(over, rng).mean((1, 2))
    return _with_quantiles(scores.mean() / over.mean(), resampled)


def with_ends(name: str, interval: Interval) -> dict[str, float]:
    """An interval as three entries of a headline: NAME, NAME_low and NAME_high."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))


def _with_quantiles(middle: float, resampled: Sequence[float] | Array) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(middle), float(low), float(high)


def _resampled(scores: Array, rng: Generator) -> Array:
    """Scores (seeds, tasks) with the seeds of each task resampled, (R, seeds, tasks)."""
    n, tasks = scores.shape
    seeds = rng.integers(n, size=(_RESAMPLES, n, tasks))
    drawn: Array = scores[seeds, np.arange(tasks)]
    return drawn
