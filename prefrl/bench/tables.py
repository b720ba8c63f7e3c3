"""The README's table of results, made from the committed studies; `results.py` writes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefrl.bench import loop
from prefrl.bench.agents import AGENTS
from prefrl.bench.arms import BUDGETS, OF_THE_PAPER, budget_arm, headline_name, leak_of
from prefrl.bench.statistics import iqm
from prefrl.bench.study import BENCHMARKS, Row
from prefrl.bench.tasks import ENVIRONMENT_TASKS, LONG_TASKS
from prefrl.evaluate import LEAKS
from prefrl.rundir import read_json

README = BENCHMARKS.parent.parent / "README.md"

_AT_50 = "HalfCheetah and Hopper, 50 labels"
_GATED = "HalfCheetah and Pendulum, asked only at a disagreement"
LINES: dict[str, dict[str, tuple[str, str]]] = {
    "loop": {
        "halfcheetah_700_iqm": ("HalfCheetah, 700 labels", ".2f"),
        "halfcheetah_700_async_iqm": ("HalfCheetah, 700 labels, fit in its own process", ".2f"),
        "halfcheetah_200_iqm": ("HalfCheetah, 200 labels", ".2f"),
        "pendulum_200_iqm": ("Pendulum, 200 labels", ".2f"),
        "cartpole_iqm": ("CartPole without early end", ".2f"),
        "mountaincar_iqm": ("MountainCarContinuous without early end", ".2f"),
        "shuffled_iqm": ("HalfCheetah, 700 shuffled labels (should fail)", ".2f"),
        "gate_labels_share": ("HalfCheetah, share of the offered labels that the gate asks", ".0%"),
        "gate_score_loss": ("HalfCheetah, score without the gate less that with it", ".2f"),
    },
    "labels": {
        f"iqm_{budget}": (
            f"Four control tasks, 1M steps (Pendulum 100,000), {budget} labels",
            ".2f",
        )
        for budget in BUDGETS
    },
    "public": {
        "half_cheetah_return": ("HalfCheetah, 1M steps, 400 labels: return at the end", ",.0f"),
        "half_cheetah_over_public": ("The same, divided by the best public figure, 2,956", ".2f"),
        "hopper_return": ("Hopper, 1M steps, 400 labels: return at the end", ",.0f"),
        "hopper_over_public": ("The same, divided by the best public figure, 824", ".2f"),
        "walker2d_return": ("Walker2d, 1M steps, 400 labels: return at the end", ",.0f"),
        "walker2d_over_public": ("The same, divided by the best public figure, 1,730", ".2f"),
    },
    "environments": {
        "mujoco_iqm": ("The eight tasks below, mean of the four middle ones", ".2f"),
        "reacher": ("Reacher", ".2f"),
        "half_cheetah_paper": ("HalfCheetah without cost of torques", ".2f"),
        "hopper": ("Hopper", ".2f"),
        "walker2d": ("Walker2d", ".2f"),
        "swimmer": ("Swimmer", ".2f"),
        "ant": ("Ant", ".2f"),
        "inverted_double_pendulum": ("InvertedDoublePendulum", ".2f"),
        "pendulum": ("Pendulum", ".2f"),
    },
    "ablations": {"all_of_it": (f"{_AT_50}: score", ".2f")}
    | {
        f"{headline_name(name)}_minus_all": (f"{_AT_50}, {name}: difference in score", ".2f")
        for name in OF_THE_PAPER
    },
    "teachers": {
        "mistake_over_oracle": (
            "HalfCheetah, Hopper and Pendulum, labeler wrong one time in ten: share of an oracle's "
            "score",
            ".0%",
        ),
        "mistake_doubted_over_oracle": ("The same, its answers doubted", ".0%"),
    },
    "gate": {
        f"{kind}_above_{threshold:g}": (f"{_GATED} over {threshold:g}: {meaning}", shape)
        for threshold in (0, 0.1)
        for kind, meaning, shape in (
            ("score", "score", ".2f"),
            ("asked", "share of the labels", ".0%"),
        )
    },
    "agents": {
        f"{arm.lower()}_over_ppo": (f"{arm}, 1M steps, true reward: score beside PPO's", ".0%")
        for arm in AGENTS
    },
    "backflip": {
        "flips_per_20s": ("Backflips landed in 20 s, from at most 900 labels", ".1f"),
        "handwritten_flips_per_20s": ("Backflips landed in 20 s, hand-written reward", ".2f"),
    },
    "one-leg": {
        "distance_share": ("One-legged cheetah, its way as a share of the two-legged one's", ".0%"),
        "distance_share_as_long": ("The same, of one that trained for as many steps", ".0%"),
        "other_foot": ("One-legged cheetah, share of the time on its other foot", ".1%"),
    },
    "grasp": {
        "real_without_cross": ("Real grasps, judged from pictures without depth", ".0%"),
        "real_with_cross": ("Real grasps, with a cross in the picture that shows depth", ".0%"),
    },
    "atari": {
        "pong_labels": ("Pong, 1M steps, at most 3,300 labels: points ahead in a game", ".1f"),
        "pong_rl": ("Pong, 1M steps, PPO on the score: points ahead in a game", ".1f"),
        "enduro_even_overtaken": (
            "Enduro beside others: passed and passing, 1,000 frames (less is better)",
            ".2f",
        ),
        "enduro_rl_overtaken": (
            "Enduro, PPO on the score: passed and passing, 1,000 frames (less is better)",
            ".2f",
        ),
        "enduro_even_alongside": ("Enduro beside others: closeness to a car, 0 to 1,000", ".0f"),
        "enduro_rl_alongside": ("Enduro, PPO on the score: closeness to a car, 0 to 1,000", ".0f"),
    },
    "overhead": {
        "async_ratio": ("Steps per second against plain SB3 PPO, fit in its own process", ".2f"),
        "sync_ratio": ("Steps per second against plain SB3 PPO, fit between rollouts", ".2f"),
        "async_own_ratio": ("The same against our own PPO, fit in its own process", ".2f"),
        "sync_own_ratio": ("The same against our own PPO, fit between rollouts", ".2f"),
    },
    "speed": {
        "fast_ratio": ("HalfCheetah, steps per second against SB3's PPO as it comes", ".1f"),
        "loop_return": ("HalfCheetah, 300,000 steps: true return", ",.0f"),
        "plain_return": (
            "HalfCheetah, SB3's PPO as it comes on the true reward, as many steps",
            ",.0f",
        ),
        "fit_seconds_700": ("Fit of 3 members, 700 comparisons of 50 steps, s of one core", ".1f"),
        "store_p95_ms": ("Claim and answer beside 100,000 comparisons, 95 % within, ms", ".1f"),
        "label_cost_ratio": (
            "Trainer's cost of a label after 10,000, times that after 1,000",
            ".2f",
        ),
    },
    "rendering": {
        "mujoco_speedup": ("MuJoCo pictures per second without a GPU, times the default", ".0f"),
    },
    "viewer": {
        "next_pair_p95_ms": ("Viewer: from an answer to the next pair, 95 % within, ms", ".0f"),
        "trainer_ratio": ("Trainer's steps per second while a script answers every 3 s", ".2f"),
    },
}
"""By study and headline key: the text of the line, and the format of its number."""

NAMES: dict[str, dict[tuple[str, str], str]] = {
    "loop": loop.NAMES,
    "environments": {(task, "default"): task for task in ENVIRONMENT_TASKS},
    "labels": {(task, budget_arm(n)): f"iqm_{n}" for task in LONG_TASKS for n in BUDGETS},
    "backflip": {
        ("hopper_backflip", "labels"): "flips_per_20s",
        ("hopper_backflip", "handwritten"): "handwritten_flips_per_20s",
    },
    "grasp": {
        ("deceptive_grasp", "no cross"): "real_without_cross",
        ("deceptive_grasp", "cross"): "real_with_cross",
    },
}
"""By study, then task and arm: the headline key that these rows add up to."""

EMPTY = "No results yet: `prefrl bench loop` and others measure them."


def read_results(benchmarks: Path = BENCHMARKS) -> dict[str, Mapping[str, Any]]:
    """The committed result.json of each study that has one, by the study's name."""
    return {p.parent.name: read_json(p) for p in sorted(benchmarks.glob("*/result.json"))}


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line for every number in LINES that the results have."""
    rows = []
    for study, lines in LINES.items():
        result = results.get(study, {})
        for name, (text, shape) in lines.items():
            if name in result.get("headline", {}):
                number = _with_interval(result["headline"], name, shape)
                measured: list[Row] = result.get("rows", [])
                mine = [row for row in measured if _names(study, row) == name]
                # Of several tasks only the study itself has as many audits of each.
                one = len({row["task"] for row in mine}) == 1
                audits = [result, *results.values()] if one else [result]
                cells = [text, number, _range(mine, shape), _audit(audits, mine, shape)]
                rows.append(f"| {' | '.join(cells)} | `{result['command']}` |")
    if not rows:
        return EMPTY
    head = ["| | measured | seeds | leak audit | again |", "|---|---:|---|---:|---|"]
    return "\n".join([*head, *rows])


def _with_interval(headline: Mapping[str, float], name: str, shape: str) -> str:
    """A number, with its 95 % interval in parentheses if it has one."""
    number, ends = number_of(headline[name], shape), interval_of(headline, name, shape)
    return f"{number} ({ends})" if ends else number


def interval_of(headline: Mapping[str, float], name: str, shape: str) -> str:
    """The 95 % interval of a headline's number, or "" if it has none."""
    ends = [headline.get(f"{name}_{end}") for end in ("low", "high")]
    return "" if None in ends else " to ".join(number_of(end, shape) for end in ends)


