"""Plots of people's answers: rows of the store in, `Plot` out; None where nothing is known.

Their x axis is time at work, without pauses; a line marks the start of another sitting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from prefrl.label_quality import (
    DECIDED,
    OBVIOUS,
    REPEAT,
    REPEAT_SWAPPED,
    on_left,
    running_quantiles,
    running_rate,
    running_share,
    sittings,
    work_clock,
)
from prefrl.report.evaluation_plots import wilson
from prefrl.report.plots import line
from prefrl.report.svg import (
    BLUE,
    DASH,
    INK,
    MUTED,
    ORANGE,
    LegendKey,
    Plot,
    panels,
    percent,
    short,
    thin,
    x_axis,
    y_axis,
)
from prefrl.store import AnswerRow, CheckRow
from prefrl.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PACE_OVER, SIDES_OVER, CHECKS_OVER = 50, 100, 20
"""How many of the latest answers, choices and checks a running number is over."""
SETTLED = 20
"""First values, each over too few answers, that are not drawn; at most a fifth of all."""
MAX_NAMED = 4
"""Labelers that have a line of their own."""
_COLOURS = (BLUE, ORANGE, INK, MUTED)
_NAME = 12  # letters of a name beside its line
_MINUTES = 180  # longer work is in hours
_HEIGHT, _HALF, _LINE = 230, 95, 18  # of one panel, of each of two, of a line of text

_AGAIN, _RIGHT = "Same answer to a pair shown again", "Right answer to an obvious pair"

AnyRow: TypeAlias = AnswerRow | CheckRow
Keys: TypeAlias = tuple[LegendKey, ...]


@dataclass(frozen=True)
class Work:
    """Answers and checks in the order of time.

    Attributes:
      at: time at work until each row, (n,).
      breaks: times at which another sitting begins, (S,).
      unit: of both times.
    """

    rows: Sequence[AnyRow]
    at: Array
    breaks: Array
    unit: str

    def where(self, kept: Sequence[bool]) -> tuple[list[AnyRow], Array]:
        """Rows with their times, where `kept`."""
        places = np.flatnonzero(kept).tolist()
        return [self.rows[i] for i in places], self.at[places]

    @property
    def xlabel(self) -> str:
        return f"{self.unit} of work, pauses left out"

    @property
    def keys(self) -> Keys:
        """Legend of the x axis."""
        return ((MUTED, "dots", "another sitting"),) if len(self.breaks) else ()


def worked(rows: Sequence[AnyRow]) -> Work:
    """The common time at work, which passes while anybody works.

    Args:
      rows: in the order of time.
    """
    times = np.array([row.answered_at for row in rows], float)
    minutes = work_clock(times) / 60
    long = len(minutes) > 0 and minutes[-1] > _MINUTES
    at, unit = (minutes / 60, "hours") if long else (minutes, "minutes")
    return Work(rows, at, at[sittings(times)[1:]], unit)


def pace(work: Work) -> Plot | None:
    """Answers an hour, a line for each of the busiest labelers."""
    counted = Counter(row.labeler for row in work.rows).most_common()
    lines = []
    for (name, _), colour in zip(counted, _COLOURS, strict=False):
        rows, at = work.where([row.labeler == name for row in work.rows])
        rate = running_rate(np.array([row.answered_at for row in rows]), PACE_OVER)
        data = np.column_stack([at, rate])[np.isfinite(rate)]
        if len(data):
            lines.append((name, _settled(data), colour))
    if not lines:
        return None
    several = len(counted) > 1
    right = 14 + 8 * max(len(_cut(name)) for name, _, _ in lines) if several else 14
    titles = [f"Answers an hour, over the last {PACE_OVER} answers"]
    high = 1.1 * max(data[:, 1].max() for _, data, _ in lines)
    with panels("people-pace", titles, [_HEIGHT], xlabel=work.xlabel, right=right) as ([ax], svg):
        for _, data, colour in lines:
            line(ax, data, colour)
        y_axis(ax, 0, high)
        _time_axis([ax], work)
        if several:
            _names(ax, [(name, data[-1], colour) for name, data, colour in lines], high)
    keys: Keys = tuple((colour, "line", name) for name, _, colour in lines) if several else ()
    more = counted[MAX_NAMED:]
    left_out = f"Not drawn: {len(more)} more, with {short(sum(n for _, n in more))} answers."
    reading = "" if several else f"{short(lines[0][1][-1, 1])} an hour at the end"
    return Plot(svg[0], (*keys, *work.keys), reading, (left_out,) if more else ())


def attention(work: Work) -> Plot | None:
    """Seconds that answers took, and the share of the clip that was watched before them."""
    answers, at = work.where([isinstance(row, AnswerRow) for row in work.rows])
    if not answers:
        return None
    seconds = np.array([row.seconds for row in answers])
    watched = np.array([row.watched for row in answers])
    known = np.isfinite(watched)
    titles, heights = ["Seconds from the pair to its answer"], [_HEIGHT]
    if known.any():
        titles, heights = [*titles, "Share of the clip that was watched"], [_HALF, _HALF]
    with panels("people-attention", titles, heights, xlabel=work.xlabel) as (axes, svg):
        high = _middle(axes[0], at, seconds)
        y_axis(axes[0], 0, max(1.0, 1.08 * high))
        if known.any():
            _middle(axes[1], at[known], watched[known])
            y_axis(axes[1], 0, 1.03, shares=True, ticks=3)
        _time_axis(axes, work)
    keys: Keys = (
        (BLUE, "line", f"median of the last {PACE_OVER} answers"),
        (BLUE, "band", "10th to 90th percentile"),
    )
    notes = () if known.any() else ("How much of the clip was watched is not known.",)
    reading = f"{np.median(seconds[-PACE_OVER:]):.1f}\N{NO-BREAK SPACE}s at the end"
    return Plot(svg[0], (*keys, *work.keys), reading, notes)


def checks(work: Work) -> Plot | None:
    """Running shares of the checks that were answered as expected, and the ones that were not."""
    kinds = {_AGAIN: (REPEAT, REPEAT_SWAPPED), _RIGHT: (OBVIOUS,)}
    drawn = {}
    for title, names in kinds.items():
        kept = [isinstance(row, CheckRow) and row.kind in names for row in work.rows]
        rows, at = work.where(kept)
        as_expected = [isinstance(row, CheckRow) and row.as_expected for row in rows]
        if rows:
            drawn[title] = at, np.array(as_expected)
    if not drawn:
        return None
    heights = [_HALF] * 2 if len(drawn) == 2 else [_HEIGHT]
    with panels("people-checks", list(drawn), heights, xlabel=work.xlabel) as (axes, svg):
        for ax, (at, hits) in zip(axes, drawn.values(), strict=True):
            _running_share(ax, at, hits, CHECKS_OVER, settled=0)
            missed = at[~hits]
            ax.plot(missed, np.zeros(len(missed)), "o", color=ORANGE, markersize=5, clip_on=False)
            y_axis(ax, 0, 1.03, shares=True, ticks=3)
        _time_axis(axes, work)
    keys: Keys = (
        (BLUE, "line", f"share of the last {CHECKS_OVER}"),
        (BLUE, "band", "95 % interval"),
        (ORANGE, "dot", "one that was missed"),
        (MUTED, "dash", "chance"),
    )
    absent = [title for title in kinds if title not in drawn]
    notes = tuple(f"Not asked yet: {title[0].lower()}{title[1:]}." for title in absent)
    short_titles = {_AGAIN: "repeats", _RIGHT: "obvious"}
    told = [f"{hits.sum()} of {len(hits)} {short_titles[t]}" for t, (_, hits) in drawn.items()]
    return Plot(svg[0], (*keys, *work.keys), ", ".join(told), notes)


def sides(work: Work) -> Plot | None:
    """Running share of the choices that fell on the screen's left."""
    chosen, at = work.where([row.preference in DECIDED for row in work.rows])
    if not chosen:
        return None
    left = np.array([on_left(row) for row in chosen])
    titles = ["Choices that fall on the left"]
    with panels("people-sides", titles, [_HEIGHT], xlabel=work.xlabel) as ([ax], svg):
        _running_share(ax, at, left, SIDES_OVER)
        y_axis(ax, 0, 1, shares=True, ticks=4)
        _time_axis([ax], work)
    keys: Keys = (
        (BLUE, "line", f"share of the last {SIDES_OVER}"),
        (BLUE, "band", "95 % interval"),
        (MUTED, "dash", "no habit"),
    )
    reading = f"{percent(left.mean())}, {left.sum()} of {len(left)}"
    return Plot(svg[0], (*keys, *work.keys), reading)


