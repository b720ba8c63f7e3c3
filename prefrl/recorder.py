"""Between the environments and the agent: hides the true reward, remembers the steps.

Everything that the rest of prefrl knows about what happened in the environments comes out
of this one wrapper: the rollout that is scored, the segments that are compared, the true
returns that only oracles and the evaluation see.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.random import Generator
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from prefrl.render_states import RenderStates, render_states
from prefrl.spaces import is_channels_last
from prefrl.types import Array, PrefrlError, Segment

RENDER_STATE = "render_state"
_EPISODES_KEPT = 1000  # finished episodes that nobody has asked for yet


class RenderState(gym.Wrapper[Any, Any, Any, Any]):
    """Puts what draws the current step again into `info["render_state"]`.

    As `prefrl.render_states` reads it; nothing where the environment offers nothing. The
    environment's own info is dropped: nothing in it may reach the agent.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._states: RenderStates | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**kwargs)
        self._states = render_states(self.env)
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, _ = self.env.step(action)
        info = {} if self._states is None else {RENDER_STATE: self._states.read()}
        return obs, reward, terminated, truncated, info


def channels_first(venv: VecEnv) -> VecEnv:
    """The same environments, images as SB3's policies and our nets want them, (C, H, W)."""
    return VecTransposeImage(venv) if is_channels_last(venv.observation_space) else venv


class Recorder(VecEnvWrapper):
    """VecEnv wrapper whose rewards are always zero and whose last steps can be cut.

    The steps are kept in a ring of fixed size, so memory does not grow with training.

    Args:
      venv: the environments.
      ring_steps: steps kept for each environment; at least a rollout and a segment.
    """

    def __init__(self, venv: VecEnv, ring_steps: int = 2048) -> None:
        super().__init__(venv := channels_first(venv))
        self.steps_taken = 0
        self.ring_steps = ring_steps
        self._filled = 0  # rows ever written
        obs_space, act_space = venv.observation_space, venv.action_space
        shape = (ring_steps, venv.num_envs)
        self._obs = np.zeros(shape + _shape(obs_space), dtype=obs_space.dtype)
        self._actions = np.zeros(shape + _shape(act_space), dtype=act_space.dtype)
        self._rewards = np.zeros(shape, dtype=np.float32)
        self._dones = np.zeros(shape, dtype=bool)
        self._render_states: Array | None = None
        self._last_obs = np.zeros(shape[1:] + _shape(obs_space), dtype=obs_space.dtype)
        self._pending: Array | None = None
        self._zeros = np.zeros(venv.num_envs, dtype=np.float32)
        self._returns = np.zeros(venv.num_envs)
        self._lengths = np.zeros(venv.num_envs, dtype=np.int64)
        self._finished: deque[tuple[float, int]] = deque(maxlen=_EPISODES_KEPT)

    def __reduce__(self) -> tuple[Any, ...]:
        # SB3 saves an agent's buffer arguments with it: a saved agent takes no environments along.
        return type(None), ()

    def reset(self) -> Any:
        try:
            obs = np.asarray(self.venv.reset())
        except Exception as error:
            raise self._named(error) from error
        self._check(obs)
        if self._filled:  # whatever was under way ends here
            self._dones[(self._filled - 1) % self.ring_steps] = True
        self._last_obs = obs.copy()
        self._returns[:] = 0
        self._lengths[:] = 0
        return obs

    def step_async(self, actions: Array) -> None:
        self._pending = actions
        try:
            self.venv.step_async(actions)
        except Exception as error:
            raise self._named(error) from error

    def step_wait(self) -> VecEnvStepReturn:
        try:
            stepped, rewards, dones, infos = self.venv.step_wait()
        except Exception as error:
            raise self._named(error) from error
        obs = np.asarray(stepped)
        self._check(obs)
        for env in np.flatnonzero(dones):  # the agent bootstraps from it
            self._check(np.asarray([infos[env].get("terminal_observation", obs[env])]), int(env))
        row = self._filled % self.ring_steps
        self._obs[row] = self._last_obs
        self._actions[row] = self._pending
        self._rewards[row] = rewards
        self._dones[row] = dones
        self._keep_render_states(row, infos)
        self._last_obs = obs.copy()
        self._filled += 1
        self.steps_taken += self.num_envs
        self._returns += rewards
        self._lengths += 1
        if dones.any():
            self._end_episodes(dones)
        # A fresh array: SB3 adds the time-limit bootstrap to it in place (SB3 issue 633).
        return obs, self._zeros.copy(), dones, infos

    def close(self) -> None:
        processes = self.venv.unwrapped
        if getattr(processes, "waiting", False):  # SB3 waits for answers, and some were read
            processes.waiting = False  # type: ignore[attr-defined]
        with contextlib.suppress(EOFError, ConnectionError):  # a dead process has closed itself
            self.venv.close()

    @property
    def recorded(self) -> int:
        """Steps of each environment that the ring holds."""
        return min(self._filled, self.ring_steps)

    def rollout(self, n_steps: int) -> tuple[Array, Array]:
        """Raw observations and executed actions of the last steps, oldest first.

        Returns:
          (n_steps, E, *obs_shape) and (n_steps, E, *action_shape).
        """
        rows = self._rows_of(n_steps)
        return self._obs[rows], self._actions[rows]

    def dones(self, n_steps: int) -> Array:
        """Whether each of the last steps ended an episode, (n_steps, E)."""
        return self._dones[self._rows_of(n_steps)]

    def sample_segments(
        self, n: int, length: int, rng: Generator, newest: int | None = None
    ) -> list[Segment]:
        """Segments cut at random from the recorded steps, none across an episode's end.

        Args:
          n: how many; fewer come back where there are not as many places for one.
          length: steps of a segment.
          newest: look only at this many last steps of each environment.
        """
        kept = min(self.recorded, newest or self.ring_steps)
        if kept < length:
            return []
        rows = self._rows_of(kept)
        starts = _valid_starts(self._dones[rows], length)
        if not len(starts):
            return []
        chosen = starts[rng.choice(len(starts), size=min(n, len(starts)), replace=False)]
        last_row_step = self.steps_taken
        segments = []
        for start, env in chosen:
            cut = rows[start : start + length]
            states = None if self._render_states is None else self._render_states[cut, env]
            age = (kept - start - length) * self.num_envs
            segments.append(
                Segment(
                    obs=self._obs[cut, env],
                    actions=self._actions[cut, env],
                    true_rewards=self._rewards[cut, env],
                    render_states=states,
                    step=last_row_step - int(age),
                )
            )
        return segments

    def take_finished(self) -> list[tuple[float, int]]:
        """True return and length of the episodes that ended since the last call."""
        finished = list(self._finished)
        self._finished.clear()
        return finished

    def _rows_of(self, n_steps: int) -> Array:
        if n_steps > self.recorded:
            raise ValueError(
                f"{n_steps} steps wanted, {self.recorded} recorded: "
                f"raise Recorder(ring_steps={self.ring_steps})"
            )
        return np.arange(self._filled - n_steps, self._filled) % self.ring_steps

    def _keep_render_states(self, row: int, infos: list[dict[str, Any]]) -> None:
        states = [info.pop(RENDER_STATE, None) for info in infos]
        if self._render_states is None:
            first = next((state for state in states if state is not None), None)
            if first is None:
                return
            shape = (self.ring_steps, self.num_envs, *first.shape)
            self._render_states = np.zeros(shape, dtype=first.dtype)
        shape = self._render_states.shape[2:]
        for env, state in enumerate(states):
            if state is None or state.shape != shape:
                found = "none" if state is None else f"one of shape {state.shape}"
                raise PrefrlError(
                    f"environment {env} gave {found} as its render state after {self.steps_taken} "
                    f"steps, and the first of all had shape {shape}: give each step one of the same"
                )
            self._render_states[row, env] = state

    def _end_episodes(self, dones: Array) -> None:
        for env in np.flatnonzero(dones):
            self._finished.append((float(self._returns[env]), int(self._lengths[env])))
        self._returns[dones] = 0
        self._lengths[dones] = 0

    def _named(self, error: Exception) -> PrefrlError:
        """Whatever an environment did wrong, said as the user's to fix."""
        if isinstance(error, EOFError | ConnectionError):
            return PrefrlError(
                f"the process of an environment ended after {self.steps_taken} steps: see its "
                "message above, and fix the environment"
            )
        return PrefrlError(
            f"an environment failed after {self.steps_taken} steps with "
            f"{type(error).__name__}: {error}: fix it (--debug shows where)"
        )

    def _check(self, obs: Array, first: int = 0) -> None:
        """Refuse what is not finite among observations, (E, ...), of the copies from `first` on."""
        if obs.dtype.kind == "f" and not np.isfinite(obs).all():
            env = first + int(np.flatnonzero(~np.isfinite(obs).reshape(len(obs), -1).all(1))[0])
            raise PrefrlError(
                f"environment {env} returned a NaN or infinite observation after "
                f"{self.steps_taken} steps: fix the environment, or clip what it returns"
            )


