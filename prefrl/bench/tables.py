"""The README's table of results, written from the committed studies.

python -m prefrl.bench.tables      rewrites what is between the README's markers
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefrl.bench.study import BENCHMARKS
from prefrl.rundir import read_json

README = BENCHMARKS.parent.parent / "README.md"
START, END = "<!-- results:start -->", "<!-- results:end -->"

LINES: dict[str, dict[str, tuple[str, str]]] = {
    "loop": {
        "halfcheetah_700_iqm": ("HalfCheetah, 700 labels", ".2f"),
        "halfcheetah_700_async_iqm": ("HalfCheetah, 700 labels, fit in its own process", ".2f"),
        "halfcheetah_200_iqm": ("HalfCheetah, 200 labels", ".2f"),
        "hopper_700_iqm": ("Hopper without early end, 700 labels", ".2f"),
        "walker2d_700_iqm": ("Walker2d without early end, 700 labels", ".2f"),
        "pendulum_200_iqm": ("Pendulum, 200 labels", ".2f"),
        "cartpole_iqm": ("CartPole without early end", ".2f"),
        "mountaincar_iqm": ("MountainCarContinuous without early end", ".2f"),
        "shuffled_iqm": ("HalfCheetah, 700 shuffled labels (should fail)", ".2f"),
        "gate_labels_share": ("HalfCheetah, share of the offered labels that the gate asks", ".0%"),
        "gate_score_loss": ("HalfCheetah, score that the gate costs", ".2f"),
    },
    "overhead": {
        "async_ratio": ("Steps per second against plain SB3 PPO, fit in its own process", ".2f"),
        "sync_ratio": ("Steps per second against plain SB3 PPO, fit between rollouts", ".2f"),
    },
}
"""Study, then headline name: how the table calls it, and how its number is written."""

NOTE = (
    "Scores are normalised, 0 a random policy and 1 the same PPO on the true reward with return "
    "normalisation: interquartile means over three seeds (nine of the shuffled labels) of the "
    "final policy. Seeds differ by about 0.1 to 0.3. Rewards are fitted between rollouts unless "
    "said, so that the numbers repeat."
)
EMPTY = "No results yet: `prefrl bench loop` and `prefrl bench overhead` measure them."


def read_results(benchmarks: Path = BENCHMARKS) -> dict[str, Mapping[str, Any]]:
    """The committed result.json of each study that has one, by the study's name."""
    return {p.parent.name: read_json(p) for p in sorted(benchmarks.glob("*/result.json"))}


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: one line for every headline number that is there and that LINES names."""
    rows = []
    for study, lines in LINES.items():
        result = results.get(study, {})
        for name, (text, shape) in lines.items():
            if name in result.get("headline", {}):
                number = _number(result["headline"][name], shape)
                rows.append(f"| {text} | {number} | `{result['command']}` |")
    if not rows:
        return EMPTY
    return "\n".join([NOTE, "", "| | measured | again |", "|---|---:|---|", *rows])


def with_table(readme: str, block: str) -> str:
    """The README with `block` between its markers.

    Raises:
      ValueError: the markers are not there, once each and in order.
    """
    before, found, rest = readme.partition(START)
    _, found_end, after = rest.partition(END)
    if not (found and found_end) or START in after or END in before + after:
        raise ValueError(f"the README needs {START} and {END}, once each and in that order")
    return f"{before}{START}\n{block}\n{END}{after}"


def _number(value: float | None, shape: str) -> str:
    return "unknown" if value is None or not math.isfinite(value) else format(value, shape)


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(with_table(text, table(read_results())), encoding="utf-8")
