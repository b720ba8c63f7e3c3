"""Run folders: their paths, their lock, and the files in them."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import math
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import tomli_w

from prefrl.config import RunConfig, load, to_mapping
from prefrl.files import whole_file
from prefrl.types import MachineError, PrefrlError

_PACKAGES = (
    "prefrl",
    "torch",
    "stable-baselines3",
    "sb3-contrib",
    "gymnasium",
    "mujoco",
    "envpool",
    "numpy",
)
_LEAST_FREE = 50 * 2**20  # bytes
_GLANCE_SECONDS = 0.2
"""Longest that a process which only checks for a trainer holds the lock."""


@dataclass
class RunDir:
    """A run folder, which holds all that resuming, labelling and reporting need."""

    path: Path
    _lock: IO[str] | None = field(default=None, repr=False)

    @property
    def config_path(self) -> Path:
        return self.path / "config.toml"

    @property
    def store_path(self) -> Path:
        return self.path / "store.sqlite"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def versions_path(self) -> Path:
        return self.path / "versions.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        return self.path / "report"

    @property
    def evaluation_path(self) -> Path:
        return self.report / "evaluation.json"

    @property
    def fitted_reward(self) -> Path:
        """File in which a background fit leaves its weights."""
        return self.checkpoints / "fitted.safetensors"

    @classmethod
    def create(cls, path: Path, config: RunConfig, answers: Path | None = None) -> RunDir:
        """A new run folder, locked.

        Args:
          answers: a store's file, which is moved into the folder: the run begins with its answers.
        Raises:
          PrefrlError: the folder already holds a run, or other answers.
        """
        run = cls(path)
        if run.config_path.exists():
            raise PrefrlError(
                f"{path} already holds a run: `prefrl train --resume {path}` goes on with it, "
                "or choose another folder with --run"
            )
        run._make_folders()
        run.lock()
        if answers is not None:
            run._take(answers)
        run.write_config(config)
        write_whole(run.versions_path, to_json(versions(), indent=1))
        return run

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run folder, not locked.

        Raises:
          PrefrlError: there is no run.
        """
        run = cls(path)
        if not run.config_path.exists():
            raise PrefrlError(f"{path} holds no run (no config.toml): check the path")
        run._make_folders()
        return run

    def _take(self, answers: Path) -> None:
        if self.store_path.exists():
            self.unlock()
            raise PrefrlError(
                f"{self.store_path} holds answers already: leave out --answers, or name another "
                "folder with --run"
            )
        shutil.move(answers, self.store_path)

    def _make_folders(self) -> None:
        for folder in (self.checkpoints, self.tensorboard, self.report):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except (NotADirectoryError, FileExistsError):
                raise PrefrlError(
                    f"{folder} cannot be a folder, because a file is in the way: move the file, or "
                    "name another with --run"
                ) from None

    def config(self) -> RunConfig:
        return load(self.config_path)

    def write_config(self, config: RunConfig) -> None:
        write_whole(self.config_path, tomli_w.dumps(to_mapping(config)))

    def lock(self) -> None:
        """Keep other trainers out until this process ends, however it ends.

        Raises:
          PrefrlError: another process trains here.
          MachineError: the disk is full.
        """
        if not self.lock_if_free():
            raise PrefrlError(
                f"{self.path} is in use by another `prefrl train`, or by a `prefrl label` that "
                "adds queries: wait for it or stop it, or name another folder with --run"
            )

    def lock_if_free(self) -> bool:
        """Lock the folder as `lock` does; False if another process has it.

        Raises:
          MachineError: the disk is full.
        """
        free = shutil.disk_usage(self.path).free
        if free < _LEAST_FREE:
            raise MachineError(
                f"{self.path} has {free // 2**20} MiB left on its disk: free some disk space, or "
                "name another folder with --run"
            )
        self._lock = self._lock_path.open("w")
        deadline = time.monotonic() + _GLANCE_SECONDS
        while not _locked(self._lock, fcntl.LOCK_EX):
            if time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            self.unlock()
            return False
        return True

    def in_use(self) -> bool:
        """Whether a process trains here now."""
        try:
            with self._lock_path.open() as file:
                return not _locked(file, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    @property
    def _lock_path(self) -> Path:
        return self.path / ".lock"

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def unlock(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None


def _locked(file: IO[str], kind: int) -> bool:
    """Whether this file could be locked at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def new_run_path(root: Path, env_id: str, seed: int) -> Path:
    """Path of a folder that does not exist yet: runs/halfcheetah-v5-seed0, ...-2, ..."""
    stem = f"{env_id.rpartition('/')[2].lower()}-seed{seed}"
    path, number = root / stem, 2
    while path.exists():
        path, number = root / f"{stem}-{number}", number + 1
    return path


def versions() -> Mapping[str, str]:
    """Versions of Python, the platform and the packages that a run depends on, and the commit."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"commit": commit()}


def commit() -> str:
    """Commit of the running source tree, with "-dirty" if it was changed; "" where unknown.

    Results that studies write in runs/benchmarks/ do not count as changes.
    """
    git = ["git", "--no-optional-locks", "-C", str(Path(__file__).resolve().parent)]
    changed = ["diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)runs/benchmarks"]
    try:
        head = subprocess.run(
            [*git, "describe", "--always", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        dirty = subprocess.run([*git, *changed], capture_output=True, check=False).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}-dirty" if dirty else head


def write_whole(path: Path, text: str) -> None:
    """Write a text file that a reader finds whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: numpy values become plain ones, non-finite numbers become null."""
    return json.dumps(_strict(value), indent=indent, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where the file is missing or damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content
