"""The real window on a real display, with real keys: Xvfb and xdotool, no window manager."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefrl.config import load, presets
from prefrl.evaluate import committed_reference
from prefrl.store import ComparisonStore
from prefrl.types import Preference, Query

pytestmark = [
    pytest.mark.display,
    pytest.mark.skipif(
        not (shutil.which("Xvfb") and shutil.which("xdotool")),
        reason="needs Xvfb and xdotool (Debian: xvfb, xdotool)",
    ),
]
Prefrl = Callable[..., Any]
LABELS, STEPS = 400, 400_000
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
            whole, _, _ = (self._run / "shown.jsonl").read_text().rpartition("\n")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in whole.splitlines()]  # one may be half written

    def answer_until(self, done: Callable[[], bool], seconds: float) -> None:
        """Each pair by its true return; checks, whose returns the store does not tell, as ties.

        What the window did not take is pressed again; it is too soon then for a new pair.
        """
        deadline, seen, key, pressed = time.monotonic() + seconds, 0, "", 0.0
        while not done():
            assert time.monotonic() < deadline, f"{seen} pairs were shown"
            shown = self.shown()
            if len(shown) > seen:
                seen, key = len(shown), self._key(shown[-1])
                time.sleep(0.27)  # the window does not take an answer at once
            elif not key or time.monotonic() < pressed + 1:
                time.sleep(0.02)
                continue
            self.press(key)
            pressed = time.monotonic()

    def _key(self, shown: dict[str, Any]) -> str:
        if isinstance(shown["pair"], str):
            return "Up"
        with ComparisonStore(self._run / "store.sqlite") as store:
            query: Query = store.query(shown["pair"])
        left, right = query.left.true_return, query.right.true_return
        return "Up" if left == right else KEYS[(left > right) != shown["swapped"]]


def test_a_pole_is_balanced_by_what_is_pressed(display: str, tmp_path: Path, start: Prefrl) -> None:
    """`--labeler human` opens the window; a whole run is answered in it, and learns from it.

    The agent does not wait for fingers: of its preset's 200,000 steps half were over before the
    answers that they called for were there. The gate is open, so that the whole budget is asked.
    """
    run = tmp_path / "run"
    words = f"train prefrl/CartPole-v0 --run run --labels {LABELS} --steps {STEPS} --ask-above 0"
    on_it = {"DISPLAY": display, "SDL_VIDEODRIVER": "x11"}  # other tests leave a driver behind
    trained = start(*shlex.split(words), "--labeler", "human", **on_it)
    person = Person(display, run)
    wait_until(lambda: bool(person.shown()), trained)
    person.answer_until(lambda: trained.process.poll() is not None, 1200)
    assert trained.wait() == 0, trained.output
    assert "this sitting: " in trained.output and "left chosen" in trained.output
    stored_as_pressed(run)
    evaluated = start("eval", "run")
    assert evaluated.wait() == 0, evaluated.output
    found = re.search(r"true return ([-0-9.]+)", evaluated.output)
    reference = committed_reference(load(presets()["prefrl/CartPole-v0"]))
    assert found and reference
    assert reference.score(float(found[1])) >= 0.9


def stored_as_pressed(run: Path) -> None:
    """Each answer is about the clip that it was pressed for, and the budget is used up."""
    with ComparisonStore(run / "store.sqlite") as store:
        rows = store.answer_log()
        asked = [store.query(row.query_id) for row in rows]
    assert len(rows) >= 0.95 * LABELS and len({row.swapped for row in rows}) == 2
    for row, query in zip(rows, asked, strict=True):
        gap = query.left.true_return - query.right.true_return
        better = Preference.TIE if gap == 0 else Preference.LEFT if gap > 0 else Preference.RIGHT
        assert row.preference is better
        assert row.seconds >= 0.25 and 0 < row.watched <= 1


def wait_until(happens: Callable[[], bool], command: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert command.process.poll() is None and time.monotonic() < deadline, command.output
        time.sleep(0.1)
