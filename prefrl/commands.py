"""What the subcommands of `prefrl` do; `cli.py` turns arguments into calls of these."""

from __future__ import annotations

import getpass
import math
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.random import default_rng
from rich.console import Console

from prefrl.config import RunConfig
from prefrl.names import choose
from prefrl.rundir import RunDir, read_json, to_json, write_whole
from prefrl.types import NewRunNeeded, PrefrlError

if TYPE_CHECKING:
    from prefrl.render import SegmentRenderer
    from prefrl.render.play import Step


def check(config: RunConfig) -> None:
    """Refuse, before a run folder is made, what cannot train or could not be shown to people.

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
    """Train, evaluate and report; returns the report's path."""
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


def evaluate(
    run: RunDir, console: Console, reference: bool = False, leaks: bool = False
) -> Mapping[str, Any]:
    """True return, normalised score, predictor quality and leak audit into evaluation.json.

    Args:
      reference: train RL on the true reward where nobody has for these settings.
      leaks: train on rewards that know nothing; the file is written after each of them.
    """
    import prefrl.evaluate as ev
    from prefrl import checkpoints
    from prefrl.run import load_trained, newest_checkpoint

    config, checkpoint = run.config(), newest_checkpoint(run)
    agent, reward = load_trained(config, checkpoint)
    returns = ev.true_returns(agent, config, config.eval_episodes)
    result: dict[str, Any] = {
        "step": int(checkpoints.state(checkpoint)["step"]),
        "true_return": float(returns.mean()),
        "true_returns": returns.tolist(),
        "episodes": len(returns),
    }
    console.print(f"true return {returns.mean():,.1f} over {len(returns)} episodes")
    if math.isfinite(result["true_return"]):
        rng = default_rng(ev.EVAL_SEED)
        result["predictor"] = ev.predictor_quality(agent, reward, config, rng)
        console.print(_describe_predictor(result["predictor"]), soft_wrap=True)
    _score(run, result, console, train=reference or leaks)
    write_whole(run.evaluation_path, to_json(result, indent=1))
    for leak in ev.LEAKS if leaks else ():
        console.print(f"training the same agent on {leak}", highlight=False)
        result["leak_audit"][leak] = ev.leak_score(config, leak, ev.Reference(*_levels(result)))
        console.print(f"  score {result['leak_audit'][leak]:.2f}", highlight=False)
        write_whole(run.evaluation_path, to_json(result, indent=1))
    return result


def _score(run: RunDir, result: dict[str, Any], console: Console, train: bool) -> None:
    """The normalised score, by a reference that is committed, known to this run, or trained now.

    With the reference a run keeps its leak audit, whose scores are measured by it.
    """
    import prefrl.evaluate as ev

    config, known = run.config(), read_json(run.evaluation_path)
    key = ev.reference_key(config)
    reference = ev.committed_reference(config)
    measured = known.get("reference_key") == key and None not in _levels(known)
    if reference is None and measured:
        reference = ev.Reference(*_levels(known))
    if reference is None and train:
        console.print("training the same agent on the true reward, to compare with")
        reference = ev.measure_reference(config)
    result |= {"normalised_score": None, "leak_audit": {}}
    if reference is None:
        console.print(
            "no normalised score: these settings have no committed reference; "
            f"`prefrl eval {run.path} --reference` trains one",
            soft_wrap=True,
        )
        return
    score = reference.score(result["true_return"])
    if math.isfinite(score):
        console.print(f"normalised score {score:.2f} (0 random, 1 RL on the true reward)")
    elif reference.rl_return <= reference.random_return:
        console.print(
            f"no normalised score: RL on the true reward ({reference.rl_return:,.1f}) is not above "
            f"random ({reference.random_return:,.1f})",
            soft_wrap=True,
        )
    result |= {
        "normalised_score": score if math.isfinite(score) else None,
        "random_return": reference.random_return,
        "rl_return": reference.rl_return,
        "reference": reference.source,
        "reference_key": key,
    }
    if _levels(known) == _levels(result):
        result["leak_audit"] = known.get("leak_audit") or {}


def _levels(evaluation: Mapping[str, Any]) -> tuple[Any, ...]:
    """The fields of the Reference that an evaluation was made with."""
    return tuple(evaluation.get(name) for name in ("random_return", "rl_return", "reference"))


def _describe_predictor(quality: Mapping[str, Any]) -> str:
    if "accuracy" not in quality:
        return (
            "predictor: not judged, for no two unseen segments differ in true return; a simulated "
            "labeler cannot tell them apart either (people can: --labeler human)"
        )
    return (
        "predictor on unseen pairs: accuracy {accuracy:.2f}, calibration error {ece:.2f}, "
        "correlation {correlation:.2f}".format(**quality)
    )


def report(run: RunDir, console: Console) -> Path:
    """Write the run's page."""
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
    """A person labels in a window, or pages through answers."""
    from viewer import label as viewer

    if instruction is not None:
        viewer.set_instruction(run, instruction)
    if size is None:
        size = run.config().viewer.size
    options = viewer.Options(name or _user_name(), size, queries, last)
    (viewer.review if review else viewer.label)(run, console, options)


def _user_name() -> str:
    """Who labels, unless they say so."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "human"


def _renderer(run: RunDir, size: int) -> SegmentRenderer:
    """Made before the agent is loaded: what cannot be drawn is refused at once."""
    from prefrl.render import SegmentRenderer

    env = run.config().env
    return SegmentRenderer(env.id, env.kwargs, env.module, size)


def _drawn_with(renderer: SegmentRenderer) -> str:
    return f", drawn with {renderer.backend}" * bool(renderer.backend)


def _playing(
    config: RunConfig, checkpoint: Path, seed: int, deterministic: bool
) -> closing[Generator[Step]]:
    """The checkpoint's policy at play; no training run uses these seeds."""
    from prefrl.evaluate import EVAL_SEED
    from prefrl.render.play import play
    from prefrl.run import load_trained

    agent, reward = load_trained(config, checkpoint)
    return closing(play(agent, reward, config.env, EVAL_SEED + seed, deterministic))


def list_envs(console: Console) -> None:
    """What can be trained, with presets."""
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
        "Each has a preset in runs/configs/. Any other Gymnasium environment with Box or Discrete "
        "spaces trains too, with general settings: prefrl train ENV (--env-module for one of your "
        "own); any other Atari game as prefrl/Atari-v0 with --set env.kwargs.game=ms_pacman.",
        highlight=False,
        soft_wrap=not console.is_terminal,
    )


def _described(config: RunConfig) -> tuple[str, ...]:
    """A preset in the words of `prefrl envs`."""
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
    """How many numbers an element has, or out of how many it is one."""
    return f"1 of {space.n}" if hasattr(space, "n") else "x".join(map(str, space.shape))


def bench(name: str, console: Console, quick: bool, jobs: int, again: bool) -> None:
    """Run a committed study."""
    from prefrl.bench import STUDIES

    choose(STUDIES, name, "study")(console, quick, jobs, again)
