"""Studies: rows that resume, and a result that is never half written."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console

from prefrl.config import PRESETS
from prefrl.process import end_with_parent
from prefrl.progress import StudyProgress
from prefrl.rundir import commit, read_json, to_json, versions, write_whole
from prefrl.types import MachineError, PrefrlError

BENCHMARKS = PRESETS.parent / "benchmarks"

Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A committed study: its rows, and how they are measured and summarised.

    Attributes:
      name: of its folder under runs/benchmarks.
      specs: what identifies each row, given `quick`; plain numbers and strings.
      measure: runs one row and returns it, its spec included. It must be importable by name, as
        it runs in a process of its own, and may keep files in the folder it is given.
      headline: named numbers that summarise the rows.
      columns: row keys in the order of table.md; the commit of each row follows.
      require: raises, before anything is measured, if a row cannot be measured.
      derived: a row with values that follow from it and from other studies' committed rows, which
        may have changed since it was measured.
      alike: studies with the same `measure`, whose rows are reused where the specs agree.
      picture: draws the rows into curves.png.
    """

    name: str
    specs: Callable[[bool], Sequence[Row]]
    measure: Callable[[Row, Path], Row]
    headline: Callable[[Sequence[Row]], Mapping[str, float]]
    columns: Sequence[str]
    require: Callable[[Sequence[Row]], None] = lambda missing: None
    derived: Callable[[Row], Row] = lambda row: row
    alike: Sequence[str] = ()
    picture: Callable[[Sequence[Row], Path], None] | None = None

    def __call__(
        self, console: Console, quick: bool = False, jobs: int = 1, again: bool = False
    ) -> None:
        """Run what is missing and write result.json and table.md.

        A quick study is written to a folder of its own, never over the committed one.

        Args:
          jobs: rows measured side by side.
          again: measure every row; an old row is kept until its new one is measured.
        Raises:
          PrefrlError: the study is running already, or its result cannot be read.
        """
        folder = _folder(self.name, quick)
        work = folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        command = f"prefrl bench {self.name}" + (" --quick" if quick else "")
        source = commit()  # now, as the tree may change while a study runs
        made = _made(source)
        with _alone(work):
            specs = self.specs(quick)
            known = self._known(quick)
            found = [next((row for row in known if _matches(row, s)), None) for s in specs]
            rows = [self.derived(row) for row in found if row is not None]
            missing = [s for s, row in zip(specs, found, strict=True) if again or row is None]
            self.require(missing)
            done = len(specs) - len(missing)
            console.print(
                f"{self.name}: {done} rows done, {len(missing)} to go"
                + ("" if missing else " (--again measures all)"),
                highlight=False,
            )
            if rows and rows != _read_rows(folder):  # write changes without waiting for a row
                self._write(folder, rows, len(specs), command, source)
            with StudyProgress(done, len(specs), console) as progress:
                for row in _run_all(self.measure, missing, work, jobs):
                    spec = next(s for s in missing if _matches(row, s))
                    rows = [r for r in rows if not _matches(r, spec)]
                    rows.append(self.derived(row) | made)
                    rows.sort(key=lambda r: next(i for i, s in enumerate(specs) if _matches(r, s)))
                    self._write(folder, rows, len(specs), command, source)
                    progress.on_row(_line(row, self.columns))
        if self.picture is not None:
            self.picture(rows, folder / "curves.png")
        for name, value in self.headline(rows).items():
            console.print(f"{name} = {value:.3f}", highlight=False)
        console.print(f"written: {folder / 'result.json'}", soft_wrap=True, highlight=False)

    def _known(self, quick: bool) -> list[Row]:
        """Rows of earlier calls, the study's own first."""
        return [
            row for study in (self.name, *self.alike) for row in _read_rows(_folder(study, quick))
        ]

    def _write(
        self, folder: Path, rows: Sequence[Row], n_rows: int, command: str, source: str
    ) -> None:
        result = {
            "study": self.name,
            "command": command,
            "commit": source,
            "date": time.strftime("%Y-%m-%d"),
            "machine": {"cores": os.cpu_count(), "processor": _processor()},
            "versions": {k: v for k, v in versions().items() if k not in ("commit", "platform")},
            "rows_missing": n_rows - len(rows),
            "rows": rows,
            "headline": dict(self.headline(rows)),
        }
        write_whole(folder / "result.json", to_json(result, indent=1) + "\n")
        write_whole(folder / "table.md", self._table(rows))

    def _table(self, rows: Sequence[Row]) -> str:
        columns = [*self.columns, "commit"]
        lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(_cell(r.get(c)) for c in columns) + " |" for r in rows]
        return "\n".join(lines) + "\n"


def _made(source: str) -> Row:
    """What a row is measured with, kept in the row: a study may be continued elsewhere."""
    own = {"commit": source, "date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count()}
    return own | {"torch": versions()["torch"]}


def _folder(study: str, quick: bool) -> Path:
    return BENCHMARKS / study / "quick" if quick else BENCHMARKS / study


def _read_rows(folder: Path) -> list[Row]:
    """The rows that are measured already.

    Raises:
      PrefrlError: their file cannot be read.
    """
    path = folder / "result.json"
    result = read_json(path)
    if path.exists() and not result:
        raise PrefrlError(
            f"{path} is damaged: fix it, or move it away to measure all its rows again"
        )
    rows: list[Row] = result.get("rows", [])
    return rows


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep out a second call of the same study.

    Raises:
      PrefrlError: the study is running already.
    """
    with (work / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PrefrlError(
                f"{work} is in use: this study is running already; wait for it, or stop it first"
            ) from None
        yield


def _run_all(
    measure: Callable[[Row, Path], Row], specs: Sequence[Row], work: Path, jobs: int
) -> Any:
    """Rows as they are done, each from a process of its own, so that none inherits state.

    A failing row does not stop the others; its error is raised at the end.
    """
    if not specs:
        return
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=end_with_parent, max_tasks_per_child=1
    )
    try:
        futures = {pool.submit(measure, spec, work): spec for spec in specs}
        failed = list[Exception]()
        for future in as_completed(futures):
            try:
                row = future.result()
            except BrokenProcessPool:
                raise
            except Exception as error:
                error.add_note(f"in the row {futures[future]}: run the study again for it")
                failed.append(error)
            else:
                yield row
        if failed:
            raise failed[0]
    except BrokenProcessPool:
        raise MachineError(
            "the process of a row ended (out of memory?): run the study again, it continues with "
            "the rows that are missing"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process that has done nothing before.

    Args:
      function: importable by name.
    Raises:
      MachineError: the process ended without an answer.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        raise MachineError(
            f"the process of {function.__name__}{arguments} ended: fix what its message above "
            "says, and run the study again"
        ) from None
    process.join()
    return answer


def in_turn(
    function: Callable[..., Any], sides: Sequence[str], turn: int, *arguments: Any
) -> dict[str, Any]:
    """What a function returns for each side, in fresh processes; odd turns reverse the order."""
    order = sides if turn % 2 == 0 else sides[::-1]
    return {side: in_fresh_process(function, side, *arguments) for side in order}


def _send(pipe: Connection, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    end_with_parent()
    pipe.send(function(*arguments))


def _matches(row: Row, spec: Row) -> bool:
    return all(row.get(key) == value for key, value in spec.items())


def _line(row: Row, columns: Sequence[str]) -> str:
    return "  ".join(f"{c} {_cell(row.get(c))}" for c in columns if c in row)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
    return "" if value is None else str(value)


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
