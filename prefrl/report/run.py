"""What a run folder knows, read for its page."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl.config import RunConfig, to_mapping
from prefrl.metrics import read_metrics
from prefrl.report.svg import Rows
from prefrl.rundir import RunDir
from prefrl.types import MachineError, PrefrlError


@dataclass(frozen=True)
class RunData:
    """What a run folder knows; tables are empty where their file is not there."""

    path: Path
    config: dict[str, Any]
    rows: Rows
    evaluation: dict[str, Any]
    versions: dict[str, Any]

    def fill_in(self, flag: str = "") -> str:
        """What to type for the parts that need an evaluation."""
        command = " ".join(filter(None, ["prefrl eval", shlex.quote(str(self.path)), flag]))
        return f"run `{command}` to fill this in"


def read_run(run: Path) -> RunData:
    """Gather what the page shows; the true reward stays where evaluation wrote it."""
    folder = RunDir(run)
    config = folder.config_path
    if not config.is_file():
        raise PrefrlError(
            f"{run} is not a run folder (no config.toml in it): give a folder under runs/"
        )
    try:
        settings = tomllib.loads(config.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PrefrlError(f"{config} is not valid TOML: {error}") from None
    return RunData(
        path=run,
        config=_over(to_mapping(RunConfig()), settings),
        rows=read_metrics(folder.metrics_path),
        evaluation=_read_table(folder.evaluation_path, "run prefrl eval again"),
        versions=_read_table(folder.versions_path, "delete it; the page does without"),
    )


def _over(usual: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults with a run's settings over them; a key of another version stays and is shown."""
    merged = dict(usual)
    for key, value in settings.items():
        both = isinstance(value, dict) and isinstance(usual.get(key), dict)
        merged[key] = _over(usual[key], value) if both else value
    return merged


def _read_table(path: Path, remedy: str) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        table = None
    if not isinstance(table, dict):
        raise MachineError(f"{path} is damaged: {remedy}")
    return table
