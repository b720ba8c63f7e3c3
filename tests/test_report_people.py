"""The report's section about people's answers, and the mathematics of it."""

from __future__ import annotations

import itertools
import math
import re
import sqlite3
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.label_quality import (
    OBVIOUS,
    PAUSE,
    REPEAT,
    REPEAT_SWAPPED,
    SITTING,
    looked,
    per_hour,
    running_quantiles,
    running_rate,
    running_share,
    sittings,
    work_clock,
    work_gaps,
)
from prefrl.report import people as section
from prefrl.report import people_plots as plots
from prefrl.report import write_report
from prefrl.report.run import PeoplesAnswers, read_people
from prefrl.report.svg import Plot
from prefrl.store import AnswerRow, Check, CheckRow, ComparisonStore
from prefrl.types import Preference, Query, Segment, Viewing

LEFT, RIGHT, TIE, NEITHER = (
    Preference.LEFT,
    Preference.RIGHT,
    Preference.TIE,
    Preference.INCOMPARABLE,
)
TITLES = ["Pace", "Time and attention", "Checks", "Left or right"]
_ids = itertools.count(1)


def answer(
    at: float,
    preference: Preference = LEFT,
    seconds: float = 2.0,
    watched: float = 0.5,
    swapped: bool = False,
    labeler: str = "ann",
) -> AnswerRow:
    return AnswerRow(next(_ids), 1, preference, labeler, at, seconds, watched, swapped)


def check(at: float, kind: str, right: bool, labeler: str = "ann") -> CheckRow:
    given = LEFT if right else RIGHT
    return CheckRow(f"c{next(_ids)}", kind, None, LEFT, given, labeler, at, 2.0, 0.5, False)


def people(*rows: AnswerRow | CheckRow) -> PeoplesAnswers:
    return PeoplesAnswers(
        tuple(row for row in rows if isinstance(row, AnswerRow)),
        tuple(row for row in rows if isinstance(row, CheckRow)),
    )


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def drawn(plot: Plot | None) -> Plot:
    assert plot is not None
    assert not re.search(r"\bnan\b", plot.svg)
    return plot


# --- mathematics

TIMES = np.array([0, 10, 20, 20 + PAUSE + 1, 40 + PAUSE + 1, 5000, 5010])


def test_a_pause_takes_no_time_of_work() -> None:
    assert work_clock(TIMES).tolist() == [0, 10, 20, 20, 40, 40, 50]
    assert work_gaps(TIMES[::-1].tolist()).tolist() == [10, 10, 20, 10]
    assert work_clock(np.array([])).tolist() == []


def test_a_long_pause_begins_a_sitting() -> None:
    assert sittings(TIMES).tolist() == [0, 5]
    assert sittings(np.array([7.0, 7 + SITTING - 1])).tolist() == [0]
    assert sittings(np.array([])).tolist() == []


def test_the_running_rate_counts_the_last_gaps_that_are_work() -> None:
    rate = running_rate(TIMES, 2)
    assert math.isnan(rate[0])
    assert rate[1:].tolist() == [360, 360, 360, 180, 180, 360]
    assert running_rate(TIMES, 99)[-1] == pytest.approx(3600 * 4 / 50)
    assert np.isnan(running_rate(np.array([3.0, 3.0, 3.0 + PAUSE + 1]), 5)).all()
    assert running_rate(np.array([]), 2).shape == (0,)


@given(st.lists(st.integers(0, 5000), max_size=30))
def test_over_everything_the_running_rate_is_the_rate(times: list[int]) -> None:
    last = running_rate(np.sort(times), max(1, len(times)))[-1:].tolist() or [math.nan]
    assert last[0] == pytest.approx(per_hour(times), nan_ok=True)


def test_the_running_share_forgets() -> None:
    share, count = running_share(np.array([True, True, False, False, True]), 3)
    assert share.tolist() == pytest.approx([1, 1, 2 / 3, 1 / 3, 1 / 3])
    assert count.tolist() == [1, 2, 3, 3, 3]
    assert [len(x) for x in running_share(np.array([], bool), 3)] == [0, 0]


def test_running_quantiles() -> None:
    found = running_quantiles(np.array([1.0, 2, 3, 11]), 3, [0, 0.5, 1])
    assert found.tolist() == [[1, 1, 1], [1, 1.5, 2], [1, 2, 3], [2, 3, 11]]


def test_only_people_look() -> None:
    assert looked(answer(0, seconds=0.1, watched=math.nan))
    assert looked(answer(0, seconds=0, watched=0.0))
    assert not looked(answer(0, seconds=0, watched=math.nan))


