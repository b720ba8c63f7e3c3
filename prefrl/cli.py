"""The command line: arguments in, exit status out (0 done, 1 the machine, 2 the user)."""

from __future__ import annotations

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
    """True return, normalised score, predictor quality and leak audit of a run."""

    run: RunFolder
    """A run's folder."""
    reference: bool = False
    """Train the same agent on the true reward where no reference is known."""
    leak_audit: bool = False
    """Train the same agent on constant and random rewards too."""
    debug: bool = False
    """Show the trace of an error."""

    def __call__(self, console: Console) -> None:
        run = RunDir.open(self.run)
        commands.evaluate(run, console, self.reference, self.leak_audit)
        commands.report(run, console)


@dataclass(frozen=True)
class Report:
    """Write a run's page: one self-contained HTML file with every plot."""

    run: RunFolder
    """A run's folder."""
    debug: bool = False
    """Show the trace of an error."""

    def __call__(self, console: Console) -> None:
        commands.report(RunDir.open(self.run), console)


@dataclass(frozen=True)
class Video:
    """Film a run's policy, with the predicted reward as a bar beside it, in real time."""

    run: RunFolder
    """A run's folder."""
    out: Annotated[Path | None, arg(help_behavior_hint="(default: in RUN/videos/)")] = None
    """The film's file; its suffix says which format."""
    seconds: Annotated[float, Range(0.1, 3600)] = 20
    """How long it is; episode follows episode."""
    seed: Annotated[int, Range(0, 2**31)] = 0
    """Other episodes."""
    format: Annotated[str | None, arg(help_behavior_hint="(default: mp4)")] = None
    """mp4, gif or both."""
    fps: Annotated[float | None, Range(1, 120), arg(help_behavior_hint="(default: 30, gif 15)")] = (
        None
    )
    """Pictures in a second, at most: steps are left out, and the pace stays."""
    size: Annotated[int, PICTURE_SIZE] = 480
    """Longer side of the picture without the bars, at most, in pixels; a gif's is 320 at most."""
    deterministic: bool = False
    """Take the policy's mean actions instead of samples."""
    debug: bool = False
    """Show the trace of an error."""

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
    """A run's folder."""
    seed: Annotated[int, Range(0, 2**31)] = 0
    """Other episodes."""
    size: Annotated[int, PICTURE_SIZE] = 480
    """Longer side of the picture without the bars, at most, in pixels."""
    deterministic: bool = False
    """Take the policy's mean actions instead of samples."""
    debug: bool = False
    """Show the trace of an error."""

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
    """Watch two clips and pick, in a window: on a run that trains, or on one that is finished."""

    run: RunFolder
    """A run's folder."""
    name: Annotated[str | None, arg(help_behavior_hint="(default: your user name)")] = None
    """Who you are; it is written beside your answers."""
    instruction: Annotated[str | None, arg(help_behavior_hint="(default: the run's)")] = None
    """What to choose by; kept in the run's configuration."""
    size: Annotated[
        int | None, PICTURE_SIZE, arg(help_behavior_hint="(default: viewer.size, 480)")
    ] = None
    """Side of a picture that MuJoCo draws, in pixels; others have a size of their own."""
    queries: Annotated[int, Range(0, 100_000)] = 100
    """Where nothing is left to answer and nobody trains: queries about the newest checkpoint."""
    review: bool = False
    """Page through the answers instead, those first that the ensemble least expects."""
    last: Annotated[int, Range(1, 100_000)] = 200
    """How many of the latest answers a review goes through."""
    debug: bool = False
    """Show the trace of an error."""

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
    """What can be trained, with presets."""

    debug: bool = False
    """Show the trace of an error."""

    def __call__(self, console: Console) -> None:
        commands.list_envs(console)


@dataclass(frozen=True)
class Bench:
    """Measure what a committed study lacks, or all of it anew."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """references, loop, labels, environments, backflip, one-leg, grasp, atari, public, ablations,
    teachers, gate, agents, overhead, speed, rendering or viewer."""
    quick: bool = False
    """The same code in minutes, written beside the committed result and never over it."""
    jobs: Annotated[int, Range(1)] = 1
    """Rows trained side by side."""
    again: bool = False
    """Measure every row anew, those of the committed result too."""
    debug: bool = False
    """Show the trace of an error."""

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


class _Console(Console):
    """One that nobody need read to the end: `prefrl train ... | head` trains on."""

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
        remedy = "" if isinstance(error, PrefrlError) else ": make room or mend permissions there"
        message = "\n".join([f"prefrl: {error}{remedy}", *getattr(error, "__notes__", [])])
        Console(stderr=True).print(message, soft_wrap=True, markup=False, highlight=False)
        return 1 if isinstance(error, MachineError | OSError) else 2
    return 0


def _leave_to_the_main_thread(args: threading.ExceptHookArgs) -> None:
    """TensorBoard's writer thread prints a full disk's trace and tells the main thread as well."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)
