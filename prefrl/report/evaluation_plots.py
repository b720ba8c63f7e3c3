"""Plots of a run's evaluation: evaluation.json in, `Plot` out; None where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from prefrl.report.svg import (
    BLUE,
    CARD,
    DASH,
    GRID,
    INK,
    MUTED,
    ORANGE,
    LegendKey,
    Plot,
    columns,
    decimal,
    number,
    panels,
    percent,
    short,
    x_axis,
    y_axis,
)
from prefrl.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RASTER_ABOVE = 400  # points of a scatter
RASTER_BLUE = "#3d8fce"  # a raster image cannot follow the page's colours: legible on both
BEYOND_LEFT = "\N{BLACK LEFT-POINTING SMALL TRIANGLE}"
BEYOND_RIGHT = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
Bar: TypeAlias = tuple[str, float, str, Callable[[float], str]]  # name, value, colour, writer


def calibration(evaluation: Mapping[str, Any]) -> Plot | None:
    """Reliability of P(left over right), with the number of pairs of each bin under it."""
    predictor = evaluation.get("predictor")
    table = predictor.get("reliability") if isinstance(predictor, Mapping) else None
    bins = columns(table, "confidence", "accuracy", "count")
    bins = bins[bins[:, 2] > 0]
    if not len(bins):
        return None
    confidence, accuracy, count = bins.T
    accuracy = accuracy.clip(0, 1)
    low = 0.5 if confidence.min() >= 0.5 else 0.0
    width = 0.7 * min([0.1, *np.diff(np.sort(confidence))])
    with panels(
        "calibration",
        ["Share of pairs it gets right", "Pairs"],
        [214, 56],
        xlabel="confidence of the ensemble in its choice",
    ) as ([ax, below], svg):
        ax.plot([low, 1], [low, 1], color=MUTED, linestyle=DASH, linewidth=1.2)
        interval = wilson(accuracy, count)
        ax.vlines(confidence, *interval, color=BLUE, linewidth=1.6, alpha=0.55)
        ax.plot(confidence, accuracy, "o-", color=BLUE, markersize=5, linewidth=1.2)
        below.bar(confidence, count, width=width, color=BLUE, alpha=0.45)
        x_axis(ax, low, 1.0, shares=True)
        y_axis(ax, min(low, math.floor(10 * interval[0].min()) / 10), 1.02, shares=True, ticks=5)
        y_axis(below, 0, ticks=2)
    keys: list[LegendKey] = [
        (BLUE, "dot", "measured, with 95 % interval"),
        (MUTED, "dash", "perfectly calibrated"),
    ]
    ece = number(predictor, "ece")
    reading = "" if ece is None else f"calibration error {percent(ece)}"
    return Plot(svg[0], tuple(keys), reading)


def gate_errors(evaluation: Mapping[str, Any]) -> Plot | None:
    """How often the ensemble is wrong about pairs over and under the gate."""
    gate = ("predictor", "gate")
    above, below = (
        number(evaluation, *gate, "error_above"),
        number(evaluation, *gate, "error_below"),
    )
    if above is None and below is None:
        return None
    share = number(evaluation, *gate, "share_above")
    title = "Pairs it gets wrong"
    if share is not None:
        title += f" ({percent(share)} lie over the gate)"
    bars = [("over the gate", above, ORANGE), ("under the gate", below, BLUE)]
    with panels("errors", [title], [130], left=124, xlabel="share of pairs") as ([ax], svg):
        high = 1.1 * max(0.1, above or 0, below or 0)
        known: list[Bar] = [(name, x, colour, percent) for name, x, colour in bars if x is not None]
        _bars(ax, known, span=high)
        x_axis(ax, 0, high, shares=True)
    notes = tuple(f"None of the pairs lay {name}." for name, x, _ in bars if x is None)
    reading = f"wrong {above / below:.1f} times as often over it" if above and below else ""
    return Plot(svg[0], (), reading, notes)


def segment_returns(evaluation: Mapping[str, Any]) -> Plot | None:
    """Predicted against true return of segments."""
    predictor = evaluation.get("predictor")
    table = predictor.get("segments") if isinstance(predictor, Mapping) else None
    true, predicted = columns(table, "true", "predicted").T
    if len(true) < 2:
        return None
    many = len(true) > RASTER_ABOVE
    keys: list[LegendKey] = [(BLUE, "dot", f"a segment ({short(len(true))} in all)")]
    with panels(
        "segments", ["Predicted return of a segment"], [206], xlabel="true return of the segment"
    ) as ([ax], svg):
        alpha = min(0.8, max(0.15, 250 / len(true)))
        ax.plot(
            true,
            predicted,
            "o",
            color=RASTER_BLUE if many else BLUE,
            markersize=3.6,
            markeredgewidth=0,
            alpha=alpha,
            rasterized=many,
        )
        if np.ptp(true) > 0:
            centred = true - true.mean()
            slope = (centred @ predicted) / (centred @ centred)
            ends = np.array([centred.min(), centred.max()])
            ax.plot(
                ends + true.mean(), slope * ends + predicted.mean(), color=ORANGE, linewidth=1.6
            )
            keys.append((ORANGE, "line", "straight line through them"))
        x_axis(ax)
        y_axis(ax)
    r = number(predictor, "correlation")
    reading = "" if r is None else f"correlation {decimal(r)}"
    return Plot(svg[0], tuple(keys), reading)


def score(evaluation: Mapping[str, Any], missing: str) -> Plot | None:
    """Normalised score beside what constant and random rewards reach.

    Args:
      missing: what to say where there is no leak audit.
    """
    learned, audit = number(evaluation, "normalised_score"), evaluation.get("leak_audit")
    names = {
        "constant+1": "constant +1",
        "constant-1": "constant \N{MINUS SIGN}1",
        "random-network": "random network",
    }
    audit = audit if isinstance(audit, Mapping) else {}
    bars = [("preferences", learned, BLUE)]
    bars += [(names.get(name, str(name)), number(audit, name), ORANGE) for name in audit]
    known: list[Bar] = [(name, x, colour, decimal) for name, x, colour in bars if x is not None]
    if not known:
        return None
    values = [x for _, x, _, _ in known]
    low, high = max(-1.5, min(0.0, *values)), min(2.5, max(1.0, *values))
    room = 0.16 * (high - low)
    with panels(
        "score",
        ["Normalised score, by the reward it was trained on"],
        [58 * len(known)],
        left=124,
        xlabel="0 = random policy, 1 = RL on the true reward",
    ) as ([ax], svg):
        _bars(ax, known, low, high, span=high - low)
        for x in (0, 1):
            ax.axvline(x, color=INK, linewidth=1.1, linestyle=DASH if x else "-")
        x_axis(ax, low - (room if low < 0 else 0), high + room)
    keys: list[LegendKey] = [(BLUE, "box", "learned from preferences")]
    keys += [(ORANGE, "box", "leak audit: nothing to learn from")] if len(known) > 1 else []
    keys += [(INK, "dash", "RL on the true reward")]
    reading = "" if learned is None else decimal(learned)
    return Plot(svg[0], tuple(keys), reading, () if audit else (missing,))


def _bars(
    ax: Axes, bars: list[Bar], low: float = 0.0, high: float = math.inf, span: float = math.inf
) -> None:
    """Draw horizontal bars, cut at low and high; a value stands in its bar where there is room."""
    for y, (_, value, colour, write) in enumerate(bars):
        end = min(max(value, low), high)
        right = value >= 0
        text = write(value)
        if end != value:
            text = f"{text} {BEYOND_RIGHT}" if right else f"{BEYOND_LEFT} {text}"
        inside = abs(end) > span / 6
        ax.barh(y, end, height=0.55, color=colour)
        ax.annotate(
            text,
            (end, y),
            (6 if right != inside else -6, 0),
            va="center_baseline",
            ha="left" if right != inside else "right",
            textcoords="offset points",
            color=CARD if inside else INK,
            fontweight="bold" if inside else "normal",
        )
    ax.set_yticks(range(len(bars)), labels=[name for name, *_ in bars])
    ax.set_ylim(len(bars) - 0.45, -0.55)
    ax.grid(visible=False)
    ax.grid(axis="x", color=GRID)


def wilson(share: Array, count: Array) -> tuple[Array, Array]:
    """95 % interval of a share of `count` trials (Wilson 1927), (B,) each."""
    z2 = 1.96**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = np.sqrt(share * (1 - share) * z2 / count + z2**2 / (4 * count**2)) / (1 + z2 / count)
    return centre - half, centre + half
