"""metrics.jsonl: one line of strict JSON per pass of the loop, readable after any crash."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefrl.rundir import to_json

_LONGEST_ROW = 1 << 16  # bytes


def append_metrics(path: Path, row: Mapping[str, Any]) -> None:
    """Add one row and hand it to the system before returning.

    Args:
      row: numbers, strings and nested lists or tables of them, numpy's included; what is
        not finite becomes null. "step" is what `read_metrics` orders by.
    """
    line = to_json(row).encode() + b"\n"
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a kill cut the last line: don't write on at its end
                line = b"\n" + line
        file.write(line)
        file.flush()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a run, steps strictly increasing; none when there is no file.

    A line that a kill cut short is skipped. A resume goes back to a checkpoint, and its rows
    replace those of the same and later steps that were written before it.
    """
    rows: list[dict[str, Any]] = []
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return rows
    for line in data.split(b"\n"):
        row = _parse(line)
        if row is None:
            continue
        while rows and rows[-1]["step"] >= row["step"]:
            rows.pop()
        rows.append(row)
    return rows


def read_last(path: Path) -> dict[str, Any]:
    """The last whole row, without reading the others; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_ROW))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return {}
    return next((row for line in reversed(lines) if (row := _parse(line))), {})


def _parse(line: bytes) -> dict[str, Any] | None:
    """One row; None where the line is no JSON object with a step."""
    try:
        row = json.loads(line, parse_constant=lambda _: None)
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    step = row.get("step")
    known = isinstance(step, int | float) and not isinstance(step, bool) and abs(step) < 2**63
    return row if known else None
