"""`prefrl label RUN`: opens the window on a run, and summarises what was answered."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace

import pygame
from numpy.random import default_rng
from rich.console import Console

from prefrl.config import RunConfig
from prefrl.console import say
from prefrl.environments import make_single
from prefrl.label_quality import described, quality
from prefrl.offline import ask_offline
from prefrl.render.window import display
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.types import PrefrlError
from viewer.app import Window
from viewer.checks import KINDS, REPEATS
from viewer.clips import ClipProcess
from viewer.feed import Feeder
from viewer.keys import bindings
from viewer.review import ReviewController, most_disagreed
from viewer.session import LabelController

DEFAULT_INSTRUCTION = "Choose the clip where the agent does what you want better."
"""Shown where neither the run nor its environment has an instruction."""


@dataclass(frozen=True)
class Options:
    """Options of `prefrl label`.

    Attributes:
      name: of the labeler, stored with each answer.
      size: side of a picture that MuJoCo draws, in pixels.
      queries: to ask about the newest checkpoint's agent where no trainer asks any.
      last: how many of the latest answers a review goes through.
    """

    name: str
    size: int = 480
    queries: int = 100
    last: int = 200


def label(run: RunDir, console: Console, options: Options) -> None:
    """Open the window for labeling until the person leaves, then print a summary."""
    config = run.config()
    keys = bindings(config.viewer.keys)
    with _window_of(run), ComparisonStore(run.store_path) as store:
        before = _last_answer(store)
        clips = _clips(config, options.size, console)
        with closing(clips):
            _ask_about_checkpoint(run, store, console, options.queries)
            worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            name, instruction = options.name, instruction_of(config)
            kinds = check_kinds(config.viewer.instruction, instruction)
            feeder = Feeder(store, clips, worker, name, default_rng(), check_kinds=kinds)
            with closing(feeder):
                controller = LabelController(run, store, feeder, name, worker, instruction)
                try:
                    Window(controller, keys).show()
                finally:
                    pygame.display.quit()
                    _summarise(store, console, name, before)


def review(run: RunDir, console: Console, options: Options) -> None:
    """Open the window for a review of answers, least likely first by the ensemble."""
    from prefrl.run import load_trained, newest_checkpoint

    config = run.config()
    keys = bindings(config.viewer.keys)
    with _window_of(run), ComparisonStore(run.store_path) as store:
        rows = store.answer_log()[-options.last :]
        if not rows:
            raise PrefrlError(
                f"{run.path} has no answers to review yet: `prefrl label {run.path}` gives some"
            )
        _, reward = load_trained(config, newest_checkpoint(run))
        rows = most_disagreed(store, reward, rows)
        with closing(_clips(config, options.size, console)) as clips:
            controller = ReviewController(
                store, clips, reward, rows, options.name, instruction_of(config)
            )
            with closing(controller):
                Window(controller, keys, review=True).show()


def instruction_of(config: RunConfig) -> str:
    """What to choose by: the run's own instruction, or the environment's, or the default one."""
    if config.viewer.instruction:
        return config.viewer.instruction
    env = make_single(config.env.id, config.env.kwargs, config.env.module)
    instruction = str(env.metadata.get("instruction", DEFAULT_INSTRUCTION))
    env.close()
    return instruction


def check_kinds(own: str, instruction: str) -> Sequence[str]:
    """Kinds of checks under an instruction.

    Pairs that are obvious by true return are among them only under the environment's own
    instruction: under another one, the opposite of what it rewards may be right.

    Args:
      own: the run's own instruction, or "".
      instruction: what people choose by.
    """
    return REPEATS if own or instruction == DEFAULT_INSTRUCTION else KINDS


def set_instruction(run: RunDir, text: str) -> None:
    """Write the instruction into the run's configuration."""
    config = run.config()
    run.write_config(replace(config, viewer=replace(config.viewer, instruction=text)))


def _window_of(run: RunDir) -> AbstractContextManager[None]:
    title = f"prefrl: {run.path.resolve().name}"
    # Not from another machine that shares the folder: SQLite's log works on one machine only.
    return display(title, f"run `prefrl label {run.path}` at this machine's own screen")


def _clips(config: RunConfig, size: int, console: Console) -> ClipProcess:
    clips = ClipProcess(config.env, size)
    if clips.backend:
        say(console, f"clips are drawn with {clips.backend}")
    return clips


def _ask_about_checkpoint(run: RunDir, store: ComparisonStore, console: Console, n: int) -> None:
    """Add queries about the newest checkpoint's agent where nobody trains and none is open."""
    if n <= 0 or store.counts().open or not run.lock_if_free():
        return
    try:
        if store.counts().open:  # another window has added some meanwhile
            return
        looking = f"looking for {n} queries about the newest checkpoint's agent"
        say(console, f"no trainer asks: {looking}")
        say(console, f"{ask_offline(run, n, default_rng())} queries")
    finally:
        run.unlock()


def _last_answer(store: ComparisonStore) -> int:
    return max((row.id for row in store.answer_log()), default=0)


def _summarise(store: ComparisonStore, console: Console, name: str, before: int) -> None:
    """Print the labels of this sitting, and the quality of all answers of this labeler."""
    mine = store.answer_log(name)
    sitting = [row for row in mine if row.id > before]
    say(console, f"this sitting: {len(sitting):,} labels by {name}")
    if mine:
        lines = described(quality(mine, store.checks(name)))
        width = max(map(len, lines))
        listed = [f"  {key:<{width}}  {value}" for key, value in lines.items()]
        say(console, "\n".join(["all of them:", *listed]))
