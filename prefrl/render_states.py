"""Render states: what draws one step of an environment again, later and in another process.

An environment offers them itself, on itself or on one of its wrappers:

    def render_state(self) -> Array: ...            # of one shape and dtype, the current step
    def set_render_state(self, state) -> None: ...  # render() draws that step from then on

For those that do not there are MuJoCo's qpos and qvel, and the `state` of classic control.
"""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from prefrl.types import Array, PrefrlError

_PLAIN = "biuf"  # dtype kinds: numbers
_CLASSIC_CONTROL = "gymnasium.envs.classic_control."


class RenderStates(Protocol):
    """Reads the render state of an environment's current step, and sets one to be drawn."""

    def read(self) -> Array:
        """A copy: an environment may write into its own at the next reset."""

    def write(self, state: Array) -> None:
        """Afterwards the environment draws that step; it need not play on from there."""


def render_states(env: gym.Env[Any, Any]) -> RenderStates | None:
    """How to read and write an environment's render states; None where it offers none.

    Args:
      env: with its wrappers, and reset: some have no state before.
    """
    plain: Any = env.unwrapped
    if env.has_wrapper_attr("render_state"):
        return _Own(env)
    if hasattr(plain, "set_state") and hasattr(getattr(plain, "data", None), "qpos"):
        return _MuJoCo(plain)
    if not _is_classic_control(plain) or not _is_numeric(getattr(plain, "state", None)):
        return None
    return _StateAndTorque(plain) if hasattr(plain, "last_u") else _State(plain)


class _Own:
    """The environment's own."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self._env = env
        self._read = env.get_wrapper_attr("render_state")

    def read(self) -> Array:
        return np.array(self._read())

    def write(self, state: Array) -> None:
        if not self._env.has_wrapper_attr("set_render_state"):
            raise PrefrlError(
                f"{self._env} has render_state() but no set_render_state(state), so it cannot be "
                "drawn again: add it"
            )
        self._env.get_wrapper_attr("set_render_state")(state)


class _MuJoCo:
    """(nq + nv,): positions and velocities. All else that is drawn follows from them."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def read(self) -> Array:
        return np.concatenate((self._env.data.qpos, self._env.data.qvel))

    def write(self, state: Array) -> None:
        # set_state also brings the bodies to where the joints are: a step of MuJoCo leaves them
        # where they were before its last substep, and a live picture shows them there.
        self._env.set_state(*np.split(state, [self._env.model.nq]))


class _State:
    """Classic control: the environment's `state`, as it is."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def read(self) -> Array:
        return np.array(self._env.state)

    def write(self, state: Array) -> None:
        self._env.state = state


class _StateAndTorque:
    """Pendulum's picture shows the last torque too, as an arrow."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def read(self) -> Array:
        torque = np.nan if self._env.last_u is None else self._env.last_u
        return np.append(self._env.state, torque)

    def write(self, state: Array) -> None:
        self._env.state = state[:-1]
        # In the action's own precision, for the arrow is a whole number of pixels wide.
        torque = self._env.action_space.dtype.type(state[-1])
        self._env.last_u = None if np.isnan(torque) else torque


def _is_classic_control(env: gym.Env[Any, Any]) -> bool:
    """Or derived from it: what others call their state need not be all that they draw."""
    return any(kind.__module__.startswith(_CLASSIC_CONTROL) for kind in type(env).__mro__)


def _is_numeric(state: Any) -> bool:
    try:
        return state is not None and np.asarray(state).dtype.kind in _PLAIN
    except ValueError:  # rows of different lengths
        return False
