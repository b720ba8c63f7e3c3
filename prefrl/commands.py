"""The subcommands of `prefrl`; `cli.py` parses arguments and calls these."""

from __future__ import annotations

import getpass
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from prefrl.config import RunConfig
from prefrl.names import choose
from prefrl.rundir import RunDir
from prefrl.types import NewRunNeeded, PrefrlError

if TYPE_CHECKING:
    from prefrl.render import SegmentRenderer
    from prefrl.render.play import Step


def check(config: RunConfig) -> None:
    """Refuse what cannot train, or could not be shown to people, before a run folder is made.

    Raises:
      PrefrlError: names the value and the remedy.
    """
    from prefrl.run import check as check_run

    check_run(config)
    if config.labels.labeler == "human":
        from prefrl.render.segments import check_drawn
        from viewer.keys import bindings

        bindings(config.viewer.keys)
        check_drawn(config.env.id, config.env.kwargs, config.env.module)


def train(config: RunConfig, run: RunDir, console: Console) -> Path:
    """Train, evaluate and report a run.

    Args:
      run: locked by this process.
    Returns:
      The report's path.
    """
    from prefrl.answers import asks_nobody
    from prefrl.progress import TrainingProgress
    from prefrl.run import train as run_loop

    labels = f"{config.labels.budget} labels from {config.labels.labeler}"
    if asks_nobody(config):
        labels = "on answers given earlier"
    console.print(
        f"{config.env.id}: {config.steps:,} steps, {labels}, in {run.path}",
        soft_wrap=True,
        highlight=False,
    )
    resumes = f"`prefrl train --resume {run.path}` goes on with it"
    try:
        with (
            TrainingProgress(config.steps, console, run.path) as progress,
            _window(config, run, console),
        ):
            run_loop(config, run, progress.on_pass, progress.on_wait)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {resumes}") from None
    except (PrefrlError, OSError) as error:
        if not isinstance(error, NewRunNeeded):
            error.add_note(f"the run and its answers are kept: {resumes}")
        raise
    evaluate(run, console)
    return report(run, console)


def _window(config: RunConfig, run: RunDir, console: Console) -> AbstractContextManager[None]:
    from prefrl.label_window import label_window

    return label_window(run, console) if config.labels.labeler == "human" else nullcontext()


def evaluate(run: RunDir, console: Console, reference: bool = False, leaks: bool = False) -> None:
    """Evaluate a run's newest checkpoint into its evaluation.json, and print what is found.

    Args:
      reference: train RL on the true reward where no reference is known.
      leaks: train on rewards that know nothing as well.
    """
    from prefrl.evaluation import evaluate_run

    evaluate_run(
        run,
        reference,
        leaks,
        say=lambda line: console.print(line, soft_wrap=True, highlight=False),
    )


def report(run: RunDir, console: Console) -> Path:
    """Write the run's page; returns its path."""
    from prefrl.report import write_report

    page = write_report(run.path)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
    return page


def video(
    run: RunDir,
    console: Console,
    *,
    out: Path | None,
    format: str | None,
    seconds: float,
    fps: float | None,
    size: int,
    seed: int,
    deterministic: bool,
) -> None:
    """Film the policy of a run's newest checkpoint, with its reward bars."""
    from prefrl.render.film import FORMATS, film_paths, write_film
    from prefrl.run import newest_checkpoint

    checkpoint = newest_checkpoint(run)
    if out is None or out.is_dir():
        out = (out or run.path / "videos") / f"{checkpoint.stem}-seed{seed}"
    paths = film_paths(out, format)
    with _renderer(run, size) as renderer:
        console.print(
            f"{run.path}: {seconds:g} s of checkpoint {checkpoint.name}{_drawn_with(renderer)}",
            soft_wrap=True,
            highlight=False,
        )
        with _playing(run.config(), checkpoint, seed, deterministic) as endless:
            steps = list(islice(endless, round(seconds * renderer.fps) or 1))
        for name, path in paths.items():
            kind = FORMATS[name]
            rate, (width, height) = write_film(path, kind, steps, renderer, fps or kind.fps, size)
            console.print(
                f"written: {path} ({width}x{height}, {rate:.3g} frames/s, "
                f"{path.stat().st_size / 2**20:.1f} MiB)",
                soft_wrap=True,
                highlight=False,
            )


