"""Plots over steps: rows of metrics in, `Plot` out; None where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from prefrl.report.svg import (
    BLUE,
    DASH,
    INK,
    MUTED,
    ORANGE,
    LegendKey,
    Plot,
    Rows,
    last,
    number,
    panels,
    percent,
    series,
    short,
    smooth,
    steps_axis,
    thin,
    y_axis,
)
from prefrl.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = "environment steps"


def returns(rows: Rows, evaluation: Mapping[str, Any]) -> Plot | None:
    """True return of training episodes over steps, predicted return under it."""
    true, predicted = series(rows, "true_return"), series(rows, "predicted_return")
    known = [
        (data, title, colour)
        for data, title, colour in (
            (true, "True return of an episode", BLUE),
            (predicted, "Predicted return of an episode", ORANGE),
        )
        if len(data)
    ]
    if not known:
        return None
    keys: list[LegendKey] = [
        (MUTED, "faint", "one pass of the loop"),
        (BLUE, "line", "true, moving average"),
        (ORANGE, "line", "predicted, moving average"),
    ]
    titles = [title for _, title, _ in known]
    with panels("returns", titles, [130] * len(known), xlabel=STEPS) as (axes, svg):
        for ax, (data, _, colour) in zip(axes, known, strict=True):
            _noisy(ax, data, colour)
        if len(true):
            marks = {"RL on the true reward": "rl_return", "random policy": "random_return"}
            levels = [(text, number(evaluation, key)) for text, key in marks.items()]
            for (text, level), style in zip(levels, (DASH, ":"), strict=True):
                if level is not None:
                    axes[0].axhline(level, color=MUTED, linestyle=style, linewidth=1.2)
                    keys.append((MUTED, "dash" if style == DASH else "dots", text))
        for ax in axes:
            y_axis(ax)
        steps_axis(axes[-1], _until(rows))
    keys = [key for key in keys if key[0] in (MUTED, *(colour for _, _, colour in known))]
    reading = f"true return ends at {short(float(smooth(true[:, 1])[-1]))}" if len(true) else ""
    notes: tuple[str, ...] = ()
    notes += () if len(true) else ("No true return yet: no episode has ended.",)
    notes += () if len(predicted) else ("No predicted return yet: no reward has been fitted.",)
    return Plot(svg[0], tuple(keys), reading, notes)


def labels(rows: Rows) -> Plot | None:
    """Answers so far against what the schedule offered so far."""
    answered, offered = series(rows, "labels"), series(rows, "offered")
    if not len(answered):
        return None
    budget = last(rows, "labels_budget")
    keys: list[LegendKey] = [(BLUE, "line", "answered")]
    with panels("labels", ["Labels"], [248], xlabel=STEPS) as ([ax], svg):
        if len(offered):
            data = _from_zero(offered)
            ax.fill_between(
                data[:, 0], data[:, 1], step="post", color=MUTED, alpha=0.13, linewidth=0
            )
            ax.step(data[:, 0], data[:, 1], where="post", color=MUTED, linewidth=1.2)
            keys.append((MUTED, "band", "offered by the schedule"))
        if budget is not None:
            ax.axhline(budget, color=MUTED, linestyle=DASH, linewidth=1.2)
            keys.append((MUTED, "dash", f"budget of the run ({short(budget)})"))
        data = _from_zero(answered)
        ax.step(data[:, 0], data[:, 1], where="post", color=BLUE, linewidth=2.2)
        steps_axis(ax, _until(rows))
        y_axis(ax, 0)
    done, asked_for = answered[-1, 1], last(rows, "offered")
    reading = short(done)
    if asked_for:
        reading = f"{short(done)} of {short(asked_for)} offered"
    return Plot(svg[0], tuple(keys), reading)


def disagreement(rows: Rows) -> Plot | None:
    """Spread of the candidates' disagreement with the gate; share over it underneath."""
    quantiles = ("disagreement_p10", "disagreement_p50", "disagreement_p90")
    band, asked = series(rows, *quantiles), series(rows, "disagreement_asked")
    share, gate = series(rows, "gate_share"), series(rows, "ask_above")
    heights = {}
    if len(band):
        heights["Disagreement of candidates"] = 150
    if len(share):
        heights["Candidates over the gate"] = 64
    if not heights:
        return None
    keys: list[LegendKey] = []
    with panels("gate", list(heights), list(heights.values()), xlabel=STEPS) as (axes, svg):
        if len(band):
            keys = _band(axes[0], band, asked, gate)
        if len(share):
            few = thin(share)
            axes[-1].fill_between(few[:, 0], few[:, 1], color=BLUE, alpha=0.2, linewidth=0)
            line(axes[-1], share, BLUE)
            y_axis(axes[-1], 0, 1.02, shares=True, ticks=2)
        steps_axis(axes[-1], _until(rows))
    reading = f"{percent(share[-1, 1])} over the gate at the end" if len(share) else ""
    return Plot(svg[0], tuple(keys), reading)


