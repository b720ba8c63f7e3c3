"""The metrics file and the page of a run."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefrl.metrics import append_metrics, read_metrics
from prefrl.progress import describe
from prefrl.report import build, evaluation_plots, plots, write_report
from prefrl.report import page as report_page
from prefrl.report.build import render
from prefrl.report.run import read_run
from prefrl.report.svg import POINTS, columns, number, percent, series, short, smooth, thin
from prefrl.types import MachineError, PrefrlError

CONFIG = """
steps = 40960
seed = 3
[env]
id = "HalfCheetah-v5"
n_envs = 4
[labels]
budget = 700
ask_above = 0.07
[agent.kwargs]
n_steps = 1024
"""
TITLES = [
    "True and predicted return",
    "Score and leak audit",
    "Labels against the schedule",
    "Disagreement and the gate",
    "Accuracy, loss and temperature of the fits",
    "Calibration",
    "Is the gate right?",
    "Predicted against true return of segments",
]


def metrics(n: int) -> list[dict[str, Any]]:
    return [
        {
            "step": 2048 * (i + 1),
            "true_return": 100.0 * i - 250,
            "predicted_return": 3.0 * i,
            "labels": 175 + i,
            "offered": 175 + 2 * i,
            "labels_budget": 700,
            "candidates": 90,
            "gate_share": 1 / (i + 1),
            "disagreement_p10": 0.02,
            "disagreement_p50": 0.1,
            "disagreement_p90": 0.2,
            "disagreement_asked": 0.22 if i % 2 else math.nan,
            "ask_above": 0.07,
            "heldout_accuracy": 0.9,
            "heldout_nll": 0.3,
            "train_nll": 0.2,
            "temperature": 1.5,
            "steps_per_second": 2000.0,
        }
        for i in range(n)
    ]


def evaluation(segments: int = 60) -> dict[str, Any]:
    true = np.linspace(-10, 10, segments)
    return {
        "true_return": 4183.4,
        "true_returns": [4183.4] * 20,
        "episodes": 20,
        "normalised_score": 0.97,
        "random_return": -281.0,
        "rl_return": 4312.0,
        "reference": "PPO on the true reward, 3 seeds",
        "predictor": {
            "accuracy": 0.917,
            "nll": 0.22,
            "ece": 0.024,
            "correlation": 0.93,
            "pearson_distance": 0.18,
            "reliability": {
                "confidence": [0.55, 0.75, 0.95],
                "accuracy": [0.5, 0.8, 1.0],
                "count": [10, 0, 40],
            },
            "segments": {"predicted": list(true**3), "true": list(true)},
            "gate": {
                "error_above": 0.3,
                "error_below": 0.04,
                "share_above": 0.22,
                "threshold": 0.07,
            },
        },
        "leak_audit": {"constant+1": 0.01, "constant-1": -0.2, "random-network": 0.18},
    }


def make_run(
    run: Path,
    rows: list[dict[str, Any]] | None = None,
    evaluated: dict[str, Any] | None = None,
    config: str = CONFIG,
) -> Path:
    (run / "report").mkdir(parents=True)
    (run / "config.toml").write_text(config, encoding="utf-8")
    for row in rows or []:
        append_metrics(run / "metrics.jsonl", row)
    if evaluated is not None:
        (run / "report" / "evaluation.json").write_text(json.dumps(evaluated), encoding="utf-8")
    return run


class Page(HTMLParser):
    """Checks that elements close in order; gathers text, references and ids."""

    VOID = frozenset({"meta", "wbr"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.attributes if name in names]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = make_run(tmp_path_factory.mktemp("runs") / "cheetah", metrics(20), evaluation(600))
    (run / "versions.json").write_text('{"torch": "2.9.1", "commit": "0123abc"}')
    return write_report(run).read_text(encoding="utf-8")


# --- metrics.jsonl


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_written_rows_are_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    row = {
        "step": np.int64(3),
        "a": math.nan,
        "b": [math.inf, np.float32(0.5), np.float32("nan")],
        "c": {"d": -math.inf, "e": np.array([1.0, math.nan])},
    }
    append_metrics(path, row)
    text = path.read_text()
    assert text.count("\n") == 1
    assert "NaN" not in text
    assert "Infinity" not in text
    assert read_metrics(path) == [
        {"step": 3, "a": None, "b": [None, 0.5, None], "c": {"d": None, "e": [1.0, None]}}
    ]


def test_a_row_after_a_kill_starts_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "true_ret')
    assert read_metrics(path) == [{"step": 1}]
    append_metrics(path, {"step": 2, "true_return": 5.0})
    assert read_metrics(path) == [{"step": 1}, {"step": 2, "true_return": 5.0}]


@pytest.mark.parametrize("line", ["[1]", "null", '{"a": 1}', '{"step": null}', '{"step": true}'])
def test_a_line_without_a_step_is_skipped(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n\n{{"step": 2, "b": NaN}}\n')
    assert read_metrics(path) == [{"step": 1}, {"step": 2, "b": None}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(st.integers(0, 30), max_size=30), cut=st.integers(0, 12))
def test_later_rows_replace_those_of_the_same_and_later_steps(
    tmp_path: Path, steps: list[int], cut: int
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.unlink(missing_ok=True)
    rows = [{"step": step, "order": order} for order, step in enumerate(steps)]
    for row in rows:
        append_metrics(path, row)
    if rows and cut:
        path.write_bytes(path.read_bytes()[:-cut])  # one byte is the newline alone
        rows = rows if cut == 1 else rows[:-1]
    kept = [
        row
        for i, row in enumerate(rows)
        if all(later["step"] > row["step"] for later in rows[i + 1 :])
    ]
    assert read_metrics(path) == kept


# --- numbers


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0"), (-0.0, "0"), (0.05, "0.05"), (-250.4, "\N{MINUS SIGN}250"),
        (4183.4, "4183"), (9999.6, "10 k"), (600_064, "600 k"), (999_900, "1 M"),
        (1_234_567, "1.23 M"), (2.5e9, "2.5 G"),
    ],
)  # fmt: skip
def test_short_numbers(x: float, text: str) -> None:
    assert short(x).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.041, "4.1 %"), (0.0999, "10 %"), (0.934, "93 %"), (1, "100 %")],
)
def test_percentages(share: float, text: str) -> None:
    assert percent(share).replace("\N{NO-BREAK SPACE}", " ") == text


def test_only_finite_numbers_count() -> None:
    table = {"a": {"b": 2}, "c": math.nan, "d": "3", "e": True, "f": [1]}
    assert number(table, "a", "b") == 2.0
    assert [number(table, key) for key in ("c", "d", "e", "f", "g")] == [None] * 5
    assert number(None, "a") is None
    rows: list[dict[str, Any]] = [
        {"step": 1, "x": 2.0},
        {"step": 2, "x": None},
        {"step": 3},
        {"step": 4, "x": 5},
    ]
    assert series(rows, "x").tolist() == [[1, 2], [4, 5]]
    assert columns({"a": [1, None, 3], "b": [4, 5, 6]}, "a", "b").tolist() == [[1, 4], [3, 6]]
    assert columns({"a": [1]}, "a", "b").shape == columns(None, "a", "b").shape == (0, 2)


def test_thinning_keeps_the_end_and_the_mean() -> None:
    line = np.column_stack([np.arange(100_000.0), np.arange(100_000.0)])
    thinned = thin(line)
    assert len(thinned) == POINTS
    assert thinned[-1].tolist() == [99_999, 99_999]
    assert np.allclose(thinned[:, 0], thinned[:, 1])
    assert thin(line[:POINTS]).tolist() == line[:POINTS].tolist()


def test_moving_average_on_literals() -> None:
    assert smooth(np.array([3.0])).tolist() == [3.0]
    assert smooth(np.array([0.0, 3.0, 6.0, 0.0])).tolist() == [1.5, 3.0, 3.0, 3.0]


def test_wilson_interval_on_a_known_case() -> None:
    low, high = evaluation_plots.wilson(np.array([0.5, 1.0]), np.array([100.0, 10.0]))
    assert low == pytest.approx([0.4038, 0.7225], abs=1e-4)  # Wilson 1927
    assert high == pytest.approx([0.5962, 1.0], abs=1e-4)


# --- plots


def test_readings_say_what_the_numbers_say() -> None:
    rows = metrics(20)
    told = {
        "labels": plots.labels(rows),
        "fit": plots.fit(rows),
        "gate": plots.disagreement(rows),
        "calibration": evaluation_plots.calibration(evaluation()),
        "errors": evaluation_plots.gate_errors(evaluation()),
        "segments": evaluation_plots.segment_returns(evaluation()),
        "score": evaluation_plots.score(evaluation(), "no audit"),
    }
    readings = {name: plot and plot.reading.replace("\xa0", " ") for name, plot in told.items()}
    assert readings == {
        "labels": "194 of 213 offered",
        "fit": "90 % at the end",
        "gate": "5.0 % over the gate at the end",
        "calibration": "calibration error 2.4 %",
        "errors": "wrong 7.5 times as often over it",
        "segments": "correlation 0.93",
        "score": "0.97",
    }


def test_what_is_not_known_draws_nothing() -> None:
    assert plots.returns([], {}) is plots.labels([]) is plots.disagreement([]) is None
    assert plots.fit([{"step": 1}]) is evaluation_plots.calibration({}) is None
    assert evaluation_plots.gate_errors({}) is evaluation_plots.score({}, "") is None
    assert evaluation_plots.segment_returns({"predictor": None}) is None


def figures(run: Path) -> dict[str, tuple[str, str]]:
    """Value and what is under it, by title."""
    return {title: (value, under) for title, value, _, under in build._headline(read_run(run))}


def test_an_evaluation_of_an_older_agent_says_so(tmp_path: Path) -> None:
    step = int(metrics(20)[-1]["step"])
    for made_at, before in ((step, ""), (step - 1000, "after ")):
        evaluated = evaluation() | {"step": made_at}
        found = figures(make_run(tmp_path / f"run{made_at}", metrics(20), evaluated))
        for title in ("Normalised score", "True return"):
            assert found[title][1].startswith("after ") is bool(before)
    assert "steps: mean of 20 episodes" in found["True return"][1]


def test_where_rl_is_no_better_than_random_there_is_no_score(tmp_path: Path) -> None:
    evaluated = evaluation() | {"normalised_score": None, "rl_return": 20.0, "random_return": 70.0}
    run = make_run(tmp_path / "run", metrics(3), evaluated | {"leak_audit": {}})
    why = "RL on the true reward (20) is not above random (70)"
    assert figures(run)["Normalised score"][1] == why
    assert f"No normalised score: {why}." in render(read_run(run))


def test_a_fit_without_a_decided_answer_is_a_fit(tmp_path: Path) -> None:
    rows = [row | {"heldout_accuracy": None, "comparisons": 18} for row in metrics(3)]
    run = make_run(tmp_path / "run", rows)
    assert figures(run)["Held-out accuracy"][1] == "no answer kept out of training decides anything"


@pytest.mark.parametrize("labeler", ["oracle", "human", "store"])
def test_a_run_of_given_answers_is_run_again_on_them(tmp_path: Path, labeler: str) -> None:
    config = CONFIG.replace("[labels]", f'[labels]\nlabeler = "{labeler}"')
    assert labeler in config
    run = make_run(tmp_path / "run", metrics(3), config=config)
    page = render(read_run(run))
    again = f"--labeler store --answers {run}"
    assert (again in page) is (labeler != "oracle")
    assert ("gives the same numbers" in page) is (labeler == "oracle")


def test_a_missing_half_is_named() -> None:
    plot = plots.returns([{"step": 1, "true_return": 3.0}], {})
    assert plot is not None
    assert plot.notes == ("No predicted return yet: no reward has been fitted.",)
    score = evaluation_plots.score({"normalised_score": 0.5, "leak_audit": None}, "run it")
    assert score is not None
    assert score.notes == ("run it",)


@settings(max_examples=12, deadline=None)
@given(
    path=st.sampled_from(
        [
            "leak_audit",
            "normalised_score",
            "predictor",
            "predictor.gate",
            "predictor.segments",
            "predictor.reliability",
            "predictor.segments.true",
            "predictor.reliability.count",
            "predictor.gate.error_below",
            "predictor.correlation",
            "predictor.ece",
        ]
    ),
    junk=st.sampled_from([None, [], {}, "x", math.nan, math.inf, 0, [None, 1, "a"], {"a": None}]),
)
def test_any_part_of_an_evaluation_may_be_unusable(path: str, junk: Any) -> None:
    table = evaluation()
    *parents, leaf = path.split(".")
    inner = table
    for key in parents:
        inner = inner[key]
    inner[leaf] = junk
    for plot in (
        evaluation_plots.calibration(table),
        evaluation_plots.gate_errors(table),
        evaluation_plots.segment_returns(table),
        evaluation_plots.score(table, ""),
    ):
        assert plot is None or not re.search(r"\bnan\b", plot.svg)


# --- the page


@given(st.text())
def test_line_breaks_change_no_text(text: str) -> None:
    page = Page(f"<p>{report_page._breakable(text.replace(chr(13), ''))}</p>")
    assert page.text == text.replace(chr(13), "")


def test_the_page_has_every_section(full: str) -> None:
    page = Page(full)
    for title in TITLES:
        assert title in page.text
    assert page.tags.count("figure") == len(TITLES)
    assert page.values("role").count("img") == len(TITLES)
    assert len([label for label in page.values("aria-label") if label]) == len(TITLES)
    assert "fill this in" not in page.text
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    for figure in ("0.97", "4183", "194 of 213", "92 %", "41 k", "2000"):
        assert figure in text
    for setting in ("kwargs.n_steps", "ask_above", "0.07", "seed", "2.9.1", "0123abc"):
        assert setting in text
    assert "cheetah/config.toml" in text
    assert "prefrl train --config" in text


def test_the_page_needs_nothing_else(full: str) -> None:
    page = Page(full)
    assert "http" not in full
    assert "@import" not in full
    assert "<script" not in full
    assert full.count("url(") == full.count("url(#")
    for reference in page.values("src", "href", "xlink:href"):
        assert reference.startswith(("#", "data:image/png;base64,"))


def test_ids_are_unique_and_every_reference_resolves(full: str) -> None:
    page = Page(full)
    ids = page.values("id")
    assert len(ids) == len(set(ids)) > 0
    used = {ref[1:] for ref in page.values("xlink:href") if ref.startswith("#")}
    used |= {clip.removeprefix("url(#").removesuffix(")") for clip in page.values("clip-path")}
    assert used <= set(ids)


def test_colours_and_fonts_are_the_pages_own(full: str) -> None:
    body = full[full.index("<body>") :]
    assert "#0072b2" not in body
    assert "#d55e00" not in body
    assert "font-family" not in body
    assert "var(--blue)" in body
    assert "var(--orange)" in body
    assert "prefers-color-scheme: dark" in full
    assert "@media print" in full


def test_a_run_without_evaluation_says_how_to_get_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run 1", metrics(3))
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert page.text.count(f"prefrl eval '{run}'") == 5  # the score's figure, and four plots
    assert page.tags.count("figure") == 4
    assert "not recorded in this run" in page.text


def test_a_reward_that_guesses_is_named(tmp_path: Path) -> None:
    rows = metrics(3)
    run = make_run(tmp_path / "run", rows, evaluation())
    assert "gets no reward" not in write_report(run).read_text(encoding="utf-8")
    assert "gets no reward" not in describe(rows[-1], math.nan)
    rows[-1] |= {"guessing": 1.0, "heldout_accuracy": 0.52}
    run = make_run(tmp_path / "guessing", rows, evaluation())
    assert "no better than guessing" in write_report(run).read_text(encoding="utf-8")
    assert "held-out 52% | no better than guessing: the agent gets no reward" in describe(
        rows[-1], math.nan
    )


def test_ties_alone_are_named(tmp_path: Path) -> None:
    rows = metrics(3)
    for row in rows:
        row |= {"guessing": 1.0, "decided": 0.0, "heldout_accuracy": math.nan}
    found = {"predictor": {"on_policy": {}}, "true_return": 9.0}
    page = write_report(make_run(tmp_path / "run", rows, found)).read_text(encoding="utf-8")
    assert "every answer is a tie: the agent gets no reward" in page
    assert page.count("no two unseen segments differ in true return") == 3
    assert "| every answer is a tie: the agent gets no reward" in describe(rows[-1], math.nan)


def test_a_run_that_has_not_begun_has_a_page(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path / "run")).read_text(encoding="utf-8"))
    assert page.tags.count("figure") == 0
    assert "No metrics yet" in page.text
    for title in TITLES:
        assert title in page.text


def test_a_dollar_in_a_plot_is_a_dollar() -> None:
    plot = evaluation_plots.score({"leak_audit": {"<$x_1$>": 0.5}}, "")
    assert plot is not None
    assert "&lt;$x_1$&gt;</text>" in plot.svg


def test_text_of_the_run_is_escaped(tmp_path: Path) -> None:
    nasty = "<img src=x onerror=y>&$x_1$"
    table = evaluation()
    table["reference"] = nasty
    table["leak_audit"][nasty] = 0.1
    run = make_run(tmp_path / "<i>run", metrics(2), table, f'[env]\nid = "{nasty}"\n')
    (run / "versions.json").write_text(json.dumps({nasty: nasty}))
    source = write_report(run).read_text(encoding="utf-8")
    page = Page(source)
    assert "img" not in page.tags
    assert "i" not in page.tags
    assert page.text.count(nasty) >= 5  # title, heading, bar, reference, tables


def test_long_runs_stay_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = evaluation()
    noise = rng.normal(size=(2, 10_000))
    table["predictor"]["segments"] = {"true": list(noise[0]), "predicted": list(noise[1])}
    run = make_run(tmp_path / "run", evaluated=table)
    lines = [json.dumps({**row, "true_return": rng.normal()}) for row in metrics(8000)]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    assert write_report(run).stat().st_size < 1_000_000


def test_it_can_be_written_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    first = write_report(run)
    append_metrics(run / "metrics.jsonl", metrics(1)[0])
    assert write_report(run) == first == run / "report" / "index.html"
    assert "2048" in first.read_text(encoding="utf-8")
    assert [path.name for path in (run / "report").iterdir()] == ["index.html"]


def test_no_run_folder_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(PrefrlError, match="nowhere holds no run"):
        write_report(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("damage", ['{"true_return": 1', "[1]", ""])
def test_a_damaged_evaluation_is_named(tmp_path: Path, damage: str) -> None:
    run = make_run(tmp_path / "run")
    (run / "report" / "evaluation.json").write_text(damage)
    with pytest.raises(MachineError, match=r"evaluation.json is damaged: run prefrl eval"):
        write_report(run)


def test_matplotlib_is_imported_late_and_pyplot_never(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", metrics(2))
    code = (
        "import sys, pathlib, prefrl.report as report\n"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules\n"
        "report.write_report(pathlib.Path(sys.argv[1]))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code, str(run)], cwd=root, check=True, timeout=60)
