"""A person's wait for the next pair, and the trainer's speed while a person answers.

Each row trains a run in a process of its own, gives it its first answers at once, and measures it
for a while: with a script that answers a pair every three seconds in the viewer's own window, drawn
under SDL's dummy driver, or with nobody.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from prefrl.bench.study import Row, Study
from prefrl.bench.tasks import rows_of
from prefrl.metrics import read_last
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.types import MachineError, Preference

TASKS: Mapping[str, str] = {"half_cheetah": "HalfCheetah-v5", "pong": "prefrl/Pong-v0"}
CHANGED = (
    "--steps=50000000",
    "--labels=50000",
    "--ask-above=0",
    "--set=labels.first_share=0.0008",
    "--set=reward.max_epochs=2",
    "--set=labels.warmup_steps=4096",
    "--set=labels.ask_every=2048",
)
"""Changes in the tasks' presets: the run does not end, has 40 first answers, and then always has
pairs that wait for an answer, so that the time to show one is measured; passes are short, as a game
has few steps in a minute."""
LABELLED, NOBODY = "labelled", "nobody"
REPEATS, SECONDS = 3, 120.0
EVERY = 3.0
"""Seconds between two answers."""
_START_SECONDS = 600.0


def measure(spec: Row, work: Path) -> Row:
    """The trainer's steps per second, and the person's waits if there is one."""
    run = RunDir(work / f"{spec['task']}-{spec['arm']}-{spec['repeat']}")
    shutil.rmtree(run.path, ignore_errors=True)
    with _trainer(spec["task"], run), ComparisonStore(run.store_path) as store:
        _answer_first(run, store)
        meter = _Meter(run)
        waits = _label(run, meter, spec) if spec["arm"] == LABELLED else []
        while meter.seconds < spec["seconds"]:
            meter.look()
            time.sleep(0.1)
    return spec | {
        "steps_per_second": meter.rate,
        "answers": len(waits),
        "waits": [round(1000 * wait, 2) for wait in waits],
        "p95_ms": float(1000 * np.quantile(waits, 0.95)) if waits else None,
    }


class _Meter:
    """The trainer's steps per second between the first and the last of its passes seen."""

    def __init__(self, run: RunDir) -> None:
        self._path, self._seen = run.metrics_path, list[tuple[float, float]]()
        self._started = time.monotonic()

    def look(self) -> None:
        step = read_last(self._path).get("step", 0)
        if not self._seen or step > self._seen[-1][1]:
            self._seen.append((time.monotonic(), step))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        if len(self._seen) < 3:
            raise MachineError(
                f"{self._path} has too few passes to measure a speed: lower labels.ask_every"
            )
        (began, first), (ended, last) = self._seen[1], self._seen[-1]  # [0] may be from before
        return (last - first) / (ended - began)


@contextmanager
def _trainer(task: str, run: RunDir) -> Iterator[None]:
    """`prefrl train --labeler human`, without a display, until this ends."""
    words = ["train", TASKS[task], "--labeler", "human", "--run", str(run.path), *CHANGED]
    environ = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    trainer = subprocess.Popen(
        [sys.executable, "-m", "prefrl", *words],
        env=environ,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not run.store_path.exists():
            _wait(trainer, deadline)
        yield
    finally:
        os.killpg(trainer.pid, signal.SIGKILL)
        trainer.wait()


def _wait(trainer: subprocess.Popen[bytes], deadline: float) -> None:
    if trainer.poll() is not None or time.monotonic() > deadline:
        raise MachineError(
            f"a trainer of the study did not start: run {trainer.args!r} to see why, fix that, and "
            "run the study again"
        )
    time.sleep(0.1)


def _answer_first(run: RunDir, store: ComparisonStore) -> None:
    """Answer the first batch by its true returns, until the trainer has made its first pass."""
    deadline = time.monotonic() + _START_SECONDS
    while not read_last(run.metrics_path):
        query = store.claim("study")
        if query is None or query.id is None:
            if time.monotonic() > deadline:
                raise MachineError(
                    f"no pass of the trainer in {run.path} after {_START_SECONDS:.0f} s: see its "
                    "message above, or run the study while the machine is less busy"
                )
            time.sleep(0.1)
            continue
        left = query.left.true_return > query.right.true_return
        store.answer(query.id, Preference.LEFT if left else Preference.RIGHT, "study")


def _label(run: RunDir, meter: _Meter, spec: Row) -> list[float]:
    """Seconds from each answer to the next pair on the screen, in a viewer process."""
    numbers = (str(spec[key]) for key in ("seconds", "every", "repeat"))
    person = subprocess.Popen(
        [sys.executable, "-m", "viewer.paced", str(run.path), *numbers], stdout=subprocess.PIPE
    )
    while person.poll() is None:
        meter.look()
        time.sleep(0.1)
    assert person.stdout is not None
    said = person.stdout.read()
    if person.returncode:
        raise MachineError(
            f"the viewer of the study ended with status {person.returncode}: fix what its message "
            "above says, and run the study again"
        )
    waits: list[float] = json.loads(said)
    return waits


def specs(quick: bool) -> Sequence[Row]:
    """Specs with the arms in turns, so that other load on the machine affects both alike."""
    repeats, seconds = (1, 45.0) if quick else (REPEATS, SECONDS)
    return [
        {"task": task, "arm": arm, "repeat": repeat, "seconds": seconds, "every": EVERY}
        for task in TASKS
        for repeat in range(repeats)
        for arm in (LABELLED, NOBODY)
    ]


def headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Waits and speed by task, and of the worse task; ratios are medians over pairs of rows."""
    waits, ratios, found = list[float](), list[float](), dict[str, float]()
    for task in TASKS:
        labelled, nobody = (
            sorted(rows_of(rows, task, arm), key=lambda row: row["repeat"])
            for arm in (LABELLED, NOBODY)
        )
        if not labelled or len(labelled) != len(nobody):
            continue
        all_waits = [wait for row in labelled for wait in row["waits"]]
        pairs = zip(labelled, nobody, strict=True)
        ratio = [one["steps_per_second"] / other["steps_per_second"] for one, other in pairs]
        found[f"{task}_p95_ms"] = float(np.quantile(all_waits, 0.95))
        found[f"{task}_trainer_ratio"] = float(np.median(ratio))
        waits.append(found[f"{task}_p95_ms"])
        ratios.append(found[f"{task}_trainer_ratio"])
    if waits:
        found |= {"next_pair_p95_ms": max(waits), "trainer_ratio": min(ratios)}
    return found


STUDY = Study(
    name="viewer",
    specs=specs,
    measure=measure,
    headline=headline,
    columns=("task", "arm", "repeat", "seconds", "steps_per_second", "answers", "p95_ms"),
)
