"""An SB3 VecEnv of EnvPool's copies, and the checks before it is built."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from prefrl.pools import atari
from prefrl.pools.tasks import TASKS, TaskCopies
from prefrl.recorder import RENDER_STATE
from prefrl.types import Array, PrefrlError

_NEVER = 2**30
"""EnvPool's time limit; it counts one past it, in 32 bits."""
_REMEDY = "use --vec auto"


class Copies(Protocol):
    """Environments side by side, which start a new episode only when `reset` tells them to."""

    def reset(self, which: Array) -> Array:
        """Start new episodes in some copies.

        Args:
          which: their numbers, rising, (N,).
        Returns:
          Their first observations, (N, *obs_shape), an array that nobody else writes to.
        """

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array | None]:
        """A step of all copies.

        Args:
          actions: (E, *action_shape).
        Returns:
          Observations (E, *obs_shape), rewards (E,), whether each episode has ended for good (E,),
          and render states (E, S), or None where there are none. Nobody else writes to them.
        """


class PoolVecEnv(VecEnv):
    """EnvPool's copies as SB3's DummyVecEnv shows Gymnasium's.

    EnvPool itself starts a new episode a step after the end of the last one, and reports its time
    limit as a termination; here both are as SB3 expects. As EnvPool takes seeds only when a pool is
    made, a pool is made at the first reset, and at each reset after `seed`.

    Args:
      build: makes the copies from a seed for each.
      limit: steps after which an episode is truncated; None: never.
    """

    def __init__(
        self,
        build: Callable[[list[int]], Copies],
        n_envs: int,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        limit: int | None,
    ) -> None:
        super().__init__(n_envs, observation_space, action_space)
        self._build = build
        self._limit = np.inf if limit is None else limit
        self._copies: Copies | None = None
        self._actions: Array = np.zeros(0)
        self._lengths = np.zeros(n_envs, dtype=np.int64)

    def reset(self) -> Array:
        if self._copies is None and None in self._seeds:
            self.seed()
        seeds = [seed for seed in self._seeds if seed is not None]
        if seeds:
            self._copies = self._build(seeds)
        self._reset_seeds()
        self._reset_options()
        self._lengths[:] = 0
        return self._running().reset(np.arange(self.num_envs))

    def step_async(self, actions: Array) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        copies = self._running()
        obs, rewards, terminated, states = copies.step(self._actions)
        self._lengths += 1
        cut = (self._lengths >= self._limit) & ~terminated
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(c)} for c in cut]
        if states is not None:
            for info, state in zip(infos, states, strict=True):
                info[RENDER_STATE] = state
        dones = terminated | cut
        ended = np.flatnonzero(dones)
        if len(ended):
            for env in ended:
                infos[env]["terminal_observation"] = obs[env].copy()
            obs[ended] = copies.reset(ended)
            self._lengths[ended] = 0
        return obs, rewards.astype(np.float32, copy=False), dones, infos

    def _running(self) -> Copies:
        if self._copies is None:
            raise RuntimeError("call reset() before the first step")
        return self._copies

    def close(self) -> None:
        self._copies = None  # EnvPool's threads end with it

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name != "render_mode":  # SB3 reads it, and nothing is drawn here
            raise AttributeError(f"EnvPool's copies have no attribute {attr_name!r}: {_REMEDY}")
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"EnvPool's copies have no attribute {attr_name!r}: {_REMEDY}")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        raise AttributeError(f"EnvPool's copies have no method {method_name!r}: {_REMEDY}")

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


def draws(env_id: str) -> bool:
    """Whether steps of an environment on EnvPool can be drawn again."""
    return not atari.is_game(env_id)