def _valid_starts(dones: Array, length: int) -> Array:
    """Where a segment may start: (row, env) pairs with no episode end before its last step.

    Args:
      dones: (R, E).
    Returns:
      (K, 2).
    """
    ends = np.concatenate([np.zeros((1, dones.shape[1]), dtype=np.int64), np.cumsum(dones, axis=0)])
    n_starts = len(dones) - length + 1
    inner = ends[length - 1 : length - 1 + n_starts] - ends[:n_starts]  # ends strictly inside
    return np.argwhere(inner == 0)


def _shape(space: gym.Space[Any]) -> tuple[int, ...]:
    if space.shape is None:
        raise PrefrlError(f"{space} has no fixed shape: wrap the environment in FlattenObservation")
    return tuple(space.shape)


def act_at_random(recorder: Recorder, steps: int, rng: Generator, hold: int = 1) -> None:
    """Fill the recorder with a random policy's steps.

    Args:
      hold: steps for which each environment's action stays the same, on average.
    """
    space = recorder.action_space
    space.seed(int(rng.integers(2**31)))
    recorder.reset()
    actions = [space.sample() for _ in range(recorder.num_envs)]
    for step in range(math.ceil(steps / recorder.num_envs)):
        for env in range(recorder.num_envs if step else 0):
            if hold == 1 or rng.random() * hold < 1:
                actions[env] = space.sample()
        recorder.step(np.stack(actions))
