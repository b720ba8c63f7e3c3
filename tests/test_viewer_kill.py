"""kill -9 of viewers at any moment, two at a time, over one run's queue."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from viewing import questions, run_at, wait_until

from prefrl.store import ComparisonStore, Counts

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
LEASE_SECONDS = 1.0
AT_ONCE = 2

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@dataclass
class Viewer:
    """One that runs.

    Attributes:
      lives: seconds until it is killed, from its first answer on or from its start.
      kill_at: when that is; None before it is known.
    """

    pid: int
    log: Path
    lives: float
    kill_at: float | None

    def lines(self) -> list[str]:
        """The whole ones."""
        text = self.log.read_text() if self.log.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def is_due(self) -> bool:
        if self.kill_at is None and self.lines():
            self.kill_at = time.monotonic() + self.lives
        return self.kill_at is not None and time.monotonic() >= self.kill_at

    def is_there(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


class Viewers:
    """Starts them in a run."""

    def __init__(self, run: Path, logs: Path) -> None:
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, FIXTURES)))}
        words = [sys.executable, FIXTURES / "forked_viewers.py", run, str(LEASE_SECONDS)]
        self._parent = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )
        self._logs = logs
        self.all: list[Viewer] = []

    def start(self, lives: float, at_once: bool = False, stays: bool = True) -> Viewer:
        assert self._parent.stdin and self._parent.stdout
        log = self._logs / f"{len(self.all)}.txt"
        self._parent.stdin.write(f"{log} {len(self.all)} {stays}\n")
        self._parent.stdin.flush()
        pid = int(self._parent.stdout.readline())
        self.all.append(Viewer(pid, log, lives, time.monotonic() + lives if at_once else None))
        return self.all[-1]

    def close(self) -> None:
        for viewer in self.all:
            if viewer.is_there():
                os.kill(viewer.pid, signal.SIGKILL)
        self._parent.communicate()


@pytest.fixture
def viewers(tmp_path: Path) -> Iterator[Viewers]:
    run_at(tmp_path / "run")
    (tmp_path / "logs").mkdir()
    started = Viewers(tmp_path / "run", tmp_path / "logs")
    yield started
    started.close()


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_kill_9_of_viewers_loses_no_answer_and_no_query(
    viewers: Viewers, tmp_path: Path, kills: int
) -> None:
    rng = random.Random(kills)
    with ComparisonStore(tmp_path / "run" / "store.sqlite") as store:
        asked = 0
        running = list[Viewer]()
        while len(viewers.all) < kills or running:
            if store.counts().open < 60:  # the trainer asks on
                asked += len(store.add(questions(60)))
            while len(running) < AT_ONCE and len(viewers.all) < kills:
                at_once = rng.random() < 0.2  # at any moment of its start
                running.append(viewers.start(rng.uniform(0.05, 0.6), at_once))
            for viewer in [viewer for viewer in running if viewer.is_due()]:
                assert viewer.is_there(), f"it ended by itself: {viewer.lines()[-1:]}"
                os.kill(viewer.pid, signal.SIGKILL)
                running.remove(viewer)
            time.sleep(0.002)
        wait_until(lambda: not any(viewer.is_there() for viewer in viewers.all))

        acknowledged = [line for viewer in viewers.all for line in viewer.lines()]
        _check(store, acknowledged, kills)
        assert len(acknowledged) > kills / 2, "there was something to lose"

        last = viewers.start(lives=0, stays=False)
        wait_until(lambda: not last.is_there(), 600)
        assert last.lines()[-1:] == ["done"], last.lines()[-1:]
        _check(store, [*acknowledged, *last.lines()[:-1]], kills)
        assert store.counts() == Counts(open=0, leased=0, answered=asked, expired=0)
        numbers = sorted(c.query.id or 0 for c in store.comparisons())
        assert numbers == list(range(1, asked + 1))


def _check(store: ComparisonStore, acknowledged: list[str], kills: int) -> None:
    """Every acknowledged answer is there once, and hardly any other; no query has two."""
    stored = [str(c.query.id) for c in store.comparisons()] + [row.name for row in store.checks()]
    assert max(Counter(acknowledged).values()) == 1
    assert max(Counter(stored).values()) == 1
    assert set(acknowledged) <= set(stored)
    assert len(stored) - len(acknowledged) <= kills  # committed, and killed before it was told
    assert store.counts().answered == len(store.comparisons())