def test_texts_are_moved_apart_and_stay_below_the_top() -> None:
    assert plots.spread([1, 5, 20], 4, 30) == [1, 5, 20]
    assert plots.spread([1, 2, 3], 4, 30) == [1, 5, 9]
    assert plots.spread([1, 28, 29], 4, 30) == [1, 26, 30]
    assert plots.spread([30, 30, 30], 4, 30) == [22, 26, 30]
    assert plots.spread([], 4, 30) == []


# --- numbers and plots


def test_the_numbers_over_the_plots() -> None:
    rows = people(
        answer(0, LEFT, 1.0, 0.2),
        answer(10, RIGHT, 2.0, 0.4, swapped=True),
        answer(20, RIGHT, 6.0, 0.9),
        answer(60 + SITTING, TIE, 2.0, 0.4),
        check(30, REPEAT, True),
        check(40, REPEAT_SWAPPED, False),
        check(50, REPEAT_SWAPPED, True),
        check(60, OBVIOUS, True),
    )
    told = [tuple(map(plain, figure)) for figure in section.figures(rows)]
    repeats = "2 of 3 repeats: 1 of 1 on the same sides, 1 of 2 swapped"
    assert told == [
        ("Answers an hour", "360", "", "4 labels in 2 sittings, pauses left out"),
        ("Same answer again", "67 %", "", repeats),
        ("Obvious pairs right", "100 %", "", "1 of 1 asked"),
        ("Left chosen", "71 %", "", "5 of 7 choices, checks included"),
        ("Time of an answer", "2.0", "s", "median; eight in ten between 1.3 and 4.8 s"),
        ("Clip watched", "40 %", "", "median, before the answer"),
    ]


def test_numbers_that_are_not_known() -> None:
    lone = section.figures(people(answer(0, NEITHER, watched=math.nan)))
    assert [value for _, value, _, _ in lone] == ["–", "–", "–", "–", "2.0", "–"]  # noqa: RUF001
    only_checks = section.figures(people(check(0, OBVIOUS, True)))
    assert [value for _, value, _, _ in only_checks][4:] == ["–", "–"]  # noqa: RUF001


def test_two_at_once_are_not_twice_as_fast() -> None:
    both = people(*(answer(5.0 * i, labeler="ann" if i % 2 else "bob") for i in range(100)))
    assert section.figures(both)[0][1] == "360"
    assert plots.worked(both.rows).at[-1] == pytest.approx(99 * 5 / 60)


def test_readings_say_what_the_rows_say() -> None:
    rows = [answer(10.0 * i, LEFT if i < 6 else RIGHT, 1 + i % 3, swapped=i == 0) for i in range(8)]
    more = [check(85, REPEAT, True), check(90, REPEAT, False), check(95, OBVIOUS, True)]
    work = plots.worked(people(*rows, *more).rows)
    found = [plots.pace, plots.attention, plots.checks, plots.sides]
    readings = [plain(drawn(plot(work)).reading) for plot in found]
    assert readings == [
        "379 an hour at the end",
        "2.0 s at the end",
        "1 of 2 repeats, 1 of 1 obvious",
        "64 %, 7 of 11",
    ]


def test_a_new_sitting_is_marked() -> None:
    one = [answer(10.0 * i) for i in range(30)]
    two = [answer(10.0 * i + (i >= 12) * SITTING) for i in range(30)]
    assert plots.worked(one).breaks.tolist() == []
    assert plots.worked(two).breaks == pytest.approx([110 / 60])
    for rows, marked in ((one, False), (two, True)):
        work = plots.worked(rows)
        for plot in (plots.pace(work), plots.attention(work), plots.sides(work)):
            texts = [text for _, _, text in drawn(plot).keys]
            assert ("another sitting" in texts) is marked


def test_long_work_is_in_hours() -> None:
    rows = [answer(100.0 * i) for i in range(200)]
    work = plots.worked(rows)
    assert work.unit == "hours"
    assert work.at[-1] == pytest.approx(199 / 36)
    assert plots.worked(rows[:20]).unit == "minutes"


def test_every_missed_check_is_a_dot() -> None:
    """And the one kind that was not asked is named."""

    def dots(*right: bool) -> int:
        rows = [check(10.0 * i, REPEAT, ok) for i, ok in enumerate(right)]
        plot = drawn(plots.checks(plots.worked(rows)))
        assert plot.notes == ("Not asked yet: right answer to an obvious pair.",)
        return plot.svg.count('style="fill: var(--orange)')

    assert dots(*[True] * 20, False) - dots(*[True] * 21) >= 1
    assert dots(*[False, True] * 10) - dots(*[True] * 19, False) == 9