def spread(heights: Sequence[float], apart: float, top: float) -> list[float]:
    """Heights moved as little as needed to keep texts from overlapping or passing the top.

    Args:
      heights: rising.
    """
    moved: list[float] = []
    for height in heights:
        moved.append(max([height, *(below + apart for below in moved[-1:])]))
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], top - apart * (len(moved) - 1 - i))
    return moved


def _names(ax: Axes, ends: Sequence[tuple[str, Array, str]], high: float) -> None:
    """Draw each name at the right edge, beside the end of its line, which a dot marks."""
    ends = sorted(ends, key=lambda item: float(item[1][1]))
    apart = _LINE * high / _HEIGHT
    places = spread([float(y) for _, (_, y), _ in ends], apart, high)
    for (name, (x, y), colour), place in zip(ends, places, strict=True):
        ax.plot([x], [y], "o", color=colour, markersize=5, clip_on=False)
        ax.annotate(
            _cut(name),
            (1, place),
            (9, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center_baseline",
            color=colour,
            fontweight="bold",
        )


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}\N{HORIZONTAL ELLIPSIS}"


def _middle(ax: Axes, at: Array, values: Array) -> float:
    """Draw the running median with the band of eight in ten; returns the top of the band."""
    quantiles = running_quantiles(values, PACE_OVER, (0.1, 0.5, 0.9))
    data = _settled(np.column_stack([at, quantiles]))
    few = thin(data)
    ax.fill_between(few[:, 0], few[:, 1], few[:, 3], color=BLUE, alpha=0.2, linewidth=0)
    line(ax, data[:, [0, 2]], BLUE)
    return float(data[:, 3].max())


def _running_share(ax: Axes, at: Array, hits: Array, last: int, settled: int = SETTLED) -> None:
    """Draw a running share with its interval, and a line at chance."""
    share, count = running_share(hits, last)
    data = _settled(np.column_stack([at, share, *wilson(share, count)]), settled)
    few = thin(data)
    ax.axhline(0.5, color=MUTED, linestyle=DASH, linewidth=1.2)
    ax.fill_between(few[:, 0], few[:, 2], few[:, 3], color=BLUE, alpha=0.2, linewidth=0)
    line(ax, data[:, :2], BLUE)


def _settled(data: Array, settled: int = SETTLED) -> Array:
    return data[min(settled, len(data) // 5) :]


def _time_axis(axes: Sequence[Axes], work: Work) -> None:
    for ax in axes:
        for x in work.breaks:
            ax.axvline(x, color=MUTED, linestyle=":", linewidth=1.2)
    x_axis(axes[-1], 0, 1.01 * max(float(work.at[-1]), 1.0))