def pool_vec_env(
    env_id: str,
    probe: gym.Env[Any, Any],
    n_envs: int,
    kwargs: Mapping[str, Any],
    limit: int | None,
) -> PoolVecEnv:
    """Copies of EnvPool's equal of an environment.

    Args:
      env_id: Gymnasium's.
      probe: Gymnasium's environment, made with `kwargs`, whose spaces the copies have.
      limit: steps after which an episode is truncated.
    Raises:
      PrefrlError: there is no equal, or EnvPool is not installed.
    """
    _check_installed()
    build = _game(env_id, probe, kwargs) if atari.is_game(env_id) else _task(env_id, kwargs)
    spaces = probe.observation_space, probe.action_space
    return PoolVecEnv(build, n_envs, *spaces, limit)


def _check_installed() -> None:
    if sys.platform != "linux":
        raise PrefrlError(
            f"env.vec = 'envpool' is for Linux, and this is {sys.platform}: {_REMEDY}"
        )
    if importlib.util.find_spec("envpool") is None:
        raise PrefrlError(
            "env.vec = 'envpool' needs a package that is not installed: "
            f"pip install 'prefrl[envpool]', or {_REMEDY}"
        )


def _task(env_id: str, kwargs: Mapping[str, Any]) -> Callable[[list[int]], Copies]:
    if env_id not in TASKS:
        raise PrefrlError(f"{env_id} has no equal in EnvPool: {_REMEDY}")
    task = TASKS[env_id]
    settings = dict(task.kwargs) | _accepted(env_id, kwargs, task.takes)
    return lambda seeds: TaskCopies(task, _pool(task.name, seeds, settings))


def _game(
    env_id: str, probe: gym.Env[Any, Any], kwargs: Mapping[str, Any]
) -> Callable[[list[int]], Copies]:
    env: Any = probe.unwrapped
    _accepted(env_id, kwargs, atari.TAKES)  # the probe has read them
    if not atari.is_same(env):
        raise PrefrlError(f"EnvPool plays the game {env.game!r} in another way: {_REMEDY}")
    name = atari.task_name(env.game)
    play = env.observation_space.shape, env.hidden, env.penalty, env.resume
    return lambda seeds: atari.AtariCopies(_pool(name, seeds, atari.KWARGS), len(seeds), *play)


def _accepted(env_id: str, kwargs: Mapping[str, Any], takes: Iterable[str]) -> dict[str, Any]:
    """The keyword arguments without the time limit.

    Raises:
      PrefrlError: EnvPool does not take one of them.
    """
    given = {name: value for name, value in kwargs.items() if name != "max_episode_steps"}
    others = {name: value for name, value in given.items() if name not in takes}
    if others:
        raise PrefrlError(
            f"EnvPool's {env_id} does not take env.kwargs {others}: leave them out, or {_REMEDY}"
        )
    return given


@cache
def _envpool() -> Any:
    """EnvPool, with the environment variables restored that its import changes.

    It sets MPLBACKEND to Agg, which Matplotlib reads at its import and child processes inherit,
    such as a notebook's kernel, whose pictures would be lost.
    """
    import matplotlib  # noqa: F401

    kept = dict(os.environ)
    try:
        return importlib.import_module("envpool")
    finally:
        for name in os.environ.keys() - kept.keys():
            del os.environ[name]
        os.environ.update(kept)


def _pool(name: str, seeds: Sequence[int], settings: Mapping[str, Any]) -> Any:
    """EnvPool's pool of a task, a copy for each seed.

    It has no more threads than cores or copies: others would only wait.
    """
    pool = _envpool().make_gymnasium(
        name,
        num_envs=len(seeds),
        num_threads=min(len(seeds), len(os.sched_getaffinity(0))),
        env_seed=[seed % 2**31 for seed in seeds],  # it takes 31 bits
        max_episode_steps=_NEVER,
        **settings,
    )
    with warnings.catch_warnings():
        # The first reset reads the space, which warns, and the pool caches it.
        warnings.filterwarnings("ignore", ".*precision lowered by casting")
        pool.observation_space  # noqa: B018
    return pool