def test_what_is_not_known_draws_nothing() -> None:
    ties = plots.worked([answer(0, TIE), answer(10.0, NEITHER)])
    assert plots.sides(ties) is plots.checks(ties) is None
    assert plots.pace(plots.worked([answer(0)])) is None
    assert plots.attention(plots.worked([check(0, REPEAT, True)])) is None
    unwatched = drawn(plots.attention(plots.worked([answer(0, watched=math.nan)])))
    assert unwatched.notes == ("How much of the clip was watched is not known.",)


def test_lines_of_the_four_busiest_are_named() -> None:
    names = ["ann", "bob", "a-very-long-name", "<i>$x$ \N{CJK UNIFIED IDEOGRAPH-674E}", "eve"]
    rows = [answer(10.0 * i, labeler=names[i % 5]) for i in range(100)]
    rows = [row for row in rows if row.labeler != "eve" or row.answered_at < 500]
    plot = drawn(plots.pace(plots.worked(rows)))
    assert [text for _, _, text in plot.keys] == names[:4]
    assert len({colour for colour, _, _ in plot.keys}) == 4
    assert plot.notes == ("Not drawn: 1 more, with 10 answers.",)
    written = [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)]
    assert {"ann", "bob", "a-very-long\N{HORIZONTAL ELLIPSIS}"} <= set(written)
    assert any(text.startswith("<i>$x$") for text in written)
    one = drawn(plots.pace(plots.worked([row for row in rows if row.labeler == "ann"])))
    assert "ann" not in one.svg


@pytest.mark.parametrize("n", [1, 2, 9, 2000])
def test_few_and_many_answers_draw(n: int) -> None:
    rng = np.random.default_rng(n)
    rows = people(
        *(answer(4.0 * i, seconds=rng.exponential(3), watched=rng.random()) for i in range(n)),
        *(check(4.0 * i, OBVIOUS, bool(rng.random() < 0.9)) for i in range(0, n, 20)),
    )
    work = plots.worked(rows.rows)
    size = 0
    for plot in (plots.pace, plots.attention, plots.checks, plots.sides):
        if n > 1 or plot is not plots.pace:
            size += len(drawn(plot(work)).svg)
    assert size < 400_000


# --- the page


def run_at(path: Path, labeler: str = "oracle") -> Path:
    path.mkdir()
    (path / "config.toml").write_text(f'[labels]\nlabeler = "{labeler}"\n', encoding="utf-8")
    return path


def segment() -> Segment:
    return Segment(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(2))


def answered(run: Path, viewing: Viewing, n: int = 30, labeler: str = "ann") -> Path:
    """Answers in a run's store, every tenth of them checked."""
    with ComparisonStore(run / "store.sqlite") as store:
        for i, query in enumerate(store.add([Query(segment(), segment()) for _ in range(n)])):
            assert query.id is not None
            store.answer(query.id, LEFT, labeler, viewing, now=1e9 + 10 * i)
            if i % 10 == 5:
                again = store.check_of(query.id, REPEAT, f"{labeler}-{i}")
                store.record_check(again, RIGHT, labeler, viewing, now=1e9 + 10 * i + 1)
    return run


def page_of(run: Path) -> str:
    return plain(unescape(write_report(run).read_text(encoding="utf-8")))


def test_a_persons_answers_have_their_section(tmp_path: Path) -> None:
    page = page_of(answered(run_at(tmp_path / "run", "human"), Viewing(2.0, 0.75, True)))
    assert page.count("<h2>Labels by people</h2>") == 1
    assert page.index("Queries</h2>") < page.index("Labels by people") < page.index("Reward mod")
    for title in TITLES:
        assert f"<h3>{title}</h3>" in page
    assert page.count("<figure>") == 4
    for number in ("30 labels in 1 sitting", "0 of 3 repeats", "3 of 33 choices", "75 %"):
        assert number in page
    assert "<caption>ann</caption>" not in page


