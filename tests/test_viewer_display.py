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

from prefrl.store import AnswerRow, ComparisonStore
from prefrl.types import Preference, Query

pytestmark = [
    pytest.mark.display,
    pytest.mark.skipif(
        not (shutil.which("Xvfb") and shutil.which("xdotool")),
        reason="needs Xvfb and xdotool (Debian: xvfb, xdotool)",
    ),
]
Prefrl = Callable[..., Any]
LABELS = 40
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
                time.sleep(0.02)
                continue
            seen = len(shown)
            time.sleep(0.27)  # the window does not take an answer at once
            self.press(self._key(shown[-1]))

    def _key(self, shown: dict[str, Any]) -> str:
        if isinstance(shown["pair"], str):
            return "Up"
        with ComparisonStore(self._run / "store.sqlite") as store:
            query: Query = store.query(shown["pair"])
        left, right = query.left.true_return, query.right.true_return
        return "Up" if left == right else KEYS[(left > right) != shown["swapped"]]


def test_what_is_pressed_is_what_is_stored(display: str, tmp_path: Path, start: Prefrl) -> None:
    """`--labeler human` opens the window; each answer there is about the right clip."""
    run = tmp_path / "run"
    words = shlex.split(f"prefrl/CartPole-v0 --run run --labels {LABELS} --steps 20000")
    words += shlex.split("--set labels.first_share=0.8 --set labels.warmup_steps=2048")
    trained = start("train", *words, "--labeler", "human", DISPLAY=display)
    person = Person(display, run)

    def given() -> bool:
        with ComparisonStore(run / "store.sqlite") as store:
            return store.counts().answered >= LABELS

    wait_until(lambda: bool(person.shown()), trained)
    person.answer_until(lambda: given() or trained.process.poll() is not None, 300)
    assert trained.wait() == 0, trained.output
    assert "this sitting: " in trained.output and "left chosen" in trained.output
    with ComparisonStore(run / "store.sqlite") as store:
        rows = store.answer_log()
        gaps = [q.left.true_return - q.right.true_return for q in map(query_of(store), rows)]
    assert len(rows) >= 0.8 * LABELS and len({row.swapped for row in rows}) == 2
    for row, gap in zip(rows, gaps, strict=True):
        better = Preference.TIE if gap == 0 else Preference.LEFT if gap > 0 else Preference.RIGHT
        assert row.preference is better
        assert row.seconds >= 0.25 and 0 < row.watched <= 1


def query_of(store: ComparisonStore) -> Callable[[AnswerRow], Query]:
    return lambda row: store.query(row.query_id)


def wait_until(happens: Callable[[], bool], command: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert command.process.poll() is None and time.monotonic() < deadline, command.output
        time.sleep(0.1)
