"""Parts of a run's page: its style, and functions that make HTML of plain values.

Texts are escaped here; only `Plot.svg` and what these functions return is HTML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from string import Template
from typing import Any, NamedTuple

from prefrl.report.svg import CSS_NAMES, Mark, Plot

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfb; --card: #ffffff; --rule: #e2e3e8; --grid: #e6e7eb;
  --ink: #1a1b1e; --muted: #62646c; --blue: #0072b2; --orange: #d55e00; --code: #f1f2f4;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #131417; --card: #1a1c20; --rule: #2d3036; --grid: #2f323a;
    --ink: #e9eaed; --muted: #a0a3ad; --blue: #56aee8; --orange: #f0883e; --code: #24272d;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Helvetica Neue",
    "Noto Sans", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums; text-rendering: optimizeLegibility;
}
main { max-width: 1120px; margin: 0 auto; padding: 44px 28px 72px; }
h1 { font-size: 2.1rem; line-height: 1.15; letter-spacing: -0.022em; margin: 0 0 10px;
  overflow-wrap: anywhere; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.25; letter-spacing: -0.012em; margin: 56px 0 4px; }
h2 + p { margin: 0 0 20px; color: var(--muted); max-width: 44em; }
h3 { font-size: 1rem; line-height: 1.35; margin: 0; }
.lead { margin: 0; color: var(--muted); font-size: 1.05rem; max-width: 56em; text-wrap: pretty; }
.kicker { margin: 0 0 8px; color: var(--muted); font-size: 0.8rem; letter-spacing: 0.07em;
  text-transform: uppercase; }
.figures { display: grid; grid-template-columns: repeat(6, 1fr); margin: 32px 0 0; padding: 0;
  border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); }
.figures > div { padding: 16px 12px 16px 16px; border-left: 1px solid var(--rule); }
.figures > div:first-child { border-left: 0; padding-left: 0; }
.figures dt { font-size: 0.8rem; color: var(--muted); line-height: 1.3; }
.figures dd { margin: 0; }
.figures .value { font-size: 1.75rem; font-weight: 600; letter-spacing: -0.02em; line-height: 1.3;
  white-space: nowrap; }
.figures .value small { font-size: 0.95rem; font-weight: 400; color: var(--muted);
  letter-spacing: 0; }
.figures .about { font-size: 0.8rem; color: var(--muted); line-height: 1.35; text-wrap: pretty; }
.grid { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 20px; }
figure, .card { margin: 0; padding: 18px 20px 16px; background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; display: flex; flex-direction: column; }
.heading { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline;
  gap: 0 16px; margin-bottom: 6px; }
.reading { color: var(--muted); font-size: 0.9rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-family: inherit; }
svg * { stroke-linejoin: round; }
figcaption, .card p { margin: 0; font-size: 0.9rem; line-height: 1.5; text-wrap: pretty; }
figcaption { margin-top: 10px; color: var(--muted); }
.keys { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 8px 0 0;
  padding: 0;  font-size: 0.85rem; }
.keys li { display: flex; align-items: center; gap: 7px; }
.keys svg { width: 22px; height: 12px; flex: none; }
.hint { color: var(--muted); border-left: 3px solid var(--orange); padding-left: 12px; }
figure .hint { margin: 10px 0 0; font-size: 0.85rem; line-height: 1.45; }
.grid > .card { align-self: start; }
.grid > .figures, .grid > .tables { grid-column: 1 / -1; margin: 0; }
.card .hint { margin: 10px 0 0; }
.card .about { margin-top: 10px; color: var(--muted); }
code, pre { font: 0.875em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono",
  monospace; }
code { background: var(--code); padding: 0.1em 0.35em; border-radius: 4px;
  overflow-wrap: anywhere; }
pre { background: var(--code); padding: 14px 16px; border-radius: 8px; margin: 8px 0 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
pre code { background: none; padding: 0; font-size: 1em; }
.tables { columns: 3 260px; column-gap: 32px; }
table { width: 100%; border-collapse: collapse; font-size: 0.875rem; margin: 0 0 22px;
  break-inside: avoid; }
caption { text-align: left; font-weight: 600; padding: 0 0 5px; font-size: 0.95rem; }
th, td { padding: 4px 0; border-top: 1px solid var(--rule); vertical-align: top;
  line-height: 1.45; }
th { text-align: left; font-weight: 400; color: var(--muted); padding-right: 14px; }
td { text-align: right; }
tr.changed td { font-weight: 600; }
tr.changed td::before { content: "●"; color: var(--orange); font-size: 0.8em; vertical-align: 0.1em;
  margin-right: 7px; }
footer { margin-top: 48px; padding-top: 14px; border-top: 1px solid var(--rule);
  color: var(--muted); font-size: 0.85rem; }
@media (max-width: 960px) {
  .figures { grid-template-columns: repeat(3, 1fr); }
  .figures > div:nth-child(3n + 1) { border-left: 0; padding-left: 0; }
  .figures > div:nth-child(n + 4) { border-top: 1px solid var(--rule); }
}
@media (max-width: 720px) {
  main { padding: 28px 14px 48px; }
  h1 { font-size: 1.6rem; }
  h2 { margin-top: 44px; }
  .grid { grid-template-columns: minmax(0, 1fr); gap: 14px; }
  figure, .card { padding: 14px 14px 14px; }
  .figures { grid-template-columns: repeat(2, 1fr); }
  .figures > div { padding: 12px 8px 12px 14px; }
  .figures > div:nth-child(n) { border-left: 1px solid var(--rule); padding-left: 14px; }
  .figures > div:nth-child(2n + 1) { border-left: 0; padding-left: 0; }
  .figures > div:nth-child(n + 3) { border-top: 1px solid var(--rule); }
}
@media screen and (max-width: 520px) {
  figure > svg text { font-size: 16px !important; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; }
  html { font-size: 12px; }
  body { font-size: 1rem; }
  figure > svg text { font-size: 13px !important; }
  main { max-width: none; padding: 0; }
  .grid { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px; }
  .figures { grid-template-columns: repeat(6, 1fr); }
  .figures .value { font-size: 1.35rem; }
  .figures > div:nth-child(n) { border-top: 0; }
  .figures > div:nth-child(n + 2) { border-left: 1px solid var(--rule); padding-left: 10px; }
  figure, .card, .figures, table, pre { break-inside: avoid; }
  h2, h2 + p { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

NONE = "\N{EN DASH}"

_MARKS: Mapping[Mark, str] = {
    "line": '<path d="M1 6H21" stroke-width="2.4"/>',
    "faint": '<path d="M1 8L6 4L11 8L16 4L21 7" stroke-width="1.2" opacity=".7"/>',
    "dash": '<path d="M1 6H21" stroke-width="1.6" stroke-dasharray="5 3"/>',
    "dots": '<path d="M1 6H21" stroke-width="1.8" stroke-dasharray="1.6 3"/>',
    "dot": '<circle cx="11" cy="6" r="3.4" fill="currentColor" stroke="none"/>',
    "box": '<rect x="4" y="1" width="14" height="10" rx="1.5" fill="currentColor" stroke="none"/>',
    "band": '<rect x="1" y="1" width="20" height="10" rx="1.5" fill="currentColor" stroke="none"'
    ' opacity=".25"/>',
}


class Figure(NamedTuple):
    """A number over the plots.

    Attributes:
      title: what it is.
      value: the number as text.
      unit: its unit, or what it is a part of; may be empty.
      about: a line of explanation.
    """

    title: str
    value: str
    unit: str
    about: str


def document(title: str, body: Iterable[str]) -> str:
    """The whole document; `body` is HTML."""
    return PAGE.substitute(title=escape(title), style=STYLE.lstrip(), body="\n".join(body))


def header(kicker: str, title: str, lead: str) -> str:
    """What the run is, in three lines of text."""
    return (
        f'<header>\n<p class="kicker">{escape(kicker)}</p>\n<h1>{escape(title)}</h1>\n'
        f'<p class="lead">{inline(lead)}</p>\n</header>'
    )


def headline(figures: Iterable[Figure]) -> str:
    """A row of figures."""
    items = [
        f'<div><dt>{escape(title)}</dt><dd class="value">{escape(value)}'
        f"{f' <small>{escape(unit)}</small>' if unit else ''}</dd>"
        f'<dd class="about">{inline(about)}</dd></div>'
        for title, value, unit, about in figures
    ]
    return '<dl class="figures">\n' + "\n".join(items) + "\n</dl>"


def section(title: str, about: str, cards: Iterable[str], kind: str = "grid") -> str:
    """A heading, a sentence, and cards side by side."""
    inside = "\n".join(cards)
    return (
        f"<section>\n<h2>{escape(title)}</h2>\n<p>{inline(about)}</p>\n"
        f'<div class="{kind}">\n{inside}\n</div>\n</section>'
    )


def card(title: str, plot: Plot | None, about: str, missing: str) -> str:
    """A plot with legend and explanation, or a line that says how to get it."""
    if plot is None:
        return (
            f'<div class="card">\n<h3>{escape(title)}</h3>\n<p class="hint">{inline(missing)}</p>\n'
            f'<p class="about">{inline(about)}</p>\n</div>'
        )
    told = escape(f"{title}: {plot.reading}" if plot.reading else title, quote=True)
    svg = plot.svg.replace('role="img"', f'role="img" aria-label="{told}"', 1)
    notes = "".join(f'\n<p class="hint">{inline(note)}</p>' for note in plot.notes)
    return (
        f'<figure>\n<div class="heading"><h3>{escape(title)}</h3>'
        f'<span class="reading">{escape(plot.reading)}</span></div>\n{svg}\n{_keys(plot)}'
        f"<figcaption>{inline(about)}</figcaption>{notes}\n</figure>"
    )


def table(title: str, values: Mapping[str, Any], changed: Iterable[str] = ()) -> str:
    """Names and values; the rows named in `changed` are marked."""
    marked = set(changed)
    rows = [
        f"<tr{' class=' + chr(34) + 'changed' + chr(34) if name in marked else ''}>"
        f'<th scope="row">{_breakable(name)}</th><td>{_breakable(_plain(value))}</td></tr>'
        for name, value in values.items()
    ]
    return f"<table>\n<caption>{escape(title)}</caption>\n" + "\n".join(rows) + "\n</table>"


def tables(found: Iterable[str]) -> str:
    """Tables beside each other, over the whole width of a section's cards."""
    return '<div class="tables">\n' + "\n".join(found) + "\n</div>"


def command(text: str) -> str:
    """A line to type."""
    return f"<pre><code>{escape(text)}</code></pre>"


def inline(text: str) -> str:
    """Escaped text in which `back quotes` become code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _breakable(text: str) -> str:
    """Escaped text whose lines may break after its punctuation, and every 20 letters without."""
    parts = re.findall(r"[^/:_.=@-]{1,20}[/:_.=@-]*|[/:_.=@-]+", text)
    return "<wbr>".join(escape(part) for part in parts)


def _keys(plot: Plot) -> str:
    items = [
        f'<li><svg viewBox="0 0 22 12" aria-hidden="true" fill="none" stroke="currentColor" '
        f'style="color: var(--{CSS_NAMES[colour]})">{_MARKS[mark]}</svg>{escape(text)}</li>'
        for colour, mark, text in plot.keys
    ]
    return '<ul class="keys">\n' + "\n".join(items) + "\n</ul>\n" if items else ""


def _plain(value: Any) -> str:
    """A configuration value as a person would write it."""
    if isinstance(value, str):
        return value or NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return (
            f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
            if value >= 10_000
            else str(value)
        )
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or NONE
    if not value:
        return NONE
    return json.dumps(value, ensure_ascii=False)