def test_several_people_have_their_numbers_each(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run", "human")
    for name in ("ann", "<i>bob"):
        answered(run, Viewing(2.0, 0.75), labeler=name)
    page = write_report(run).read_text(encoding="utf-8")
    assert "<caption>ann</caption>" in page
    assert "<caption>&lt;i&gt;bob</caption>" in page
    assert "<i>" not in page
    assert plain(page).count("0 % (0 of 3)") == 2


@pytest.mark.parametrize("labeler", ["oracle", "store"])
def test_simulated_labelers_have_none(tmp_path: Path, labeler: str) -> None:
    run = answered(run_at(tmp_path / "run", labeler), Viewing())
    assert "Labels by people" not in page_of(run)


def test_a_person_among_simulated_labelers_is_shown_alone(tmp_path: Path) -> None:
    run = answered(run_at(tmp_path / "run"), Viewing(), n=50, labeler="oracle")
    answered(run, Viewing(2.0, 0.75), n=4)
    page = page_of(run)
    assert "4 labels in 1 sitting" in page
    assert "50 labels" not in page


def test_a_run_without_a_store_gets_none(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run")
    assert "Labels by people" not in page_of(run)
    waiting = run_at(tmp_path / "a run", "human")
    page = page_of(waiting)
    assert "Labels by people" in page
    assert f"No answers yet: <code>prefrl label '{waiting}'</code> gives some." in page
    program = answered(run_at(tmp_path / "program", "human"), Viewing(), n=5, labeler="script")
    assert "5 answers, none of them through the window." in page_of(program)
    assert not (run / "store.sqlite").exists()
    assert not (waiting / "store.sqlite").exists()


def no_database(store: Path) -> None:
    store.write_bytes(b"no database at all, by far")


def torn(store: Path) -> None:
    content = store.read_bytes()
    store.write_bytes(content[:1024] + b"\xff" * (len(content) - 1024))


def newer(store: Path) -> None:
    execute(store, "UPDATE meta SET schema_version = 99")


def half_migrated(store: Path) -> None:
    """A version 1 that cannot become a version 2, which has these already."""
    execute(store, "UPDATE meta SET schema_version = 1")


def without_checks(store: Path) -> None:
    execute(store, "DROP TABLE checks")


def unknown_preference(store: Path) -> None:
    execute(store, "UPDATE comparisons SET preference = 'up' WHERE id = 3")


def infinite(store: Path) -> None:
    execute(store, "UPDATE comparisons SET answered_at = 9e999 WHERE id = 3")


def text_for_a_number(store: Path) -> None:
    execute(store, "UPDATE checks SET seconds = 'three'")


def a_folder(store: Path) -> None:
    store.unlink()
    store.mkdir()


def execute(store: Path, statement: str) -> None:
    connection = sqlite3.connect(store)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (no_database, "is not a database"),
        (torn, "damaged"),
        (newer, "schema version 99"),
        (half_migrated, "duplicate column"),
        (without_checks, "no such table: checks"),
        (unknown_preference, "is damaged ('up' is not a valid Preference)"),
        (infinite, "is damaged (an answer at inf after 2.0 s)"),
        (text_for_a_number, "is damaged (must be real number, not str)"),
        (a_folder, "is a folder"),
    ],
)
@pytest.mark.parametrize("labeler", ["human", "oracle"])
def test_a_damaged_store_is_named_and_costs_the_section_alone(
    tmp_path: Path, damage: Callable[[Path], None], why: str, labeler: str
) -> None:
    run = answered(run_at(tmp_path / "run", labeler), Viewing(2.0, 0.5))
    damage(run / "store.sqlite")
    page = page_of(run)
    assert "Labels by people" in page
    assert "The answers cannot be read, so this is missing." in page
    assert why in page
    assert "store.sqlite" in page
    assert "<h2>Reward model</h2>" in page


def test_a_store_of_the_first_version_is_read(tmp_path: Path) -> None:
    """Nothing was kept then of how much of a clip was watched."""
    run = answered(run_at(tmp_path / "run", "human"), Viewing(2.0, 0.5), n=4)
    for statement in (
        "DROP TABLE checks",
        "DROP INDEX answers_of_query",
        "ALTER TABLE comparisons DROP COLUMN watched",
        "ALTER TABLE comparisons DROP COLUMN swapped",
        "UPDATE meta SET schema_version = 1",
    ):
        execute(run / "store.sqlite", statement)
    found = read_people(run / "store.sqlite")
    assert len(found.answers) == 4
    assert not found.unreadable
    assert "How much of the clip was watched is not known." in page_of(run)


def test_no_segment_is_decoded(tmp_path: Path) -> None:
    run = answered(run_at(tmp_path / "run", "human"), Viewing(2.0, 0.5), n=4)
    execute(run / "store.sqlite", "UPDATE segments SET arrays = x'00'")
    assert "4 labels in 1 sitting" in page_of(run)


def test_withdrawn_answers_and_checks_do_not_count(tmp_path: Path) -> None:
    run = answered(run_at(tmp_path / "run", "human"), Viewing(2.0, 0.5), n=6)
    with ComparisonStore(run / "store.sqlite") as store:
        store.undo(6, "w", "ann")
        check = Check("ann-5", REPEAT, segment(), segment(), 1, 2, LEFT)
        store.record_check(check, None, "ann")
    found = read_people(run / "store.sqlite")
    assert (len(found.answers), len(found.checks)) == (5, 0)
