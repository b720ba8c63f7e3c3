"""What the plots of a run's page share: numbers out of rows, panels, and inline SVG.

Colours leave here as CSS variables and text without a font, so that the page decides both
(light, dark, print, phone). matplotlib is imported when the first panel is drawn.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from prefrl.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Rows: TypeAlias = Sequence[Mapping[str, Any]]

# Blue and orange of Okabe and Ito's palette: colour-blind people can tell them apart.
BLUE, ORANGE, INK, MUTED = "#0072b2", "#d55e00", "#1a1b1e", "#6a6c74"
GRID, CARD = "#e2e3e8", "#fefefe"
DASH: Any = (0, (4, 3))  # of a line, as Matplotlib has it
CSS_NAMES = {BLUE: "blue", ORANGE: "orange", INK: "ink", MUTED: "muted", GRID: "grid", CARD: "card"}
WIDTH = 480  # CSS pixels, as every length here
POINTS = 500  # points that a line keeps of a long run


Mark: TypeAlias = Literal["line", "faint", "dash", "dots", "dot", "box", "band"]
LegendKey: TypeAlias = tuple[str, Mark, str]
"""Colour, mark and text of a line of the legend."""


@dataclass(frozen=True)
class Plot:
    """One drawing with what the page says around it.

    Attributes:
      svg: an <svg> element that fills the width it is given.
      keys: the legend.
      reading: the plot in a few words, for its heading and for people who cannot see it.
      notes: what is not known yet.
    """

    svg: str
    keys: tuple[LegendKey, ...]
    reading: str
    notes: tuple[str, ...] = ()


def number(table: Any, *path: str) -> float | None:
    """The finite number at a path of nested tables, or None."""
    for key in path:
        table = table.get(key) if isinstance(table, Mapping) else None
    if isinstance(table, bool) or not isinstance(table, int | float):
        return None
    return float(table) if math.isfinite(table) else None


def columns(table: Any, *keys: str) -> Array:
    """Lists of one table side by side, (n, len(keys)); only rows with every number known."""
    lists = [table.get(key) if isinstance(table, Mapping) else None for key in keys]
    items = zip(*(x if isinstance(x, list) else [] for x in lists), strict=False)
    return _known([dict(zip(keys, item, strict=True)) for item in items], keys)


def series(rows: Rows, *keys: str) -> Array:
    """Steps and values of the rows that know all the keys, (n, 1 + len(keys))."""
    return _known(rows, ("step", *keys))


def _known(rows: Rows, keys: Sequence[str]) -> Array:
    kept = [[number(row, key) for key in keys] for row in rows]
    return np.array([row for row in kept if None not in row], float).reshape(-1, len(keys))


def last(rows: Rows, key: str) -> float | None:
    """The last known value of a key."""
    known = series(rows, key)
    return float(known[-1, 1]) if len(known) else None


def thin(data: Array) -> Array:
    """At most POINTS rows: means over neighbours, and the last row as it is."""
    if len(data) <= POINTS:
        return data
    means = [part.mean(axis=0) for part in np.array_split(data, POINTS - 1)]
    return np.vstack([*means, data[-1:]])


def smooth(values: Array) -> Array:
    """Moving average over a twentieth of the values, (n,), shorter windows at the ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    smoothed: Array = (sums[high] - sums[low]) / (high - low)
    return smoothed


def short(x: float) -> str:
    """Three or four digits and a unit: 600 k, 1.2 M, 4183, 0.05, -250 with a true minus."""
    for least, scale, unit in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (9999.5, 1e3, "k")):
        if abs(x) >= least:
            return minus(f"{x / scale:.3g}\N{NO-BREAK SPACE}{unit}")
    return minus(f"{x:.0f}" if abs(x) >= 99.95 else f"{x + 0.0:.3g}")


def decimal(x: float) -> str:
    """Two decimals."""
    return minus(f"{round(x, 2) + 0.0:.2f}")


