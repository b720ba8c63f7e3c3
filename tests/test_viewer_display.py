"""The real window on a real display, with real keys: Xvfb and xdotool, no window manager."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefrl.store import ComparisonStore
from prefrl.types import Query

pytestmark = [
    pytest.mark.display,
    pytest.mark.skipif(
        not (shutil.which("Xvfb") and shutil.which("xdotool")),
        reason="needs Xvfb and xdotool (Debian: xvfb, xdotool)",
    ),
]
Prefrl = Callable[..., Any]
KEYS = {True: "Left", False: "Right"}


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """Its name."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    yield f":{number}"
    server.terminate()
    server.wait()


class Person:
    """Presses keys, and knows from the store which clip is better.

    Args:
      run: a run's folder.
    """

    def __init__(self, display: str, run: Path) -> None:
        self._env, self._run = os.environ | {"DISPLAY": display}, run
        self.do("mousemove", "640", "450")  # without a window manager keys go where the pointer is

    def do(self, *words: str) -> None:
        subprocess.run(["xdotool", *words], env=self._env, check=True, stdout=subprocess.DEVNULL)

    def press(self, key: str) -> None:
        self.do("key", key)

    def shown(self) -> list[dict[str, Any]]:
        """What has been on the screen, the latest last."""
        try:
            lines = (self._run / "shown.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def answer_until(self, done: Callable[[], bool], seconds: float) -> None:
        """Each pair by its true return; checks, whose returns the store does not tell, as ties."""
        deadline, seen = time.monotonic() + seconds, 0
        while not done():
            assert time.monotonic() < deadline, f"{seen} pairs were shown"
            shown = self.shown()
            if len(shown) == seen:
                time.sleep(0.05)
                continue
            seen = len(shown)
            time.sleep(0.35)  # the window does not take an answer at once
            self.press(self._key(shown[-1]))

    def _key(self, shown: dict[str, Any]) -> str:
        if isinstance(shown["pair"], str):
            return "Up"
        with ComparisonStore(self._run / "store.sqlite") as store:
            query: Query = store.query(shown["pair"])
        left, right = query.left.true_return, query.right.true_return
        return "Up" if left == right else KEYS[(left > right) != shown["swapped"]]


def test_a_person_teaches_a_pole_to_stand(display: str, tmp_path: Path, start: Prefrl) -> None:
    """`--labeler human` opens the window, and what is pressed there is what the agent learns."""
    run = tmp_path / "run"
    words = shlex.split("prefrl/CartPole-v0 --labels 120 --steps 200000 --run run --seed 1")
    trained = start("train", *words, "--labeler", "human", DISPLAY=display)
    person = Person(display, run)

    def given() -> bool:
        with ComparisonStore(run / "store.sqlite") as store:
            return store.counts().answered >= 120

    wait_until(lambda: bool(person.shown()), trained)
    person.answer_until(lambda: given() or trained.process.poll() is not None, 300)
    assert trained.wait() == 0, trained.output
    evaluation = json.loads((run / "report" / "evaluation.json").read_text())
    assert evaluation["normalised_score"] >= 0.9
    assert "this sitting: " in trained.output and "same answer to a pair" in trained.output
    with ComparisonStore(run / "store.sqlite") as store:
        rows = store.answer_log()
    assert all(row.seconds >= 0.25 and 0 < row.watched <= 1 for row in rows)
    assert len({row.swapped for row in rows}) == 2


def wait_until(happens: Callable[[], bool], command: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert command.process.poll() is None and time.monotonic() < deadline, command.output
        time.sleep(0.1)
