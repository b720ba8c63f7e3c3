"""What the tests share: one torch thread, small segments and ensembles, the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import settings

from prefrl.cli import main
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.types import Array, Segment

FIXTURES = Path(__file__).resolve().parent / "fixtures"
CHECKOUT = Path(__file__).resolve().parent.parent  # what is tested, whatever is installed
# A test run in the background may have been told to ignore Ctrl-C, and its children with it.
PREFRL = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from prefrl.cli import main; sys.exit(main())"
)

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("prefrl", deadline=None, max_examples=50)
settings.load_profile("prefrl")

torch.set_num_threads(1)
sys.path.append(str(FIXTURES))  # what several test files share is there


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Again before each test: training sets the number of threads too."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def segment_of() -> Callable[..., Segment]:
    """Builds a segment from its observations (T, D) and, where they matter, its true rewards."""

    def build(
        obs: Array | Sequence[Any],
        true_rewards: Array | Sequence[float] | None = None,
        actions: Array | None = None,
    ) -> Segment:
        states = np.asarray(obs, dtype=np.float32)
        steps = len(states)
        rewards = np.zeros(steps) if true_rewards is None else np.asarray(true_rewards)
        taken = np.zeros((steps, 1), dtype=np.float32) if actions is None else actions
        return Segment(states, taken, rewards)

    return build


@pytest.fixture(scope="session")
def ensemble_of() -> Callable[..., RewardEnsemble]:
    """Builds an ensemble on D-vectors and actions of one number, scaled unless told otherwise."""

    def build(
        obs_size: int = 3,
        scaled: bool = True,
        seed: int = 0,
        action_space: gym.Space[Any] | None = None,
        **kwargs: Any,
    ) -> RewardEnsemble:
        observation = spaces.Box(-np.inf, np.inf, (obs_size,), np.float32)
        action = action_space or spaces.Box(-2, 2, (1,), np.float32)
        generator = torch.Generator().manual_seed(seed)
        kwargs = {"hidden": (8,)} | kwargs
        ensemble = RewardEnsemble(observation, action, generator=generator, **kwargs)
        if scaled:
            rows = torch.randn(256, ensemble.input_mean.numel(), generator=generator)
            ensemble.set_inputs(rows)
            ensemble.set_scale(rows)
        return ensemble

    return build


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    out: str
    err: str


@pytest.fixture
def prefrl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs `prefrl ...` in this process and in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(FIXTURES)

    def run(*words: str) -> Outcome:
        try:
            status = main(words)
        except SystemExit as end:
            assert isinstance(end.code, int)
            status = end.code
        return Outcome(status, *capsys.readouterr())

    return run


@dataclass(frozen=True)
class Started:
    """A command that runs in a process of its own, the leader of a process group."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self, seconds: float = 240) -> int:
        return self.process.wait(seconds)

    def signal_all(self, number: signal.Signals) -> None:
        """To the process and its children, as a terminal sends Ctrl-C."""
        os.killpg(self.process.pid, number)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts `prefrl ...` in a folder of the test's own; nothing of it outlives the test."""
    started: list[Started] = []

    def run(*words: str, path: Sequence[Path] = (FIXTURES,), **environ: str) -> Started:
        log = tmp_path / f"output-{len(started)}.txt"
        env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (CHECKOUT, *path)))} | environ
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", PREFRL, *words],
                cwd=tmp_path,
                env=env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(Started(process, log))
        return started[-1]

    yield run
    for command in started:
        try:
            command.signal_all(signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            command.process.wait()
