"""Somebody who answers at a fixed pace, in the viewer's own window: for the study `viewer`.

    python -m viewer.paced RUN SECONDS EVERY SEED

prints the seconds from each answer to the next pair on the screen, as a JSON list.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path

import pygame
from numpy.random import default_rng

from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from viewer.app import Window
from viewer.clips import ClipProcess
from viewer.feed import Feeder
from viewer.keys import bindings
from viewer.session import LabelController


def label(run: RunDir, seconds: float, every: float, seed: int) -> list[float]:
    """Left or right at random, drawn under SDL's dummy driver.

    Args:
      every: seconds between two answers.
    Returns:
      Seconds from each answer to the next pair on the screen.
    """
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    config, rng = run.config(), default_rng(seed)
    pygame.display.init()
    ends, due = time.monotonic() + seconds, time.monotonic() + every
    with (
        ComparisonStore(run.store_path) as store,
        closing(ClipProcess(config.env, config.viewer.size)) as clips,
        closing(Feeder(store, clips, "study", "study", rng)) as feeder,
    ):
        window = Window(
            LabelController(run, store, feeder, "study", "study", "study"), bindings({})
        )
        while time.monotonic() < ends:
            window.turn()
            if time.monotonic() >= due:
                due += every
                key = pygame.K_LEFT if rng.random() < 0.5 else pygame.K_RIGHT
                pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, unicode=""))
    pygame.display.quit()
    return window.waits


if __name__ == "__main__":
    path, *numbers = sys.argv[1:]
    waits = label(RunDir.open(Path(path)), float(numbers[0]), float(numbers[1]), int(numbers[2]))
    print(json.dumps(waits))
