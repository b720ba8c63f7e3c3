"""The comparison store across threads, forks, and kill -9."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from prefrl.store import ComparisonStore, Counts
from prefrl.types import Preference, Query, Segment

ROOT = Path(__file__).resolve().parent.parent

# Answers until it is killed; an id is in the log once its answer() has returned.
ANSWER_ALL = """
import os, sys
from prefrl.store import ComparisonStore
from prefrl.types import Preference
log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
store = ComparisonStore(sys.argv[1])
print("open", flush=True)
while query := store.claim("worker", lease_seconds=0.2):
    number = store.answer(query.id, Preference.LEFT, "worker")
    os.write(log, f"{number} {query.id}\\n".encode())
    os.fsync(log)
"""

# Undoes answers and answers checks until it is killed; logged once the method has returned.
UNDO_ALL = """
import os, sys
from prefrl.store import ComparisonStore
from prefrl.types import Preference
log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
store = ComparisonStore(sys.argv[1])
rows = store.answer_log("ann")
print("open", flush=True)
for row in rows:
    check = store.check_of(row.query_id, "mirror", str(row.query_id))
    store.record_check(check, check.expected, "ann")
    os.write(log, f"check {row.query_id}\\n".encode())
    store.undo(row.query_id, "window", "ann", lease_seconds=600)
    os.write(log, f"undo {row.query_id}\\n".encode())
    os.fsync(log)
"""

# A child of a fork answers while its parent, which forked with the store open, closes it.
FORK = """
import os, sys, warnings
from prefrl.store import ComparisonStore
from prefrl.types import Preference
store = ComparisonStore(sys.argv[1])
for number in range(1, 11):
    store.claim("parent")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.close(write)
        store.counts()
        os.read(read, 1)  # until the parent has closed its connection
        store.answer(number, Preference.LEFT, "child")
        os._exit(0)
    store.counts()
    store.close()
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
    assert len(store.comparisons()) == number, (number, len(store.comparisons()))
"""


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def questions(n: int) -> list[Query]:
    z = np.zeros((3, 2))
    return [Query(s := Segment(z, z, z[:, 0]), s) for _ in range(n)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_threads_share_one_store(path: Path) -> None:
    claims: list[int] = []
    with ComparisonStore(path) as store:
        store.add(questions(60))

        def claim_all(name: str) -> None:
            while query := store.claim(name):
                assert query.id is not None
                claims.append(query.id)
                store.answer(query.id, Preference.TIE, name)

        threads = [threading.Thread(target=claim_all, args=(f"{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claims) == list(range(1, 61))
        assert store.counts() == Counts(0, 0, 60, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_an_open_store_survives_a_fork(path: Path) -> None:
    with ComparisonStore(path) as store:
        store.add(questions(10))
    forking = run(FORK, path)
    forking.communicate(timeout=60)
    assert forking.returncode == 0
    with ComparisonStore(path) as store:
        assert [c.query.id for c in store.comparisons()] == list(range(1, 11))


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_kill_9_loses_no_acknowledged_answer(path: Path, tmp_path: Path, kills: int) -> None:
    log, rng = tmp_path / "log", random.Random(kills)
    store = ComparisonStore(path)
    store.add(questions(kills * 400))
    for _ in range(kills):
        worker = run(ANSWER_ALL, path, log)
        assert worker.stdout
        assert worker.stdout.readline() == "open\n"
        time.sleep(rng.uniform(0.02, 0.4))
        assert worker.poll() is None, "it ran out of queries before it was killed"
        worker.kill()
        worker.communicate()
        if rng.random() < 0.5:  # nobody has the file open: the next to open it recovers it
            store.close()
    acknowledged = {tuple(map(int, line.split())) for line in log.read_text().splitlines()}
    stored = [(c.id, c.query.id) for c in store.comparisons()]
    assert len(acknowledged) > 5 * kills
    assert acknowledged <= set(stored)
    assert len(stored) - len(acknowledged) <= kills  # committed, killed before the log
    assert max(Counter(query for _, query in stored).values()) == 1
    assert store.counts().answered == len(stored)
    time.sleep(0.25)  # the dead workers' leases run out
    assert store.counts().leased == 0
    store.close()


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_kill_9_leaves_no_undo_half_done(path: Path, tmp_path: Path, kills: int) -> None:
    log, rng = tmp_path / "log", random.Random(kills)
    store = ComparisonStore(path)
    asked = [query.id or 0 for query in store.add(questions(kills * 400))]
    store.answer_all([(number, Preference.LEFT) for number in asked], "ann")
    for _ in range(kills):
        worker = run(UNDO_ALL, path, log)
        assert worker.stdout
        assert worker.stdout.readline() == "open\n"
        time.sleep(rng.uniform(0.1, 0.5))
        assert worker.poll() is None, "it ran out of answers before it was killed"
        worker.kill()
        worker.communicate()
    words = [line.split() for line in log.read_text().splitlines()]
    acknowledged = {kind: {int(i) for k, i in words if k == kind} for kind in ("check", "undo")}
    withdrawn = {c.query.id or 0 for c in store.comparisons(after=len(asked))}
    checked = {row.query_id for row in store.checks()}
    assert len(acknowledged["undo"]) > 2 * kills
    assert acknowledged["undo"] <= withdrawn
    assert len(withdrawn - acknowledged["undo"]) <= kills  # committed, killed before the log
    assert acknowledged["check"] <= checked
    assert {row.query_id for row in store.answer_log()} == set(asked) - withdrawn
    # Whatever was withdrawn is under the lease too, and nothing else is.
    assert store.claim("bob") is None
    assert store.counts() == Counts(0, len(withdrawn), len(asked) - len(withdrawn), 0)
    assert store.renew("window", asked) == withdrawn
    store.close()
