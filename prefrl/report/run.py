"""What a run folder knows, read for its page."""

from __future__ import annotations

import json
import math
import shlex
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from prefrl.config import RunConfig, to_mapping
from prefrl.label_quality import looked
from prefrl.metrics import read_metrics
from prefrl.report.svg import Rows
from prefrl.rundir import RunDir
from prefrl.store import AnswerRow, CheckRow, ComparisonStore
from prefrl.toml_tables import merged
from prefrl.types import MachineError, PrefrlError

_Answer = TypeVar("_Answer", AnswerRow, CheckRow)


@dataclass(frozen=True)
class PeoplesAnswers:
    """The standing answers of those who looked at the clips; simulated labelers do not.

    Attributes:
      unseen: answers of others, who did not look at the clips.
      unreadable: why nothing is known; empty where there is no store or it could be read.
    """

    answers: tuple[AnswerRow, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    unreadable: str = ""
    unseen: int = 0

    @property
    def rows(self) -> list[AnswerRow | CheckRow]:
        """Both kinds, in the order of time."""
        return sorted([*self.answers, *self.checks], key=lambda row: row.answered_at)

    @property
    def names(self) -> list[str]:
        """Who answered, the busiest first."""
        return [name for name, _ in Counter(row.labeler for row in self.rows).most_common()]

    def of(self, name: str) -> PeoplesAnswers:
        """One labeler's."""
        return PeoplesAnswers(
            tuple(row for row in self.answers if row.labeler == name),
            tuple(row for row in self.checks if row.labeler == name),
        )


@dataclass(frozen=True)
class RunData:
    """What a run folder knows; tables are empty where their file is not there."""

    path: Path
    config: dict[str, Any]
    rows: Rows
    evaluation: dict[str, Any]
    versions: dict[str, Any]
    people: PeoplesAnswers

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
        config=merged(to_mapping(RunConfig()), settings),
        rows=read_metrics(folder.metrics_path),
        evaluation=_read_table(folder.evaluation_path, "run prefrl eval again"),
        versions=_read_table(folder.versions_path, "delete it; the page does without"),
        people=read_people(folder.store_path),
    )


def read_people(store: Path) -> PeoplesAnswers:
    """What people answered; a store that is not there is not made."""
    if not store.exists():
        return PeoplesAnswers()
    try:
        with ComparisonStore(store) as opened:
            log = opened.answer_log()
            answers = _seen(log)
            return PeoplesAnswers(answers, _seen(opened.checks()), unseen=len(log) - len(answers))
    except PrefrlError as error:
        return PeoplesAnswers(unreadable=str(error))
    except (SQLAlchemyError, ValueError, TypeError) as error:
        return PeoplesAnswers(
            unreadable=f"{store} is damaged ({error}): put back a copy of that file"
        )


def _seen(rows: list[_Answer]) -> tuple[_Answer, ...]:
    """Those of people; raises ValueError or TypeError where a number is none."""
    for row in rows:
        if not (math.isfinite(row.answered_at) and math.isfinite(row.seconds)):
            raise ValueError(f"an answer at {row.answered_at} after {row.seconds} s")
    return tuple(filter(looked, rows))


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
