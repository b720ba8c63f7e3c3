"""The section about people's answers: how fast, how consistent, how attentive they were."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np

import prefrl.report.page as page
import prefrl.report.people_plots as plots
from prefrl.label_quality import (
    REPEAT,
    REPEAT_SWAPPED,
    Quality,
    hourly,
    quality,
    sittings,
    work_gaps,
)
from prefrl.report.page import Figure
from prefrl.report.run import PeoplesAnswers, RunData
from prefrl.report.svg import percent, short
from prefrl.store import AnswerRow, CheckRow

TITLE = "Labels by people"
ABOUT = (
    "How fast and how well people answered. A few of the pairs are checks: they look like any "
    "other and train nothing, but their right answer is known."
)

_SHARES = ("Same answer again", "Obvious pairs right", "Left chosen")


def section(data: RunData) -> str:
    """The section, or "" where only simulated labelers were asked."""
    people = data.people
    if people.rows:
        return page.section(TITLE, ABOUT, _cards(people))
    if people.unreadable:
        missing = f"The answers cannot be read, so this is missing. {people.unreadable}."
    elif data.config["labels"]["labeler"] == "human" and people.unseen:
        missing = f"{people.unseen:,} answers, none of them through the window."
    elif data.config["labels"]["labeler"] == "human":
        missing = f"No answers yet: `prefrl label {shlex.quote(str(data.path))}` gives some."
    else:
        return ""
    about = "Pace, time of an answer, checks and a liking for one side, over time."
    return page.section(TITLE, ABOUT, [page.card("Answers of people", None, about, missing)])


def _cards(people: PeoplesAnswers) -> list[str]:
    work = plots.worked(people.rows)
    cards = [
        page.headline(figures(people)),
        page.card(
            "Pace",
            plots.pace(work),
            "A line that rises is practice; one that falls is a person who tires, or pairs that "
            "become harder.",
            "Too few answers yet: a pace needs two in a row.",
        ),
        page.card(
            "Time and attention",
            plots.attention(work),
            "Quicker answers are practice as long as the checks hold; with less of the clip "
            "watched and more checks missed they are guesses.",
            "No answers yet, only checks.",
        ),
        page.card(
            "Checks",
            plots.checks(work),
            "The line should stay near the top: at the dashed line answers are no better than "
            "chance, and a tall band means that there were few checks to judge by.",
            "No checks yet: one pair in twenty is one, as soon as there is something to check.",
        ),
        page.card(
            "Left or right",
            plots.sides(work),
            "Sides are random, so half of the choices should fall on the left: a band that keeps "
            "clear of the dashed line shows a habit, not a judgement.",
            "No choices yet: only ties and incomparable pairs.",
        ),
    ]
    if len(people.names) > 1:
        named = people.names[: plots.MAX_NAMED]
        cards.append(page.tables([_table(people.of(name), name) for name in named]))
    return cards


def figures(people: PeoplesAnswers) -> list[Figure]:
    """The figures over the plots, of everybody's answers."""
    found = quality(people.answers, people.checks)
    again, right, left = _SHARES
    return [
        _rate(people, found),
        Figure(again, _share(found.consistent), "", _repeats(found, people.checks)),
        Figure(right, _share(found.obvious), "", _of(found.obvious, " asked")),
        Figure(left, _share(found.left), "", _of(found.left, " choices, checks included")),
        _time(people.answers, found),
        _watched(people.answers),
    ]


def _rate(people: PeoplesAnswers, found: Quality) -> Figure:
    each = [[row.answered_at for row in people.of(name).rows] for name in people.names]
    rate = hourly(np.concatenate([work_gaps(times) for times in each]))
    n = len(sittings(np.array([row.answered_at for row in people.rows])))
    about = f"{_count(found.labels, 'label')} in {_count(n, 'sitting')}, pauses left out"
    return Figure("Answers an hour", short(rate) if np.isfinite(rate) else page.NONE, "", about)


def _share(part: tuple[int, int]) -> str:
    hits, n = part
    return percent(hits / n) if n else page.NONE


def _of(part: tuple[int, int], what: str = "") -> str:
    hits, n = part
    return f"{hits} of {n}{what}" if n else "none yet"


def _count(n: int, what: str) -> str:
    return f"{short(n)}\N{NO-BREAK SPACE}{what}{'' if n == 1 else 's'}"


def _repeats(found: Quality, checks: Sequence[CheckRow]) -> str:
    parts = []
    for kind, sides in ((REPEAT, "on the same sides"), (REPEAT_SWAPPED, "swapped")):
        if asked := [row for row in checks if row.kind == kind]:
            same = sum(row.as_expected for row in asked)
            parts.append(f"{same} of {len(asked)} {sides}")
    return ": ".join(filter(None, [_of(found.consistent, " repeats"), ", ".join(parts)]))


def _time(answers: Sequence[AnswerRow], found: Quality) -> Figure:
    if not answers:
        return Figure("Time of an answer", page.NONE, "", "no answers yet")
    low, high = np.quantile([row.seconds for row in answers], [0.1, 0.9])
    about = f"median; eight in ten between {low:.1f} and {high:.1f}\N{NO-BREAK SPACE}s"
    return Figure("Time of an answer", f"{found.median_seconds:.1f}", "s", about)


def _watched(answers: Sequence[AnswerRow]) -> Figure:
    known = [row.watched for row in answers if np.isfinite(row.watched)]
    if not known:
        return Figure("Clip watched", page.NONE, "", "not known")
    return Figure("Clip watched", percent(float(np.median(known))), "", "median, before the answer")


def _table(people: PeoplesAnswers, name: str) -> str:
    found = quality(people.answers, people.checks)
    shares = (found.consistent, found.obvious, found.left)
    told = [f"{_share(part)} ({_of(part)})" if part[1] else page.NONE for part in shares]
    shown = {f.title: f"{f.value} {f.unit}".strip() for f in figures(people)}
    shown |= dict(zip(_SHARES, told, strict=True))
    return page.table(name, {"Labels": short(found.labels), **shown})
