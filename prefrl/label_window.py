"""The window that `prefrl train --labeler human` opens: `prefrl label`, in a separate process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from prefrl.console import say
from prefrl.render.segments import has_display
from prefrl.rundir import RunDir

_SECONDS_TO_LEAVE = 20.0


@contextmanager
def label_window(run: RunDir, console: Console) -> Iterator[None]:
    """A window on the run, as long as it trains or the person likes; training waits for neither.

    What the window has to say is printed when it is closed. Where there is no display, the ways
    out are.
    """
    if not has_display():
        say(
            console,
            f"no display, so no window opens here: log in to this machine with `ssh -X`, and "
            f"`prefrl label {run.path}` opens it there; training waits for its first answers alone",
        )
        yield
        return
    log = run.path / "viewer.log"
    with log.open("wb") as out:
        window = subprocess.Popen(
            [sys.executable, "-m", "prefrl", "label", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    told = threading.Thread(target=_tell, args=(window, log, run, console), daemon=True)
    told.start()
    try:
        yield
    finally:
        window.terminate()  # it saves nothing then: each answer is on the disk already
        try:
            window.wait(_SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            window.kill()
        told.join(_SECONDS_TO_LEAVE)


def _tell(window: subprocess.Popen[bytes], log: Path, run: RunDir, console: Console) -> None:
    """Wait for the window's end, and print what it said."""
    window.wait()
    say(console, log.read_text(encoding="utf-8", errors="replace").strip())
    say(console, f"the window is closed: `prefrl label {run.path}` opens it again")
