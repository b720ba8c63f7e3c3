"""The command line: arguments in, exit status out (0 done, 1 the machine, 2 the user)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from prefrl import commands
from prefrl.config import (
    PICTURE_SIZE,
    AgentConfig,
    RunConfig,
    from_mapping,
    load,
    merged,
    parse_override,
    presets,
)
from prefrl.ranges import Range, check_ranges
from prefrl.rundir import RunDir, new_run_path
from prefrl.types import MachineError, PrefrlError

RunFolder = Annotated[Positional[Path], arg(metavar="RUN")]
Unset = arg(help_behavior_hint="(default: none)")
_USUAL = RunConfig()


def _usual(value: object) -> Any:
    return arg(help_behavior_hint=f"(default: {value}, or the preset's)")


@dataclass(frozen=True)
class Train:
    """Train an agent on preferences. What is not given comes from the environment's preset."""

    env: Annotated[Positional[str], arg(metavar="[ENV]", help_behavior_hint="(default: none)")] = ""
    """A Gymnasium id; `prefrl envs` lists those with presets."""
    config: Annotated[Path | None, Unset] = None
    """A TOML file, in place of the preset."""
    resume: Annotated[Path | None, Unset] = None
    """Go on with this run folder."""
    run: Annotated[Path | None, arg(help_behavior_hint="(default: a new one in runs/)")] = None
    """Folder of the new run."""
    labeler: Annotated[str | None, _usual(_USUAL.labels.labeler)] = None
    """oracle, stochastic, mistake, myopic, skip, equal, shuffled; human: people, through the run's
    store; store: nobody, the answers given earlier are all there is; or one of your own."""
    answers: Annotated[Path | None, Unset] = None
    """A run folder, or a store's file, whose answers the new run begins with."""
    labels: Annotated[int | None, _usual(_USUAL.labels.budget)] = None
    """Label budget over the whole run."""
    schedule: Annotated[str | None, _usual(_USUAL.labels.schedule)] = None
    """hyperbolic, constant or all-at-start."""
    strategy: Annotated[str | None, _usual(_USUAL.labels.strategy)] = None
    """How queries are chosen: disagreement, mutual-information, uniform, ..."""
    ask_above: Annotated[float | None, _usual(_USUAL.labels.ask_above)] = None
    """The gate: least disagreement, 0 to 0.5, at which a query is asked."""
    segment_length: Annotated[int | None, _usual(_USUAL.labels.segment_length)] = None
    """Steps of a segment."""
    agent: Annotated[str | None, _usual(_USUAL.agent.name)] = None
    """ppo, sb3-ppo (the same, slower), a2c, trpo, reinforce or sac."""
    steps: Annotated[int | None, _usual(_USUAL.steps)] = None
    """Environment steps in all."""
    fit: Annotated[str | None, _usual(_USUAL.reward.fit)] = None
    """async: the reward is fitted in a second process; sync: repeatable, in this one."""
    n_envs: Annotated[int | None, _usual(_USUAL.env.n_envs)] = None
    """Copies of the environment."""
    vec: Annotated[str | None, _usual(_USUAL.env.vec)] = None
    """How they are stepped: auto, dummy, subproc, or envpool, on Linux."""
    env_module: Annotated[str | None, Unset] = None
    """A module to import first, so that it can register environments, labelers, ..."""
    seed: Annotated[int | None, _usual(_USUAL.seed)] = None
    """All randomness derives from it."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Any other key of the configuration: --set reward.members=5."""
    debug: bool = False
    """Show the trace of an error."""

    def __call__(self, console: Console) -> None:
        if self.resume:
            self._go_on(self.resume, console)
        else:
            self._begin(console)

    def _go_on(self, folder: Path, console: Console) -> None:
        if self.env or self.config or self.run:
            raise PrefrlError(
                f"--resume {folder} knows its environment and its folder: leave out "
                "ENV, --config and --run"
            )
        if self.answers:
            raise PrefrlError(
                f"--resume {folder} has answers of its own: leave out --answers, which "
                "new runs begin with"
            )
        with RunDir.open(folder) as run:
            run.lock()
            config = from_mapping(self._overrides(), run.config())
            _must_match(run.config(), config)
            from prefrl.answers import check_used
            from prefrl.run import check

            check(config)
            check_used(config, run)
            run.write_config(config)
            commands.train(config, run, console)

    def _begin(self, console: Console) -> None:
        config = self._new_config()
        path = self.run or new_run_path(Path("runs"), config.env.id, config.seed)
        from prefrl.answers import answers_from
        from prefrl.run import check

        check(config)  # before a folder is made for it
        with answers_from(self.answers, path, config) as answers:
            run = RunDir.create(path, config, answers)
        with run:
            commands.train(config, run, console)

    def _new_config(self) -> RunConfig:
        base = self._base()
        if self.agent not in (None, base.agent.name):
            base = replace(base, agent=AgentConfig())  # a preset's settings are its own agent's
        return from_mapping(self._overrides(), base)

    def _base(self) -> RunConfig:
        if self.config:
            if self.env:
                raise PrefrlError(
                    f"--config {self.config} names its own environment: leave out {self.env}, or "
                    f"change it with --set env.id={self.env}"
                )
            config = load(self.config)
            if not config.env.id and not any("env.id" in text for text in self.set):
                raise PrefrlError(
                    f"{self.config} names no environment: add id under [env], or --set env.id=..."
                )
            return config
        if not self.env:
            raise PrefrlError(
                "nothing to train: name an ENV (`prefrl envs`), a --config or a --resume RUN"
            )
        path = presets().get(self.env.removeprefix("envs:"))
        return load(path) if path else from_mapping(_general(self.env))

    def _overrides(self) -> dict[str, Any]:
        given = {
            ("env", "module"): self.env_module,
            ("env", "n_envs"): self.n_envs,
            ("env", "vec"): self.vec,
            ("labels", "labeler"): self.labeler,
            ("labels", "budget"): self.labels,
            ("labels", "schedule"): self.schedule,
            ("labels", "strategy"): self.strategy,
            ("labels", "ask_above"): self.ask_above,
            ("labels", "segment_length"): self.segment_length,
            ("reward", "fit"): self.fit,
            ("agent", "name"): self.agent,
        }
        tables: dict[str, Any] = {}
        for (section, key), value in given.items():
            if value is not None:
                tables.setdefault(section, {})[key] = value
        for name in ("steps", "seed"):
            if (value := getattr(self, name)) is not None:
                tables[name] = value
        for text in self.set:
            tables = merged(tables, parse_override(text))
        return tables


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
    """Run a committed study again."""

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


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    argv = list(sys.argv[1:] if args is None else args)
    if "--debug" not in argv:
        threading.excepthook = _leave_to_the_main_thread
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            args=argv or ["--help"],
            prog="prefrl",
            description="Agents that learn what you like.",
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
        )
        check_ranges(command, "--")
        command(console)
    except KeyboardInterrupt as stop:
        console.print(str(stop) or "stopped", soft_wrap=True, markup=False, highlight=False)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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


def _general(env_id: str) -> dict[str, Any]:
    """Settings for an environment without a preset."""
    return {"env": {"id": env_id}, "agent": {"kwargs": {"n_steps": 256}}}


def _must_match(old: RunConfig, new: RunConfig) -> None:
    old = replace(  # any of these goes on
        old,
        env=replace(old.env, vec=new.env.vec),
        reward=replace(old.reward, fit=new.reward.fit),
    )
    for name in ("env", "agent", "reward", "seed"):
        if getattr(old, name) != getattr(new, name):
            raise PrefrlError(
                f"--resume keeps the run's {name} settings: start a new run to change them"
            )
    if old.labels.segment_length != new.labels.segment_length:
        raise PrefrlError(
            f"--resume keeps the run's segments of {old.labels.segment_length} steps: start a "
            "new run to change --segment-length"
        )
