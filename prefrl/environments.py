"""Vectorised environments, built so that a mistake is named before training starts."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import registry
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from prefrl.in_process import InProcessVecEnv
from prefrl.names import nearest
from prefrl.plugins import load_environments
from prefrl.pools import pool_vec_env
from prefrl.process import deaf_to_ctrl_c
from prefrl.quiet import quiet_mujoco
from prefrl.recorder import Recorder, RenderState
from prefrl.spaces import check_spaces
from prefrl.types import PrefrlError

MANY_CORES = 4
"""From which images are worth a process for each environment."""


def make_env(
    env_id: str,
    n_envs: int = 8,
    seed: int = 0,
    kwargs: Mapping[str, Any] | None = None,
    module: str = "",
    vec: str = "dummy",
    ring_steps: int = 2048,
) -> Recorder:
    """Copies of an environment behind a recorder, ready for an SB3 agent.

    Args:
      env_id: a Gymnasium id.
      n_envs: copies side by side; copy i is seeded with seed + i.
      kwargs: for gymnasium.make.
      module: imported first, so that it can register environments.
      vec: "dummy" steps them in this process, "subproc" in a process each, "auto" does the
        latter where observations are images and there are MANY_CORES; "envpool" takes EnvPool's
        equal of the environment.
      ring_steps: steps of each copy that the recorder keeps.
    Raises:
      PrefrlError: unknown environment, or spaces that a reward cannot be learned on.
    """
    return Recorder(make_vec_env(env_id, n_envs, seed, kwargs, module, vec), ring_steps)


def make_vec_env(
    env_id: str,
    n_envs: int = 8,
    seed: int = 0,
    kwargs: Mapping[str, Any] | None = None,
    module: str = "",
    vec: str = "dummy",
) -> VecEnv:
    """The same copies without the recorder: they show their true reward."""
    venv: VecEnv
    build = partial(make_single, env_id, dict(kwargs or {}), module)
    probe = build()
    check_spaces(env_id, probe.observation_space, probe.action_space)
    if vec == "envpool":
        limit = max_episode_steps(env_id, module, kwargs)
        with closing(probe):
            venv = pool_vec_env(resolve(env_id), probe, n_envs, kwargs or {}, limit)
        venv.seed(seed)
        return venv
    builders: list[Callable[[], gym.Env[Any, Any]]] = [build] * n_envs
    images = is_image_space(probe.observation_space)
    if vec == "subproc" or (vec == "auto" and images and (os.cpu_count() or 1) >= MANY_CORES):
        probe.close()
        venv = _in_processes(builders)
    else:
        venv = InProcessVecEnv([lambda: probe, *builders[1:]])
    venv.seed(seed)
    return venv


def _in_processes(builders: list[Callable[[], gym.Env[Any, Any]]]) -> SubprocVecEnv:
    try:
        with deaf_to_ctrl_c():
            return SubprocVecEnv(builders, start_method="spawn")
    except (EOFError, ConnectionError) as error:
        raise PrefrlError(
            "the process of an environment ended at its start: see its message above, and fix "
            "the environment (env.vec=dummy runs it in the trainer's process)"
        ) from error


def import_module(module: str) -> None:
    """Import a user's module, so that it can register environments and more.

    Raises:
      PrefrlError: it cannot be imported.
    """
    if not module:
        return
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a user's module does
        raise PrefrlError(
            f"cannot import {module!r} ({type(error).__name__}: {error}): install it, put its "
            "folder on PYTHONPATH, or fix it (--debug shows where)"
        ) from error


def resolve(env_id: str) -> str:
    """The id under which Gymnasium knows an environment.

    Raises:
      PrefrlError: no such environment; the message names the nearest one.
    """
    _register_own()
    module, _, bare = env_id.rpartition(":")
    import_module(module)
    if bare not in registry:
        load_environments()
    if bare not in registry:
        raise PrefrlError(
            f"unknown environment {env_id!r}: "
            f"{nearest(bare, registry, '`prefrl envs` lists those with presets')} (for one of your "
            "own, name the module that registers it with --env-module)"
        )
    return bare


def _register_own() -> None:
    own = importlib.import_module("envs")
    if not any(name.startswith("prefrl/") for name in registry):
        raise PrefrlError(
            f"{own} hides prefrl's own package of that name: rename it, start elsewhere, or take "
            "its folder from PYTHONPATH"
        )


def max_episode_steps(
    env_id: str, module: str = "", kwargs: Mapping[str, Any] | None = None
) -> int | None:
    """The time limit of an environment as `make_env` makes it, in steps; None: it has none.

    Args:
      kwargs: for gymnasium.make, whose max_episode_steps replaces the usual limit; -1 lifts it.
    Raises:
      PrefrlError: no number of steps.
    """
    import_module(module)
    usual = registry[resolve(env_id)].max_episode_steps
    limit = (kwargs or {}).get("max_episode_steps")
    if limit is None or limit == -1:
        return usual if limit is None else None
    if type(limit) is not int or limit < 1:
        raise PrefrlError(
            f"env.kwargs.max_episode_steps = {limit!r} is no limit: it must be a whole number "
            "of at least 1, or -1 for none"
        )
    return limit


def make_single(
    env_id: str, kwargs: Mapping[str, Any] | None = None, module: str = ""
) -> gym.Env[Any, Any]:
    """One copy, as `gymnasium.make` makes it, with its render states in its infos.

    Raises:
      PrefrlError: it cannot be built.
    """
    kwargs = dict(kwargs or {})
    import_module(module)  # again, and `resolve` too: this may be another process
    bare = resolve(env_id)
    quiet_mujoco()
    try:
        env = gym.make(bare, **kwargs)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise PrefrlError(f"{env_id} needs a package that is not installed: {error}") from error
    except TypeError as error:
        raise PrefrlError(f"{env_id} does not take env.kwargs {kwargs}: {error}") from error
    except Exception as error:  # whatever a user's environment does
        raise PrefrlError(
            f"{env_id} cannot be built with env.kwargs {kwargs} ({type(error).__name__}: {error}): "
            "change them, or fix the environment (--debug shows where)"
        ) from error
    return RenderState(env)
