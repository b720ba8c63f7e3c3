"""Answers that a run did not ask for: those it starts with, and those given after its end."""

from __future__ import annotations

import math
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.random import default_rng

from prefrl.config import RunConfig
from prefrl.labelers import LABELERS, is_asked
from prefrl.recorder import Recorder
from prefrl.reward.fitters import MIN_COMPARISONS
from prefrl.run import build_env
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.store.database import BUSY_SECONDS
from prefrl.types import Array, MachineError, PrefrlError, Segment


def asks_nobody(config: RunConfig) -> bool:
    """Whether a configuration's labeler, a name in LABELERS, is one who is never asked."""
    return not is_asked(LABELERS[config.labels.labeler](default_rng(0)))


@contextmanager
def answers_from(source: Path | None, path: Path, config: RunConfig) -> Iterator[Path | None]:
    """A copy of the answers that a new run starts with, near to where its folder will be.

    The copy is gone afterwards unless it was moved. Queries that nobody has answered are about
    another agent, and expire in it.

    Args:
      source: another run's folder, or a store's file, which may be in use; None: no answers.
      path: the new run's folder.
      config: the new run's.
    Raises:
      PrefrlError: there are no answers there, or they do not fit the run.
      MachineError: they cannot be read or copied.
    """
    if source is None:
        if asks_nobody(config):
            raise PrefrlError(
                f"--labeler {config.labels.labeler} trains on answers given earlier, and a new run "
                "has none: name a run that has with --answers RUN"
            )
        yield None
        return
    beside = next(folder for folder in path.absolute().parents if folder.is_dir())
    with TemporaryDirectory(prefix=".answers-", dir=beside) as folder:
        copied = Path(folder) / "store.sqlite"
        _copy(_store_in(source), copied)
        try:
            _check(copied, config, source)
        except PrefrlError as error:  # what is wrong with the copy is wrong with the original
            raise type(error)(str(error).replace(str(copied), str(source))) from None
        yield copied


def _store_in(source: Path) -> Path:
    store = RunDir(source).store_path if source.is_dir() else source
    if not source.exists():
        raise PrefrlError(f"no run and no store {source}: check the path (--answers)")
    if not store.exists():
        raise PrefrlError(f"{source} holds no answers (no {store.name}): name another (--answers)")
    return store


def _copy(store: Path, copied: Path) -> None:
    """By SQLite itself, as of one moment, whoever writes to it meanwhile."""
    there = f"{store.resolve().as_uri()}?mode=rw"  # "ro" leaves files beside it
    try:
        with (
            closing(sqlite3.connect(there, BUSY_SECONDS, uri=True)) as old,
            closing(sqlite3.connect(copied)) as new,
        ):
            old.backup(new)
    except sqlite3.OperationalError as error:
        raise MachineError(
            f"{store} cannot be copied ({error}): check the permissions of it and its folder, and "
            "the room on the disk"
        ) from error
    except sqlite3.DatabaseError as error:
        raise PrefrlError(
            f"{store} is no comparison store ({error}): name a run folder or its store.sqlite "
            "(--answers)"
        ) from error


def _check(copied: Path, config: RunConfig, source: Path) -> None:
    with ComparisonStore(copied) as store:
        # A lease in the copy is nobody's: it has run out, whatever it says.
        store.expire(before_step=sys.maxsize, now=math.inf)
        usable = [row for row in store.answer_log() if row.preference.p_left is not None]
        least = MIN_COMPARISONS if asks_nobody(config) else 1
        if len(usable) < least:
            raise PrefrlError(
                f"{source} holds {len(usable)} answers to learn from, and there must be at "
                f"least {least}: name a run that has more (--answers), or answer some first"
            )
        newest = store.query(usable[-1].query_id)
    with closing(build_env(replace(config.env, vec="dummy", n_envs=1), config.seed, 1)) as env:
        for segment in (newest.left, newest.right):
            _check_segment(segment, env, config, source)


def _check_segment(segment: Segment, env: Recorder, config: RunConfig, source: Path) -> None:
    sides = (
        ("observations", segment.obs, env.observation_space),
        ("actions", segment.actions, env.action_space),
    )
    for what, seen, space in sides:
        if not _fits(seen, space):
            raise PrefrlError(
                f"{source} is of another environment than {config.env.id}: its {what} have "
                f"shape {seen.shape[1:]} and must be from {space}; name a run of the same "
                "environment (--answers)"
            )
    length = config.labels.segment_length
    if len(segment) != length:
        raise PrefrlError(
            f"the segments in {source} have {len(segment)} steps, this run's would have {length}: "
            f"--segment-length {len(segment)} makes them alike"
        )


def _fits(seen: Array, space: gym.Space[Any]) -> bool:
    """Whether steps (T, ...) can be a space's: by shape, and by number where they are few."""
    if isinstance(space, gym.spaces.Discrete):
        whole = np.issubdtype(seen.dtype, np.integer)
        return seen.ndim == 1 and whole and bool(((seen >= 0) & (seen < space.n)).all())
    return seen.shape[1:] == space.shape


def check_used(config: RunConfig, run: RunDir, state: Mapping[str, Any]) -> None:
    """Refuse to go on with a run without steps left whose reward lacks answers of people.

    What its own simulated labeler answered at the very end is no news.

    Args:
      config: what it would go on with; the folder has its old one still.
      state: of its newest checkpoint.
    Raises:
      PrefrlError: names the remedy.
    """
    step, fitted_to = state.get("step", 0), state.get("progress", {}).get("fitted_to")
    if step < config.steps or fitted_to is None:  # None: an earlier version did not write it down
        return
    with ComparisonStore(run.store_path) as store:
        names = [row.labeler for row in store.answer_log() if row.id > fitted_to]
    build = LABELERS.get(run.config().labels.labeler) if names else None
    labeler = build(default_rng(0)) if build else None
    if labeler and labeler.immediate:
        names = [name for name in names if name != labeler.name]
    if new := len(names):
        more = max(config.steps * 3 // 2, step * 5 // 4)
        raise PrefrlError(
            f"all {config.steps:,} steps are used; {new} new answers wait: --steps {more} trains "
            "on with them"
        )
