"""A run is a folder: its paths, its lock, what it says about itself."""

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
"""A lock that is held for no longer is that of somebody who looks whether a trainer runs."""


@dataclass
class RunDir:
    """Paths of a run folder; all that resuming, labelling and reporting need is in it."""

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
        """Where a background fit leaves its weights."""
        return self.checkpoints / "fitted.safetensors"

    @classmethod
    def create(cls, path: Path, config: RunConfig, answers: Path | None = None) -> RunDir:
        """A new run folder, locked.

        Args:
          answers: a store's file; it is moved there, and the run begins with what it holds.
        Raises:
          PrefrlError: there is a run already, or there are other answers.
        """
        run = cls(path)
        if run.config_path.exists():
            raise PrefrlError(
                f"{path} already holds a run: `prefrl train --resume {path}` goes on with it, "
                "--run names another folder"
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
                    f"{folder} cannot be a folder, there is a file: move it away, or name "
                    "another with --run"
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
                "looks for queries: wait for it or stop it, or name another folder with --run"
            )

    def lock_if_free(self) -> bool:
        """Like `lock`, and says whether nobody else had it."""
        free = shutil.disk_usage(self.path).free
        if free < _LEAST_FREE:
            raise MachineError(
                f"{self.path} has {free // 2**20} MiB left on its disk: make room, or name "
                "another folder with --run"
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
    """Whether a lock was free, and is now this file's."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def new_run_path(root: Path, env_id: str, seed: int) -> Path:
    """A folder that is not there yet: runs/halfcheetah-v5-seed0, ...-2, ..."""
    stem = f"{env_id.rpartition('/')[2].lower()}-seed{seed}"
    path, number = root / stem, 2
    while path.exists():
        path, number = root / f"{stem}-{number}", number + 1
    return path


def versions() -> Mapping[str, str]:
    """What a run was made with."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"commit": commit()}


def commit() -> str:
    """The commit of the source tree that runs, "-dirty" when it was changed; or "".

    What a study writes about itself is no change of the source.
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
    return head + "-dirty" * dirty


def write_whole(path: Path, text: str) -> None:
    """A text file that a reader finds whole or not at all, whenever the writer is killed."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: numpy's numbers become plain ones, and what is not finite null."""
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
    """A JSON object, or an empty one where there is no file or a damaged one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content