def between(page: str, name: str, block: str) -> str:
    """A page with `block` between the two markers of a name.

    Raises:
      ValueError: the markers are not in the page once each and in order.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, found, rest = page.partition(start)
    _, found_end, after = rest.partition(end)
    if not (found and found_end) or start in after or end in before + after:
        raise ValueError(f"the page needs {start} and {end}, once each and in that order")
    return f"{before}{start}\n{block}\n{end}{after}"


def _range(rows: Sequence[Row], shape: str) -> str:
    """The number of seeds, and the lowest and the highest of them."""
    numbers = [row.get("score", row.get("flips", row.get("real"))) for row in rows]
    scores = [number for number in numbers if number is not None]
    if not scores:
        return ""
    return f"{len(scores)}: {number_of(min(scores), shape)} to {number_of(max(scores), shape)}"


def _audit(studies: Iterable[Mapping[str, Any]], rows: Sequence[Row], shape: str) -> str:
    """The best IQM of a leak on the rows' tasks, and the highest score of any seed.

    Args:
      studies: their audits with as many steps count, the first study's if two have the same.
    """
    wanted = {(row["task"], row.get("steps")) for row in rows}
    found: dict[tuple[str | None, str, int], float] = {}
    for row in (row for study in studies for row in study.get("rows", [])):
        leak = leak_of(row.get("arm", ""))
        if leak and (row["task"], row.get("steps")) in wanted:
            found.setdefault((leak, row["task"], row["seed"]), row["score"])
    by_leak = [[score for key, score in found.items() if key[0] == leak] for leak in LEAKS]
    if not all(by_leak):
        return ""
    best = number_of(max(map(iqm, by_leak)), shape)
    highest = number_of(max(map(max, by_leak)), shape)
    return best if best == highest else f"{best}, {highest}"


def _names(study: str, row: Row) -> str | None:
    """The headline key that a row belongs to."""
    return NAMES.get(study, {}).get((row.get("task", ""), row.get("arm", "")))


def number_of(value: float | None, shape: str) -> str:
    """A number as the tables have it, without a minus before zero."""
    if value is None or not math.isfinite(value):
        return "unknown"
    sign = "+" if shape.startswith("+") else ""
    return format(value, f"{sign}z{shape.removeprefix('+')}")
