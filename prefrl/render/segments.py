"""Segments drawn from their render states, in any process."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np

from prefrl.environments import import_module, resolve
from prefrl.quiet import quiet_mujoco
from prefrl.render import mujoco
from prefrl.render.gl import MUJOCO_GL, choose_backend
from prefrl.render_states import RenderStates, render_states
from prefrl.types import Array, PrefrlError

SIZE = 240
"""Side of a MuJoCo picture, in pixels."""


class SegmentRenderer:
    """Draws what a segment shows: one picture for each of its steps.

    It has an environment of its own and never steps it, so the same render state gives the same
    pixels in every process of a machine. Use it in the thread that made it, as a context manager.

    Args:
      env_id: a Gymnasium id.
      kwargs: for gymnasium.make.
      module: imported first, so that it can register environments.
      size: side of a picture that MuJoCo draws, in pixels; others have a size of their own.
    Attributes:
      fps: steps of the environment per second.
      backend: the GL library that MuJoCo draws with; "" for another environment.
    Raises:
      PrefrlError: the environment cannot be drawn again, or MuJoCo has no GL library.
    """

    def __init__(
        self,
        env_id: str,
        kwargs: Mapping[str, Any] | None = None,
        module: str = "",
        size: int = SIZE,
    ) -> None:
        self._id = env_id
        self._env = _make(env_id, dict(kwargs or {}), module)
        self._states = _states_of(env_id, self._env)
        self._is_mujoco = mujoco.is_mujoco(self._env)
        self.backend = choose_backend() if self._is_mujoco else ""
        if self._is_mujoco:
            mujoco.draw_fast(self._env, size)
        self.fps = float(self._env.metadata.get("render_fps") or 30)
        self._shape = np.shape(now := self._states.read())
        self.frame(now)  # what cannot be drawn is refused here

    def frames(self, states: Array | None) -> Array:
        """The pictures of a segment's render states, (T, H, W, 3) uint8.

        Args:
          states: (T, S), or None of a segment that was recorded without any.
        Raises:
          PrefrlError: there are none, or the environment cannot draw one.
        """
        if states is None:
            raise PrefrlError(_not_drawn(self._id, "the segment was recorded without any"))
        return np.stack([self.frame(state) for state in states])

    def frame(self, state: Array) -> Array:
        """The picture of one render state, (H, W, 3) uint8.

        Raises:
          PrefrlError: the environment cannot draw it.
        """
        if np.shape(state) != self._shape:
            raise PrefrlError(
                f"{self._id} draws render states of shape {self._shape}, and this one has "
                f"{np.shape(state)}: draw it with the environment and version that recorded it"
            )
        try:
            self._states.write(state)
            if self._is_mujoco:
                mujoco.make_current(self._env)
            picture: Any = self._env.render()
        except PrefrlError:
            raise
        except Exception as error:  # whatever a user's environment does
            raise PrefrlError(_not_drawn(self._id, _said(error))) from error
        if getattr(picture, "dtype", None) != np.uint8 or np.shape(picture)[2:] != (3,):
            raise PrefrlError(_not_drawn(self._id, "render() returned no (H, W, 3) uint8"))
        return np.array(picture)

    def close(self) -> None:
        """Close the environment. Gymnasium's classic control quits pygame: close windows first."""
        if self._is_mujoco:
            mujoco.free(self._env)
        self._env.close()

    def __enter__(self) -> SegmentRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_drawn(env_id: str, kwargs: Mapping[str, Any], module: str) -> None:
    """Refuse an environment that cannot be drawn; no picture is drawn, and no GL library loaded.

    Raises:
      PrefrlError: names the remedy.
    """
    with closing(_make(env_id, dict(kwargs), module)) as env:
        states = _states_of(env_id, env)
        states.write(states.read())


def _states_of(env_id: str, env: gym.Env[Any, Any]) -> RenderStates:
    env.reset(seed=0)
    states = render_states(env)
    if states is None:
        raise PrefrlError(_not_drawn(env_id, "it offers no render state"))
    return states


def _make(env_id: str, kwargs: dict[str, Any], module: str) -> gym.Env[Any, Any]:
    if os.environ.get(MUJOCO_GL):
        choose_backend()  # `import mujoco` fails where it names a library that is not there
    if not has_display():  # or SDL looks for one and warns
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    import_module(module)
    bare = resolve(env_id)
    quiet_mujoco()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the render mode is unknown is said below
            kwargs = {"disable_env_checker": True, **kwargs, "render_mode": "rgb_array"}
            return gym.make(bare, **kwargs)
    except Exception as error:  # whatever a user's environment does
        raise PrefrlError(_not_drawn(env_id, _said(error))) from error


def has_display() -> bool:
    """Whether there may be a display: on Linux, DISPLAY or WAYLAND_DISPLAY has to be set."""
    named = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform != "linux" or any(os.environ.get(name) for name in named)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error} (--debug shows where)"


def _not_drawn(env_id: str, why: str) -> str:
    return (
        f"{env_id} cannot be drawn again ({why}): give it render_state(), set_render_state(state) "
        'and, in the render mode "rgb_array", render()'
    )
