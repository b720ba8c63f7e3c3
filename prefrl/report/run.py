"""Content of a run folder, read for its page."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from prefrl.config import RunConfig, read_toml, to_mapping
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
    """The standing answers of labelers who looked at the clips; simulated ones do not.

    Attributes:
      unseen: number of answers by labelers who did not look at the clips.
      unreadable: why the store cannot be read; empty where it can, or where there is none.
    """

    answers: tuple[AnswerRow, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    unreadable: str = ""
    unseen: int = 0

    @property
    def rows(self) -> list[AnswerRow | CheckRow]:
        """Answers and checks, in the order of time."""
        return sorted([*self.answers, *self.checks], key=lambda row: row.answered_at)

    @property
    def names(self) -> list[str]:
        """Who answered, the busiest first."""
        return [name for name, _ in Counter(row.labeler for row in self.rows).most_common()]

    def of(self, name: str) -> PeoplesAnswers:
        """Answers and checks of one labeler."""
        return PeoplesAnswers(
            tuple(row for row in self.answers if row.labeler == name),
            tuple(row for row in self.checks if row.labeler == name),
        )


@dataclass(frozen=True)
class RunData:
    """Content of a run folder; tables are empty where their file is missing."""

    path: Path
    config: dict[str, Any]
    rows: Rows
    evaluation: dict[str, Any]
    versions: dict[str, Any]
    people: PeoplesAnswers

    def fill_in(self, flag: str = "") -> str:
        """The command that fills in what needs an evaluation."""
        command = " ".join(filter(None, ["prefrl eval", shlex.quote(str(self.path)), flag]))
        return f"run `{command}` to fill this in"


def read_run(run: Path) -> RunData:
    """Read what the page shows of a run.

    Raises:
      PrefrlError: there is no run, or its configuration cannot be read.
      MachineError: another file is damaged.
    """
    folder = RunDir.open(run)
    return RunData(
        path=run,
        config=merged(to_mapping(RunConfig()), read_toml(folder.config_path)),
        rows=read_metrics(folder.metrics_path),
        evaluation=_read_table(folder.evaluation_path, "run prefrl eval again"),
        versions=_read_table(folder.versions_path, "delete it; the page does without"),
        people=read_people(folder.store_path),
    )


def read_people(store: Path) -> PeoplesAnswers:
    """What people answered; a missing store is not created."""
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
    """Rows of people; raises ValueError or TypeError where a number is not finite."""
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
