"""Behaviour of agents that learned from labels, compared with a written reward.

Each study plays its policies in one environment after training and counts what the behaviour is
about: landed flips, metres, real grasps, cars overtaken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.bench.curves import ReturnCurve, draw_curves
from prefrl.bench.runs import train_run
from prefrl.bench.study import Row, Study
from prefrl.bench.tasks import mean_of, row_config, row_specs, whole_arm
from prefrl.config import EnvConfig, RunConfig
from prefrl.environments import make_single
from prefrl.evaluate import EVAL_SEED, play_episode, train_rl
from prefrl.render import SegmentRenderer
from prefrl.render.film import FORMATS, shrunk, stride_for, write_gif
from prefrl.render_states import render_states
from prefrl.types import Array, PrefrlError

WRITTEN = ("handwritten", "true reward")
"""Arms of RL on the environment's own reward, without labels."""

READ: dict[str, Callable[[Any], Row]] = {
    "hopper_backflip": lambda env: {"flips": env.flips},
    "half_cheetah_one_leg": lambda env: {
        "distance": env.distance,
        "other_foot": env.share_touching,
        "low": env.share_low,
        "fallen": env.share_fallen,
    },
    "half_cheetah_paper": lambda env: {"distance": float(env.data.qpos[0])},
    "deceptive_grasp": lambda env: {"looks_held": env.looks_held, "real": env.real_grasp},
    "pong": lambda env: {"score": float(np.mean(env.game_scores or [env.score]))},
    "enduro": lambda env: env.traffic.per_1000_frames(),
    "enduro_stay_even": lambda env: env.traffic.per_1000_frames(),
}
"""What is read from a task's environment at the end of an episode."""
WATCHED_IN = {"enduro": "prefrl/EnduroStayEven-v0"}
"""Where a policy is watched, if not where it was trained; its observations are the same."""

FILM_SECONDS, FILM_SIDE = 6.0, 200
CURVE_POINTS = 100


def measure(spec: Row, work: Path) -> Row:
    """One policy: trained, then watched for its episodes, and filmed."""
    config = row_config(spec)
    started = time.monotonic()
    agent, learned = _trained(spec, config, work)
    seconds = time.monotonic() - started
    env = _watched_in(spec["task"], config.env)
    episodes, states = _watched(agent, env, config.eval_episodes, READ[spec["task"]])
    film = f"{spec['task']}-{spec['arm']}-{spec['seed']}.gif".replace(" ", "-")
    try:
        _film(env, states, work.parent / film)
    except PrefrlError as error:  # no GL library: keep the numbers without a film
        film = str(error)
    means = {key: float(np.mean([e[key] for e in episodes])) for key in episodes[0]}
    return spec | {"steps": config.steps, "seconds": seconds, "film": film, **learned, **means}


