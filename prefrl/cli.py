"""The command line: arguments in, exit status out (0 done, 1 the machine, 2 the user)."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from prefrl import commands
from prefrl.cli_train import Train
from prefrl.config import PICTURE_SIZE
from prefrl.ranges import Range, check_ranges
from prefrl.rundir import RunDir
from prefrl.types import MachineError, PrefrlError

RunFolder = Annotated[Positional[Path], arg(metavar="RUN")]


@dataclass(frozen=True)
class Eval:
    """Evaluate a run: true return, normalised score, quality of the reward model, leak audit."""

    run: RunFolder
    """Folder of the run."""
    reference: bool = False
    """Train the same agent on the true reward if no reference is known."""
    leak_audit: bool = False
    """Train the same agent on constant and random rewards as well."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self, console: Console) -> None:
        run = RunDir.open(self.run)
        commands.evaluate(run, console, self.reference, self.leak_audit)
        commands.report(run, console)


@dataclass(frozen=True)
class Report:
    """Write a run's page: one self-contained HTML file with every plot."""

    run: RunFolder
    """Folder of the run."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self, console: Console) -> None:
        commands.report(RunDir.open(self.run), console)


@dataclass(frozen=True)
class Video:
    """Film a run's policy, with the predicted reward as a bar beside it, in real time."""

    run: RunFolder
    """Folder of the run."""
    out: Annotated[Path | None, arg(help_behavior_hint="(default: in RUN/videos/)")] = None
    """File of the film; its suffix chooses the format."""
    seconds: Annotated[float, Range(0.1, 3600)] = 20
    """Length of the film; it shows one episode after another."""
    seed: Annotated[int, Range(0, 2**31)] = 0
    """Seed of the episodes."""
    format: Annotated[str | None, arg(help_behavior_hint="(default: mp4)")] = None
    """mp4, gif or both."""
    fps: Annotated[float | None, Range(1, 120), arg(help_behavior_hint="(default: 30, gif 15)")] = (
        None
    )
    """Most frames per second: steps are skipped so that the film keeps real time."""
    size: Annotated[int, PICTURE_SIZE] = 480
    """Longest side of the picture without the bars, in pixels; of a gif 320 at most."""
    deterministic: bool = False
    """Use the policy's mean actions instead of samples."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self, console: Console) -> None:
        commands.video(
            RunDir.open(self.run),
            console,
            out=self.out,
            format=self.format,
            seconds=self.seconds,
            fps=self.fps,
            size=self.size,
            seed=self.seed,
            deterministic=self.deterministic,
        )


@dataclass(frozen=True)
class Watch:
    """Show a run's policy live in a window, with the predicted reward as a bar beside it."""

    run: RunFolder
    """Folder of the run."""
    seed: Annotated[int, Range(0, 2**31)] = 0
    """Seed of the episodes."""
    size: Annotated[int, PICTURE_SIZE] = 480
    """Longest side of the picture without the bars, in pixels."""
    deterministic: bool = False
    """Use the policy's mean actions instead of samples."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self, console: Console) -> None:
        commands.watch(
            RunDir.open(self.run),
            console,
            size=self.size,
            seed=self.seed,
            deterministic=self.deterministic,
        )


@dataclass(frozen=True)
class Label:
    """Compare pairs of clips in a window, for a run that is training or finished."""

    run: RunFolder
    """Folder of the run."""
    name: Annotated[str | None, arg(help_behavior_hint="(default: your user name)")] = None
    """Your name, stored with your answers."""
    instruction: Annotated[str | None, arg(help_behavior_hint="(default: the run's)")] = None
    """What to choose by; stored in the run's configuration."""
    size: Annotated[
        int | None, PICTURE_SIZE, arg(help_behavior_hint="(default: viewer.size, 480)")
    ] = None
    """Side of the pictures that MuJoCo draws, in pixels; other environments set their own size."""
    queries: Annotated[int, Range(0, 100_000)] = 100
    """Queries to add about the newest checkpoint where none are left and nothing is training."""
    review: bool = False
    """Page through the answers instead, the ones that most surprise the ensemble first."""
    last: Annotated[int, Range(1, 100_000)] = 200
    """Latest answers that a review goes through."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self, console: Console) -> None:
        commands.label(
            RunDir.open(self.run),
            console,
            name=self.name,
            instruction=self.instruction,
            size=self.size,
            queries=self.queries,
            review=self.review,
            last=self.last,
        )


@dataclass(frozen=True)
class Envs:
    """List the environments that have presets."""

    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self, console: Console) -> None:
        commands.list_envs(console)


@dataclass(frozen=True)
class Bench:
    """Measure the missing rows of a committed study, or all of them again."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """references, loop, labels, environments, backflip, one-leg, grasp, atari, public, ablations,
    teachers, gate, agents, overhead, speed, rendering or viewer."""
    quick: bool = False
    """A short version in minutes, written beside the committed result, never over it."""
    jobs: Annotated[int, Range(1)] = 1
    """Rows trained side by side."""
    again: bool = False
    """Measure every row again, the committed ones too."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self, console: Console) -> None:
        commands.bench(self.name, console, self.quick, self.jobs, self.again)


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "label": Label,
    "watch": Watch,
    "video": Video,
    "eval": Eval,
    "report": Report,
    "envs": Envs,
    "bench": Bench,
}


_REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: ": free some disk space",
    errno.EDQUOT: ": free some disk space",
    errno.EACCES: ": check the permissions",
    errno.EPERM: ": check the permissions",
    errno.EROFS: ": check the permissions",
}
"""What to do about errors of the operating system, by number."""


class _Console(Console):
    """Console whose output may be cut off: `prefrl train ... | head` trains on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _silence_stdout()


def _silence_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    console = _Console(width=None if sys.stdout.isatty() else 120, markup=False)
    argv = list(sys.argv[1:] if args is None else args)
    if argv == ["--version"]:
        console.print(f"prefrl {version('prefrl')}", highlight=False)
        return 0
    if "--debug" not in argv:
        threading.excepthook = _leave_to_the_main_thread
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            args=argv or ["--help"],
            prog="prefrl",
            description="Agents that learn what you like. (--version says which prefrl this is.)",
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
        )
        check_ranges(command, "--")
        command(console)
    except KeyboardInterrupt as stop:
        console.print(str(stop) or "stopped", soft_wrap=True, markup=False, highlight=False)
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except (PrefrlError, OSError) as error:
        if "--debug" in argv:
            raise
        remedy = _REMEDIES.get(error.errno, "") if isinstance(error, OSError) else ""
        message = "\n".join([f"prefrl: {error}{remedy}", *getattr(error, "__notes__", [])])
        Console(stderr=True).print(message, soft_wrap=True, markup=False, highlight=False)
        return 1 if isinstance(error, MachineError | OSError) else 2
    return 0


def _leave_to_the_main_thread(args: threading.ExceptHookArgs) -> None:
    """TensorBoard's writer thread prints a full disk's trace and tells the main thread as well."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)
