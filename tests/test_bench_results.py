"""docs/results.md: its tables on rows whose numbers are known."""

from __future__ import annotations

from typing import Any

from prefrl.bench import labels, results, tables
from prefrl.bench.arms import ALL_OF_IT, ablation_arm, budget_arm, leak_arm
from prefrl.bench.study import Row
from prefrl.bench.tasks import LONG_TASKS
from prefrl.evaluate import LEAKS

MADE = {
    "command": "prefrl bench mine",
    "date": "2026-01-01",
    "machine": {"processor": "abacus", "cores": 2},
}


def result(rows: list[Row], missing: int = 0, **headline: float) -> dict[str, Any]:
    committed = [row | {"commit": "0123456789"} for row in rows]
    return MADE | {"rows": committed, "headline": headline, "rows_missing": missing}


def test_labels_have_a_mean_of_each_task_and_the_interval_of_all() -> None:
    rows = [
        {"task": task, "arm": budget_arm(25), "seed": seed, "score": place + seed / 10}
        for place, task in enumerate(LONG_TASKS)
        for seed in range(3)
    ]
    lines = results.labels(result(rows, **labels.headline(rows)))
    assert (
        lines[0] == "| labels | half_cheetah | hopper | walker2d | pendulum | IQM | 95 % | mean |"
    )
    assert lines[2].startswith("| 25 | 0.10 (3) | 1.10 (3) | 2.10 (3) | 3.10 (3) | 1.60 | 1.5")
    assert lines[2].endswith("| 1.60 |"), "the plain mean"
    assert len(lines) == 3, "nothing of budgets and audits that are not measured"


def test_the_readmes_audit_is_of_all_four_tasks_together() -> None:
    rows = [
        {"task": task, "arm": arm, "seed": 0, "score": score}
        for task in LONG_TASKS
        for arm, score in [
            (budget_arm(25), 1.0),
            *((leak_arm(leak), 0.1 * place) for place, leak in enumerate(LEAKS)),
        ]
    ]
    *_, line = tables.table({"labels": result(rows, iqm_25=1.0)}).splitlines()
    assert "25 labels | 1.00 | 4: 1.00 to 1.00 | 0.20 | `prefrl bench mine` |" in line


def test_a_tasks_audit_is_of_every_study_that_ran_it() -> None:
    """For as many steps; what two studies both have counts once."""

    def rows(scores: list[float], steps: int) -> list[Row]:
        return [
            {"task": "hopper", "arm": leak, "seed": seed, "score": score, "steps": steps}
            for leak in LEAKS
            for seed, score in enumerate(scores)
        ]

    one = {"task": "hopper", "arm": "default", "seed": 0, "score": 1.0, "steps": 600_000}
    found = {
        "environments": result([one, *rows([0.2], 600_000)], hopper=1.0),
        "loop": result(rows([0.9, 0.3, 0.4], 600_000)),
        "labels": result(rows([0.8, 0.8, 0.8], 1_000_000)),
    }
    *_, line = tables.table(found).splitlines()
    assert line.startswith("| Hopper | 1.00 | 1: 1.00 to 1.00 | 0.30, 0.40 |")


def test_ablations_are_listed_with_what_they_cost() -> None:
    rows = [
        {"task": "hopper", "arm": arm, "seed": 0, "score": score}
        for arm, score in ((ALL_OF_IT, 1.0), (ablation_arm("no ensemble"), 0.5))
    ]
    found = {"no_ensemble_minus_all": -0.5}
    found |= {"no_ensemble_minus_all_low": -0.6, "no_ensemble_minus_all_high": -0.4}
    lines = results.ablation_table(result(rows, **found))
    assert lines[2:] == [
        "| full method |  | 1.00 (1) |  |  |",
        "| no ensemble |  | 0.50 (1) | -0.50 | -0.60 to -0.40 |",
    ]


def test_a_table_says_where_it_is_from_and_what_is_missing() -> None:
    row = {"task": "hopper", "arm": budget_arm(25), "seed": 0, "score": 1.0}
    block = results.block("labels", {"labels": result([row], missing=3)})
    assert block.endswith(
        "\n\n`prefrl bench mine`, 2026-01-01, abacus, 2 cores, commits 0123456. "
        "3 of its 4 rows are still to be measured."
    )
    assert results.block("agents", {}) == "Not measured yet: `prefrl bench agents`."


def test_every_table_has_its_place_on_the_page() -> None:
    page = results.PAGE.read_text(encoding="utf-8")
    assert page.count(":start -->") == len(results.BLOCKS)
    assert all(f"<!-- {name}:start -->" in page for name in results.BLOCKS)


def test_a_number_with_an_interval_is_written_with_it() -> None:
    ends = {"sync_ratio_low": 0.9, "sync_ratio_high": 1.1}
    headline = {"async_ratio": 1.25, "sync_ratio": 1.0} | ends
    made = tables.table({"overhead": {"headline": headline, "command": "prefrl bench overhead"}})
    assert "| 1.25 |" in made and "| 1.00 (0.90 to 1.10) |" in made