def watch(run: RunDir, console: Console, *, size: int, seed: int, deterministic: bool) -> None:
    """Show the policy of a run's newest checkpoint in a window, with its reward bars."""
    from prefrl.render.window import Playback, display, show
    from prefrl.run import newest_checkpoint

    checkpoint = newest_checkpoint(run)
    shown = f"checkpoint {checkpoint.name}"
    film = f"film the agent: prefrl video {run.path}"
    with display(f"{run.path}, {shown}", film), _renderer(run, size) as renderer:
        console.print(
            f"{run.path}: {shown}{_drawn_with(renderer)}; Space pauses, Escape closes the window",
            soft_wrap=True,
            highlight=False,
        )
        with _playing(run.config(), checkpoint, seed, deterministic) as endless:
            show(Playback(endless, renderer, size))


def label(
    run: RunDir,
    console: Console,
    *,
    name: str | None,
    instruction: str | None,
    size: int | None,
    queries: int,
    review: bool,
    last: int,
) -> None:
    """Open the window in which a person labels, or pages through answers."""
    from viewer import label as viewer

    if instruction is not None:
        viewer.set_instruction(run, instruction)
    if size is None:
        size = run.config().viewer.size
    options = viewer.Options(name or _user_name(), size, queries, last)
    (viewer.review if review else viewer.label)(run, console, options)


def _user_name() -> str:
    """Name of a person who labels and gives none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "human"


def _renderer(run: RunDir, size: int) -> SegmentRenderer:
    """The run's renderer; made before the agent is loaded, to fail early."""
    from prefrl.render import SegmentRenderer

    env = run.config().env
    return SegmentRenderer(env.id, env.kwargs, env.module, size)


def _drawn_with(renderer: SegmentRenderer) -> str:
    return f", drawn with {renderer.backend}" if renderer.backend else ""


def _playing(
    config: RunConfig, checkpoint: Path, seed: int, deterministic: bool
) -> closing[Generator[Step]]:
    """Steps of the checkpoint's policy, in episodes whose seeds no training run uses."""
    from prefrl.evaluate import EVAL_SEED
    from prefrl.render.play import play
    from prefrl.run import load_trained

    agent, reward = load_trained(config, checkpoint)
    return closing(play(agent, reward, config.env, EVAL_SEED + seed, deterministic))


def list_envs(console: Console) -> None:
    """Print a table of the environments with presets."""
    from rich.table import Table

    from prefrl.config import load, presets

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("environment", "observation", "action", "segment", "labels", "steps"):
        number = name in ("segment", "labels", "steps")
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    table.add_column("what the oracle compares")
    for path in presets().values():
        table.add_row(*_described(load(path)))
    console.print(table)
    console.print(
        "Their presets are in runs/configs/. Any other Gymnasium environment with Box or Discrete "
        "spaces can be trained with general settings: prefrl train ENV (--env-module for one of "
        "your own). Any other Atari game: prefrl/Atari-v0 with --set env.kwargs.game=ms_pacman.",
        highlight=False,
        soft_wrap=not console.is_terminal,
    )


def _described(config: RunConfig) -> tuple[str, ...]:
    """A preset's row in the table of `prefrl envs`."""
    from prefrl.environments import make_single

    env = make_single(config.env.id, config.env.kwargs, config.env.module)
    length, fps = config.labels.segment_length, env.metadata.get("render_fps")
    seconds = f" ({length / fps:.1f} s)" if fps else ""
    described = (
        config.env.id,
        _space(env.observation_space),
        _space(env.action_space),
        f"{length}{seconds}",
        str(config.labels.budget),
        f"{config.steps:,}",
        str(env.metadata.get("true_reward", "the environment's reward")),
    )
    env.close()
    return described


def _space(space: Any) -> str:
    """Shape of a Box, "1 of n" for a Discrete space."""
    return f"1 of {space.n}" if hasattr(space, "n") else "x".join(map(str, space.shape))


def bench(name: str, console: Console, quick: bool, jobs: int, again: bool) -> None:
    """Run a committed study."""
    from prefrl.bench import STUDIES

    choose(STUDIES, name, "study")(console, quick, jobs, again)
