"""The tables of docs/results.md and of the README, made from the committed studies.

python -m prefrl.bench.results      rewrites the text between the markers of both
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from prefrl.bench import ablations, agents, gate, teachers
from prefrl.bench.arms import (
    ABLATIONS,
    ALL_OF_IT,
    BUDGETS,
    TAUGHT,
    THRESHOLDS,
    ablation_arm,
    budget_arm,
    headline_name,
    leak_arm,
    teacher_arm,
)
from prefrl.bench.runs import scores_of
from prefrl.bench.stages import STAGES
from prefrl.bench.study import BENCHMARKS, Row
from prefrl.bench.tables import LINES, README, between, interval_of, number_of, read_results, table
from prefrl.bench.tasks import LONG_TASKS, mean_of, rows_of
from prefrl.evaluate import LEAKS

PAGE = README.parent / "docs" / "results.md"
Result = Mapping[str, Any]


def references(result: Result) -> list[str]:
    """True returns of PPO on the true reward and of a random policy, by task and steps."""
    lines = _head(["task", "steps", "PPO, mean", "its seeds", "random"])
    rows = result["rows"]
    for task, steps in dict.fromkeys((row["task"], row["steps"]) for row in rows):
        mine = [r for r in rows if (r["task"], r["steps"]) == (task, steps)]
        returns = sorted(row["rl_return"] for row in mine)
        shape = ",.0f" if max(map(abs, returns)) >= 100 else ",.1f"
        mean, *every = (number_of(r, shape) for r in (float(np.mean(returns)), *returns))
        random = number_of(mean_of(mine, "random_return"), shape)
        lines.append(_line([task, f"{steps:,}", mean, ", ".join(every), random]))
    return lines


def labels(result: Result) -> list[str]:
    """Scores by budget and task, their IQM with its interval, and the leak audit."""
    rows, found = result["rows"], result["headline"]
    lines = _head(["labels", *LONG_TASKS, "IQM", "95 %", "mean"])
    for budget in BUDGETS:
        by_task = [_scores(rows, task, budget_arm(budget)) for task in LONG_TASKS]
        if any(by_task):
            middle = _interval(found, f"iqm_{budget}")
            mean = f"{np.mean(np.concatenate(by_task)):.2f}" if any(middle) else ""
            lines.append(_line([str(budget), *map(_with_count, by_task), *middle, mean]))
    for leak in LEAKS:
        by_task = [_scores(rows, task, leak_arm(leak)) for task in LONG_TASKS]
        if any(by_task):
            lines.append(_line([f"none, {leak}", *map(_with_count, by_task), "", "", ""]))
    return lines


def asked(result: Result) -> list[str]:
    """Labels that the gate let through, by budget and task."""
    lines = _head(["labels offered", *(f"{task}, asked" for task in LONG_TASKS)])
    for budget in BUDGETS:
        arms = [rows_of(result["rows"], task, budget_arm(budget)) for task in LONG_TASKS]
        if all(arms):
            means = (f"{mean_of(rows, 'labels'):.0f}" for rows in arms)
            lines.append(_line([str(budget), *means]))
    return lines


def ablation_table(result: Result) -> list[str]:
    """Mean score per arm and its difference from the full method, the paper's ablations first."""
    rows, found = result["rows"], result["headline"]
    lines = _head(["", *ablations.TASKS, "difference from the full method", "95 %"])
    whole = [_with_count(_scores(rows, task, ALL_OF_IT)) for task in ablations.TASKS]
    lines.append(_line(["full method", *whole, "", ""]))
    for name in ABLATIONS:
        scores = [_scores(rows, task, ablation_arm(name)) for task in ablations.TASKS]
        difference = _interval(found, f"{headline_name(name)}_minus_all", "+.2f")
        if any(scores):
            lines.append(_line([name, *map(_with_count, scores), *difference]))
    return lines


def teacher_table(result: Result) -> list[str]:
    """Scores by teacher and task, and shares of the oracle's score of those in ERRING."""
    rows, found = result["rows"], result["headline"]
    lines = _head(["teacher", *teachers.TASKS, "mean", "95 %"])
    for teacher in TAUGHT:
        by_task = [_scores(rows, task, teacher_arm(teacher)) for task in teachers.TASKS]
        if any(by_task):
            middle = _interval(found, headline_name(teacher))
            lines.append(_line([teacher, *map(_with_count, by_task), *middle]))
    for teacher in teachers.ERRING:
        ratio = _interval(found, f"{headline_name(teacher)}_over_oracle")
        if any(ratio):
            lines.append(
                _line([f"{teacher}: share of oracle's", *[""] * len(teachers.TASKS), *ratio])
            )
    return lines