def _trained(spec: Row, config: RunConfig, work: Path) -> tuple[BaseAlgorithm, Row]:
    """An agent, its learning curve, and, unless a reward was written, its labels."""
    if spec["arm"] in WRITTEN:
        watcher = ReturnCurve(config.steps // CURVE_POINTS)
        return train_rl(config, watcher), {"curve": watcher.points}
    folder = work / f"{spec['task']}-{spec['arm']}-{spec['seed']}"
    agent, _, passes = train_run(config, folder)
    found = [(p["step"], p["true_return"]) for p in passes if p.get("true_return") is not None]
    curve = found[:: max(1, len(found) // CURVE_POINTS)]
    return agent, {"curve": curve} | {key: passes[-1][key] for key in ("labels", "offered")}


def _watched_in(task: str, env: EnvConfig) -> EnvConfig:
    """Where a task's policy is watched: in whole episodes, even if it learned in shorter ones."""
    whole = {key: value for key, value in env.kwargs.items() if key != "max_episode_steps"}
    return replace(env, id=WATCHED_IN.get(task, env.id), kwargs=whole)


def _watched(
    agent: BaseAlgorithm, config: EnvConfig, episodes: int, read: Callable[[Any], Row]
) -> tuple[list[Row], list[Array]]:
    """Play a policy.

    Returns:
      The true return of each episode and what `read` reads at its end; render states of the first.
    """
    env = make_single(config.id, config.kwargs, config.module)
    env.reset(seed=EVAL_SEED)
    drawn = render_states(env)
    assert drawn is not None  # every environment of READ has render states
    found, states = list[Row](), list[Array]()
    for episode in range(episodes):
        on_step = (lambda: None) if episode else (lambda: states.append(drawn.read()))
        true_return = play_episode(agent, env, EVAL_SEED + episode, on_step)
        found.append({"true_return": true_return} | read(env.unwrapped))
    env.close()
    return found, states


def _film(config: EnvConfig, states: Sequence[Array], path: Path) -> None:
    """The first seconds of an episode, as a small gif."""
    with SegmentRenderer(config.id, config.kwargs, config.module) as renderer:
        stride = stride_for(renderer.fps, FORMATS["gif"].fps)
        shown = states[: round(FILM_SECONDS * renderer.fps) : stride]
        frames = [shrunk(renderer.frame(state), FILM_SIDE) for state in shown]
        write_gif(path, frames, renderer.fps / stride)


def backflip_specs(quick: bool) -> Sequence[Row]:
    return row_specs([("hopper_backflip", arm) for arm in ("labels", "handwritten")], quick)


def backflip_headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Mean over seeds of the flips landed in an episode of 20 s, and the most labels of a seed."""
    found: dict[str, float] = {}
    if learned := whole_arm(rows, "hopper_backflip", "labels"):
        found["flips_per_20s"] = mean_of(learned, "flips")
        found["labels"] = float(max(r["labels"] for r in learned))
    if written := whole_arm(rows, "hopper_backflip", "handwritten"):
        found["handwritten_flips_per_20s"] = mean_of(written, "flips")
    return found


def one_leg_specs(quick: bool) -> Sequence[Row]:
    on_two = [("half_cheetah_paper", arm) for arm in ("labels", "5M steps")]
    return row_specs([("half_cheetah_one_leg", "labels"), *on_two], quick)


def one_leg_headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Distance on one leg as a share of that on two, and the time on the other foot and fallen.

    On two legs it trains for the steps of HalfCheetah's preset, or for as many as on one.
    """
    found: dict[str, float] = {}
    if not (one := whole_arm(rows, "half_cheetah_one_leg", "labels")):
        return found
    for arm, name in (("labels", "distance_share"), ("5M steps", "distance_share_as_long")):
        if both := whole_arm(rows, "half_cheetah_paper", arm):
            found[name] = mean_of(one, "distance") / mean_of(both, "distance")
    return found | {"other_foot": mean_of(one, "other_foot"), "fallen": mean_of(one, "fallen")}


def grasp_specs(quick: bool) -> Sequence[Row]:
    return row_specs([("deceptive_grasp", arm) for arm in ("no cross", "cross")], quick)


def grasp_headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Shares of episodes that end in a real grasp, and how held the ball looks at their ends."""
    found: dict[str, float] = {}
    for arm in ("no cross", "cross"):
        if mine := whole_arm(rows, "deceptive_grasp", arm):
            name = "with_cross" if arm == "cross" else "without_cross"
            found[f"real_{name}"] = mean_of(mine, "real")
            found[f"looks_held_{name}"] = mean_of(mine, "looks_held")
    return found


def atari_specs(quick: bool) -> Sequence[Row]:
    pairs = (
        ("pong", "labels"),
        ("pong", "true reward"),
        ("enduro_stay_even", "labels"),
        ("enduro", "true reward"),
    )
    return row_specs(pairs, quick)


def atari_headline(rows: Sequence[Row]) -> Mapping[str, float]:
    """Points in a game of Pong; in 1,000 frames of Enduro cars passed, passing and level."""
    found: dict[str, float] = {}
    for arm, name in (("labels", "pong_labels"), ("true reward", "pong_rl")):
        if mine := whole_arm(rows, "pong", arm):
            found[name] = mean_of(mine, "score")
    stays_even = ("enduro_stay_even", "labels"), ("enduro", "true reward")
    for (task, arm), name in zip(stays_even, ("enduro_even", "enduro_rl"), strict=True):
        if mine := whole_arm(rows, task, arm):
            found[f"{name}_overtaken"] = mean_of(mine, "passed") + mean_of(mine, "passed_by")
            found[f"{name}_alongside"] = mean_of(mine, "alongside")
    return found


_COLUMNS = ("task", "arm", "seed", "steps", "labels", "offered", "true_return", "seconds")

STUDIES = (
    Study(
        name="backflip",
        specs=backflip_specs,
        measure=measure,
        headline=backflip_headline,
        columns=(*_COLUMNS, "flips"),
    ),
    Study(
        name="one-leg",
        specs=one_leg_specs,
        measure=measure,
        headline=one_leg_headline,
        columns=(*_COLUMNS, "distance", "other_foot", "low", "fallen"),
        picture=draw_curves,
    ),
    Study(
        name="grasp",
        specs=grasp_specs,
        measure=measure,
        headline=grasp_headline,
        columns=(*_COLUMNS, "looks_held", "real"),
    ),
    Study(
        name="atari",
        specs=atari_specs,
        measure=measure,
        headline=atari_headline,
        columns=(*_COLUMNS, "score", "passed", "passed_by", "distance", "alongside"),
        picture=draw_curves,
    ),
)