def _band(ax: Axes, band: Array, asked: Array, gate: Array) -> list[LegendKey]:
    """Draw percentiles, what was asked, and the gate; returns the legend."""
    data = thin(band)
    ax.fill_between(data[:, 0], data[:, 1], data[:, 3], color=BLUE, alpha=0.2, linewidth=0)
    line(ax, band[:, [0, 2]], BLUE)
    keys: list[LegendKey] = [(BLUE, "band", "10th to 90th percentile"), (BLUE, "line", "median")]
    if len(asked):
        data = thin(asked)
        ax.plot(data[:, 0], data[:, 1], "o", color=ORANGE, markersize=3.4, markeredgewidth=0)
        keys.append((ORANGE, "dot", "mean of those asked"))
    if len(gate):
        x, y = [0.0, *gate[:, 0]], [gate[0, 1], *gate[:, 1]]
        ax.plot(x, y, color=INK, linestyle=DASH, linewidth=1.3)
        keys.append((INK, "dash", f"gate ({short(gate[-1, 1])})"))
    y_axis(ax, 0, min(0.5, 1.08 * max([0.05, *band[:, 3], *asked[:, 1], *gate[:, 1]])))
    return keys


def fit(rows: Rows) -> Plot | None:
    """Held-out accuracy, losses and temperature of the fits over steps."""
    accuracy = series(rows, "heldout_accuracy")
    heldout, train = series(rows, "heldout_nll"), series(rows, "train_nll")
    temperature = series(rows, "temperature")
    curves = {
        "Accuracy on held-out answers": accuracy,
        "Loss (negative log-likelihood)": heldout,
        "Temperature": temperature,
    }
    known = [title for title, data in curves.items() if len(data)]
    if not known:
        return None
    heights = [{"Temperature": 50}.get(title, 92) for title in known]
    keys: list[LegendKey] = [(BLUE, "line", "held-out")]
    with panels("fit", known, heights, xlabel=STEPS) as (axes, svg):
        for ax, title in zip(axes, known, strict=True):
            data = curves[title]
            line(ax, data, INK if title == "Temperature" else BLUE)
            if data is accuracy:
                ax.axhline(0.5, color=MUTED, linestyle=":", linewidth=1.2)
                y_axis(ax, min(0.45, *data[:, 1]), 1.01, shares=True, ticks=3)
            elif data is heldout:
                line(ax, train, ORANGE)
                ax.axhline(math.log(2), color=MUTED, linestyle=":", linewidth=1.2)
                y_axis(ax, 0, ticks=3)
                keys.append((ORANGE, "line", "training"))
            else:
                y_axis(ax, 0, 1.15 * max(1.0, *data[:, 1]), ticks=2)
        steps_axis(axes[-1], _until(rows))
    keys.append((MUTED, "dots", "guessing"))
    reading = f"{percent(accuracy[-1, 1])} at the end" if len(accuracy) else ""
    missing = [title for title in curves if title not in known]
    notes = tuple(f"Not in the run's metrics: {title.lower()}." for title in missing)
    return Plot(svg[0], tuple(keys), reading, notes)


def _noisy(ax: Axes, data: Array, colour: str) -> None:
    """Draw values faintly under their moving average, with markers where they are few."""
    data = thin(data)
    few = "o" if len(data) < 12 else ""
    ax.plot(
        data[:, 0],
        data[:, 1],
        color=colour,
        alpha=0.4,
        linewidth=1,
        marker=few,
        markersize=4,
        clip_on=not few,
    )
    ax.plot(data[:, 0], smooth(data[:, 1]), color=colour, linewidth=2)


def line(ax: Axes, data: Array, colour: str) -> None:
    """Draw a line, with markers where it has few points."""
    data = thin(data)
    marker = "o" if len(data) < 12 else ""
    ax.plot(data[:, 0], data[:, 1], color=colour, marker=marker, markersize=4, clip_on=not marker)


def _from_zero(data: Array) -> Array:
    """A running total that starts at zero, thinned without averaging."""
    keep = np.unique(np.linspace(0, len(data) - 1, min(len(data), 500)).astype(int))
    return np.vstack([[0.0, 0.0], data[keep]])


def _until(rows: Rows) -> float:
    return float(rows[-1]["step"])