def gate_table(result: Result) -> list[str]:
    """Labels and score of each threshold and task."""
    columns = [f"{task}, {what}" for task in gate.TASKS for what in ("labels", "score")]
    lines = _head(["asked above", *columns])
    for threshold in THRESHOLDS:
        cells = [f"{threshold:g}"]
        for task in gate.TASKS:
            mine = rows_of(result["rows"], task, gate.gate_arm(task, threshold))
            spent = f"{mean_of(mine, 'labels'):.0f}" if mine else ""
            cells += [spent, _with_count(scores_of(mine))]
        if any(cells[1:]):
            lines.append(_line(cells))
    return lines


def agent_table(result: Result) -> list[str]:
    """True returns by agent and task, with the lowest and the highest seed."""
    lines = _head(["agent", *agents.TASKS, "steps per second"])
    for arm in agents.ARMS:
        by_task = [rows_of(result["rows"], task, arm) for task in agents.TASKS]
        every = [row for mine in by_task for row in mine]
        if every:
            cells = [_mean_and_ends([row["true_return"] for row in mine]) for mine in by_task]
            lines.append(_line([arm, *cells, f"{mean_of(every, 'steps_per_second'):,.0f}"]))
    return lines


def headlines(study: str) -> Callable[[Result], list[str]]:
    """The study's lines of the README's table."""

    def lines(result: Result) -> list[str]:
        found = result["headline"]
        named = [
            _line([text, number_of(found[name], shape)])
            for name, (text, shape) in LINES[study].items()
            if name in found
        ]
        return [*_head(["", "measured"]), *named]

    return lines


def stage_table(result: Result) -> list[str]:
    """Shares of the time of a training by stage."""
    found = result["headline"]
    shares = {stage: found.get(f"{stage}_share") for stage in (*STAGES, "rest")}
    lines = [_line([stage, f"{share:.1%}"]) for stage, share in shares.items() if share is not None]
    return [*_head(["stage", "share of the time"]), *lines] if lines else []


BLOCKS: dict[str, tuple[str, Callable[[Result], list[str]]]] = {
    "references": ("references", references),
    "labels": ("labels", lambda result: [*labels(result), "", *asked(result)]),
    "public": ("public", headlines("public")),
    "ablations": ("ablations", ablation_table),
    "teachers": ("teachers", teacher_table),
    "gate": ("gate", gate_table),
    "agents": ("agents", agent_table),
    "overhead": ("overhead", headlines("overhead")),
    "speed": ("speed", headlines("speed")),
    "stages": ("speed", stage_table),
}
"""By the name of the markers: the study, and what makes the lines of its table."""


def block(name: str, results: Mapping[str, Result]) -> str:
    """A table, with its picture, the command that measures it, and the number of missing rows."""
    study, lines = BLOCKS[name]
    result = results.get(study)
    if result is None:
        return f"Not measured yet: `prefrl bench {study}`."
    missing, machine = result["rows_missing"], result["machine"]
    commits = sorted({row["commit"][:7] for row in result["rows"] if "commit" in row})
    note = (
        f"`{result['command']}`, {result['date']}, {machine['processor']}, {machine['cores']} "
        f"cores, commits {', '.join(commits)}."
    )
    if missing:
        note += f" {missing} of its {missing + len(result['rows'])} rows are still to be measured."
    drawn = BENCHMARKS / study / "curves.png"
    picture = [f"![{study}](../{drawn.relative_to(README.parent)})", ""] if drawn.exists() else []
    return "\n".join([*lines(result), "", *picture, note])


def with_tables(page: str, results: Mapping[str, Result]) -> str:
    """The page with every table between its markers."""
    for name in BLOCKS:
        page = between(page, name, block(name, results))
    return page


def _head(columns: Sequence[str]) -> list[str]:
    return [_line(columns), "|---|" + "---:|" * (len(columns) - 1)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _scores(rows: Sequence[Row], task: str, arm: str) -> list[float]:
    return scores_of(rows_of(rows, task, arm))


def _interval(headline: Mapping[str, float], name: str, shape: str = ".2f") -> list[str]:
    """A headline number and its 95 % interval, or two empty cells."""
    if name not in headline:
        return ["", ""]
    return [number_of(headline[name], shape), interval_of(headline, name, shape)]


def _with_count(scores: Sequence[float]) -> str:
    """Mean, and the number of seeds."""
    return f"{number_of(float(np.mean(scores)), '.2f')} ({len(scores)})" if scores else ""


def _mean_and_ends(numbers: Sequence[float]) -> str:
    if not numbers:
        return ""
    return f"{np.mean(numbers):,.0f} ({min(numbers):,.0f} to {max(numbers):,.0f})"


if __name__ == "__main__":
    committed = read_results()
    page, readme = (path.read_text(encoding="utf-8") for path in (PAGE, README))
    PAGE.write_text(with_tables(page, committed), encoding="utf-8")
    README.write_text(between(readme, "results", table(committed)), encoding="utf-8")
