"""`prefrl label RUN`: opens the window on a run, and sums up what was answered."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace

import pygame
from numpy.random import default_rng
from rich.console import Console

from prefrl.config import RunConfig
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
from viewer.review import ReviewDesk, most_disagreed
from viewer.session import LabelDesk

UNKNOWN = "Choose the clip in which the agent does better what you want of it."


@dataclass(frozen=True)
class Options:
    """What `prefrl label` is told.

    Attributes:
      name: written beside each answer.
      size: side of a picture that MuJoCo draws, in pixels.
      offline: queries about the newest checkpoint's agent where no trainer asks any.
      last: answers that a review goes through, the latest ones.
    """

    name: str
    size: int = 480
    offline: int = 100
    last: int = 200


def label(run: RunDir, console: Console, options: Options) -> None:
    """A person labels until they leave; then what they did in this sitting."""
    config = run.config()
    keys = bindings(config.viewer.keys)
    with _window_of(run), ComparisonStore(run.store_path) as store:
        before = _last_answer(store)
        clips = _clips(config, options.size, console)
        with closing(clips):
            _ask(run, store, console, options.offline)
            worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            name, asked = options.name, instruction_of(config)
            kinds = checked_by(config.viewer.instruction, asked)
            feeder = Feeder(store, clips, worker, name, default_rng(), check_kinds=kinds)
            with closing(feeder):
                desk = LabelDesk(run, store, feeder, name, worker, asked)
                try:
                    Window(desk, keys).show()
                finally:
                    pygame.display.quit()
                    _sum_up(store, console, options.name, before)


def review(run: RunDir, console: Console, options: Options) -> None:
    """A person pages through answers, those first that the ensemble least expects."""
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
            name, asked = options.name, instruction_of(config)
            with closing(ReviewDesk(store, clips, reward, rows, name, asked)) as desk:
                Window(desk, keys, review=True).show()


def instruction_of(config: RunConfig) -> str:
    """What to choose by: the run's own, or the environment's."""
    if config.viewer.instruction:
        return config.viewer.instruction
    env = make_single(config.env.id, config.env.kwargs, config.env.module)
    found = str(env.metadata.get("instruction", UNKNOWN))
    env.close()
    return found


def checked_by(own: str, asked: str) -> Sequence[str]:
    """Kinds of checks for people who are asked this.

    What somebody wants may be the opposite of what the environment rewards, and its true returns
    say nothing of the answers then.

    Args:
      own: the run's own instruction; empty: it has none.
      asked: what they choose by.
    """
    return REPEATS if own or asked == UNKNOWN else KINDS


def set_instruction(run: RunDir, text: str) -> None:
    """Keep what to choose by in the run's configuration."""
    config = run.config()
    run.write_config(replace(config, viewer=replace(config.viewer, instruction=text)))


def _window_of(run: RunDir) -> AbstractContextManager[None]:
    title = f"prefrl: {run.path.resolve().name}"
    # Another machine that shares the folder will not do: SQLite's log is for writers on one.
    return display(title, f"run `prefrl label {run.path}` at this machine's own screen")


def _clips(config: RunConfig, size: int, console: Console) -> ClipProcess:
    clips = ClipProcess(config.env, size)
    if clips.backend:
        console.print(f"clips are drawn with {clips.backend}", highlight=False)
    return clips


def _ask(run: RunDir, store: ComparisonStore, console: Console, n: int) -> None:
    """Where nobody trains and nothing is left to answer: about the newest checkpoint's agent."""
    if n <= 0 or store.counts().open or not run.lock_if_free():
        return
    try:
        if store.counts().open:  # another window has looked meanwhile
            return
        looking = f"looking for {n} queries about the newest checkpoint's agent"
        console.print(f"no trainer asks: {looking}", highlight=False)
        console.print(f"{ask_offline(run, n, default_rng())} queries", highlight=False)
    finally:
        run.unlock()


def _last_answer(store: ComparisonStore) -> int:
    return max((row.id for row in store.answer_log()), default=0)


def _sum_up(store: ComparisonStore, console: Console, name: str, before: int) -> None:
    """This sitting, and then how good this person's answers look over all of them."""
    mine = store.answer_log(name)
    sitting = [row for row in mine if row.id > before]
    _print(console, f"this sitting: {len(sitting):,} labels by {name}", {})
    if mine:
        _print(console, "all of them:", described(quality(mine, store.checks(name))))


def _print(console: Console, title: str, lines: Mapping[str, str]) -> None:
    console.print(title, highlight=False, markup=False)
    wide = max(map(len, lines), default=0)
    for name, value in lines.items():
        console.print(f"  {name:<{wide}}  {value}", highlight=False, markup=False)