def percent(share: float) -> str:
    """0.934 as 93 %; one decimal under 10 %, where it matters."""
    digits = 1 if 0 < abs(share) < 0.0995 else 0
    return minus(f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%")


def minus(text: str) -> str:
    """A typographic minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")


@contextmanager
def panels(
    name: str,
    titles: Sequence[str],
    heights: Sequence[int],
    *,
    xlabel: str,
    left: int = 46,
    right: int = 14,
) -> Iterator[tuple[list[Axes], list[str]]]:
    """Stacked axes on one x axis, in the page's style.

    Args:
      name: makes the SVG's ids differ from those of the page's other plots.
      titles: what each panel's y axis shows, with its unit.
      heights: of the panels, without titles and ticks.
      left, right: room for the ticks of the y axis, and for names of lines.
    Yields:
      The axes, and a list to which the <svg> element is appended when the block ends.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    svg: list[str] = []
    head, foot = 32, 8
    tall = sum(heights) + len(heights) * (head + foot) + 40
    with mpl.rc_context(_looks(name)):
        figure = Figure(figsize=(WIDTH / 72, tall / 72))
        axes: list[Axes] = []
        y = tall
        for title, height in zip(titles, heights, strict=True):
            y -= head + height
            box = (left / WIDTH, y / tall, 1 - (left + right) / WIDTH, height / tall)
            ax = figure.add_axes(box, sharex=axes[0] if axes else None)
            ax.text(
                -left / (WIDTH - left - right),
                1 + 13 / height,
                title,
                transform=ax.transAxes,
                fontweight="bold",
            )
            y -= foot
            axes.append(ax)
        for ax in axes[:-1]:
            ax.tick_params(labelbottom=False)
        axes[-1].set_xlabel(xlabel, loc="right")
        yield axes, svg
        file = io.StringIO()
        blank = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with warnings.catch_warnings():
            # The page's fonts draw the text, whatever is missing in matplotlib's own.
            warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
            figure.savefig(file, format="svg", transparent=True, dpi=180, metadata=blank)
    svg.append(_inline(file.getvalue()))


def steps_axis(ax: Axes, until: float) -> None:
    """An x axis of environment steps from 0, ticks in thousands or millions."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.set_xlim(0, 1.01 * max(until, 1))  # room for the last marker
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))


def y_axis(
    ax: Axes,
    low: float | None = None,
    high: float | None = None,
    *,
    shares: bool = False,
    ticks: int = 4,
) -> None:
    """Set the limits of the y axis, and few ticks in short numbers or per cent."""
    ax.set_ylim(low, high)
    _numbers(ax.yaxis, shares, ticks)


def x_axis(
    ax: Axes, low: float | None = None, high: float | None = None, *, shares: bool = False
) -> None:
    """Set the limits of the x axis, and its ticks in short numbers or per cent."""
    ax.set_xlim(low, high)
    _numbers(ax.xaxis, shares, 6)


def _numbers(axis: Axis, shares: bool, ticks: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    write = percent if shares else short
    axis.set_major_locator(
        MaxNLocator(ticks, steps=[1, 2, 5, 10] if shares else [1, 2, 2.5, 5, 10])
    )
    axis.set_major_formatter(FuncFormatter(lambda x, _: write(round(x, 12))))


def _looks(name: str) -> Any:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,  # a dollar in a name is a dollar
        "text.color": INK,
        "font.size": 11,
        "axes.labelcolor": MUTED,
        "axes.labelpad": 7,
        "axes.edgecolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": GRID,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "ytick.major.size": 0,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
    }


def _inline(document: str) -> str:
    """matplotlib's SVG document as an element of the page, which sets fonts and colours."""
    body = document[document.index("<svg") :]
    view = re.search(r'viewBox="([^"]*)"', body)
    assert view is not None
    body = re.sub(r"^<svg[^>]*>", f'<svg viewBox="{view[1]}" role="img">', body)
    body = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.S
    )
    body = re.sub(r'(<(?:g|image)\b[^>]*?) id="[^"]*"', r"\1", body)
    body = re.sub(r"font-family: [^;]*; ", "", body)
    body = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", body)
    for colour, css in CSS_NAMES.items():
        body = body.replace(colour, f"var(--{css})")
    return re.sub(r"\s*\n\s*", "\n", body).strip()
