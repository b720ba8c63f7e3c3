"""Clips: segments drawn in a separate process, so that neither window nor trainer waits."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from prefrl.config import EnvConfig
from prefrl.process import deaf_to_ctrl_c, end_with_parent
from prefrl.render.film import stride_for
from prefrl.types import Array, MachineError, PrefrlError, Segment

MAX_FPS = 30.0
"""Pictures in a second of a clip, at most: more take longer to draw and look the same."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A segment as pictures.

    Attributes:
      pictures: (N, H, W, 3) uint8.
      fps: pictures in a second.
      stride: steps of the segment that each picture stands for, the last of them shown.
    """

    pictures: Array
    fps: float
    stride: int

    def __len__(self) -> int:
        return len(self.pictures)


class ClipProcess:
    """Draws segments of one environment, away from this process and its GL.

    Args:
      env: the run's.
      size: side of a picture that MuJoCo draws, in pixels; others have a size of their own.
    Attributes:
      backend: the GL library that MuJoCo draws with; "" for another environment.
    Raises:
      PrefrlError: the environment cannot be drawn, or MuJoCo has no GL library.
    """

    def __init__(self, env: EnvConfig, size: int) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_draw_for, args=(theirs, env, size), name="prefrl-clips", daemon=True
        )
        with deaf_to_ctrl_c():
            self._process.start()
        theirs.close()
        try:
            self._fps, self.backend = self._received()
        except BaseException:
            self.close()
            raise

    def draw(self, segments: Sequence[Segment]) -> list[Clip]:
        """Clips of segments, in order; returns when all are drawn.

        Raises:
          PrefrlError: a segment was recorded without render states, or the environment cannot
            draw one; the process ends with it.
          MachineError: the process has ended.
        """
        for segment in segments:
            if segment.render_states is None:
                raise PrefrlError(
                    "these clips were recorded without render states and cannot be drawn: give "
                    "the environment render_state() and set_render_state(state)"
                )
        stride = stride_for(self._fps, MAX_FPS)
        clips = []
        for segment in segments:
            assert segment.render_states is not None
            shown = segment.render_states[shown_steps(len(segment), stride)]
            self._send(shown)
            pictures = np.empty(self._received(), np.uint8)
            self._receive_into(pictures)
            clips.append(Clip(pictures, self._fps / stride, stride))
        return clips

    def close(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join(timeout=5)

    def _send(self, states: Array) -> None:
        try:
            self._pipe.send(states)
        except OSError as error:
            raise self._ended() from error

    def _received(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _receive_into(self, pictures: Array) -> None:
        try:
            self._pipe.recv_bytes_into(pictures.data.cast("B"))
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def _ended(self) -> MachineError:
        self._process.join(timeout=5)
        return MachineError(
            f"the process that draws the clips ended (exit status {self._process.exitcode}): see "
            "its message above, and start the viewer again"
        )


def shown_steps(length: int, stride: int) -> Array:
    """Steps of a segment that are drawn, (N,), the last one among them."""
    return np.arange(length - 1, -1, -stride)[::-1]


def _draw_for(pipe: Connection, env: EnvConfig, size: int) -> None:
    """Body of the process: states in, the shape of the pictures and the pictures out."""
    end_with_parent()
    try:
        from prefrl.render import SegmentRenderer

        with SegmentRenderer(env.id, env.kwargs, env.module, size) as renderer:
            pipe.send((renderer.fps, renderer.backend))
            while True:
                pictures = renderer.frames(pipe.recv())
                pipe.send(pictures.shape)
                pipe.send_bytes(pictures.data.cast("B"))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except PrefrlError as error:
        pipe.send(error)
