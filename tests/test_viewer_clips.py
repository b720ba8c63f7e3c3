"""Clips: which steps are drawn, and the process that draws them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.config import EnvConfig
from prefrl.environments import make_env
from prefrl.render import SegmentRenderer
from prefrl.render.film import stride_for
from prefrl.types import MachineError, PrefrlError, Segment
from viewer.clips import MAX_FPS, ClipProcess, shown_steps

ENVS = ["prefrl/CartPole-v0", "prefrl/Pong-v0"]


def segments_of(env_id: str, lengths: tuple[int, ...]) -> list[Segment]:
    """Of a random policy."""
    recorder = make_env(env_id, 1, ring_steps=40)
    recorder.action_space.seed(0)
    recorder.reset()
    found = []
    for length in lengths:
        for _ in range(length):
            recorder.step(np.stack([recorder.action_space.sample()]))
        found += recorder.sample_segments(1, length, np.random.default_rng(length))
    recorder.close()
    return found


@given(st.integers(1, 200), st.integers(1, 12))
def test_the_last_step_is_always_shown(length: int, stride: int) -> None:
    steps = shown_steps(length, stride)
    assert steps[-1] == length - 1 and 0 <= steps[0] < stride
    assert (np.diff(steps) == stride).all()


@given(st.floats(0.5, 1000))
def test_a_clip_has_no_more_pictures_a_second_than_are_seen(fps: float) -> None:
    stride = stride_for(fps, MAX_FPS)
    assert fps / stride <= MAX_FPS * (1 + 1e-6)
    assert stride == 1 or fps / (stride - 1) > MAX_FPS


@pytest.mark.parametrize(("fps", "stride"), [(15, 1), (30, 1), (50, 2), (60, 2), (125, 5)])
def test_strides(fps: float, stride: int) -> None:
    assert stride_for(fps, MAX_FPS) == stride


@pytest.mark.parametrize("env_id", ENVS)
def test_the_process_draws_what_the_renderer_draws(env_id: str) -> None:
    segments = segments_of(env_id, (5, 8))
    with closing(ClipProcess(EnvConfig(env_id), size=96)) as process:
        assert process.backend == ""
        clips = process.draw(segments)
        again = process.draw(segments[::-1])
    with SegmentRenderer(env_id, size=96) as renderer:
        stride = stride_for(renderer.fps, MAX_FPS)
        for segment, clip, same in zip(segments, clips, again[::-1], strict=True):
            pictures = renderer.frames(segment.render_states)[shown_steps(len(segment), stride)]
            np.testing.assert_array_equal(clip.pictures, pictures)
            np.testing.assert_array_equal(same.pictures, pictures)
            assert (clip.stride, clip.fps) == (stride, renderer.fps / stride)
            assert len(clip) == len(pictures) and len({p.tobytes() for p in pictures}) > 1


@pytest.fixture
def process() -> Iterator[ClipProcess]:
    with closing(ClipProcess(EnvConfig("prefrl/CartPole-v0"), size=96)) as made:
        yield made


SEGMENT = Segment(
    np.zeros((4, 4)), np.zeros((4, 1)), np.zeros(4), render_states=np.full((4, 4), 0.01)
)


def test_a_process_that_is_killed_is_named(process: ClipProcess) -> None:
    assert len(process.draw([SEGMENT])) == 1
    pid = process._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(MachineError, match=r"draws the clips ended \(exit status -9\)"):
            process.draw([SEGMENT])


def test_a_process_that_is_killed_in_the_middle_of_a_clip(
    process: ClipProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has said how large the pictures are, and sends no more of them than a pipe holds."""
    received = process._received

    def killed_after() -> Any:
        shape = received()
        process._process.kill()
        process._process.join()
        return shape

    monkeypatch.setattr(process, "_received", killed_after)
    with pytest.raises(MachineError, match="start the viewer again"):
        process.draw([SEGMENT])


def test_what_the_environment_cannot_draw_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    """Without the process's trace."""
    wrong = replace(SEGMENT, render_states=np.zeros((4, 2, 2)))
    said = r"shape \(4,\), and this one has \(2, 2\)"
    with (
        closing(ClipProcess(EnvConfig("prefrl/CartPole-v0"), size=96)) as process,
        pytest.raises(PrefrlError, match=said) as refused,
    ):
        process.draw([wrong])
    assert not isinstance(refused.value, MachineError)
    assert "Traceback" not in capfd.readouterr().err


def test_segments_without_render_states(process: ClipProcess) -> None:
    bare = replace(SEGMENT, render_states=None)
    with pytest.raises(PrefrlError, match="recorded without render states and cannot be drawn"):
        process.draw([SEGMENT, bare])
    assert len(process.draw([SEGMENT])) == 1, "and goes on"


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (EnvConfig("prefrl/Cartpole-v0"), "did you mean 'prefrl/CartPole-v0'"),
        (EnvConfig("CartPole-v1", {"wrong": 1}), "wrong"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(env: EnvConfig, said: str) -> None:
    with pytest.raises(PrefrlError, match=said) as refused:
        ClipProcess(env, 96)
    assert not isinstance(refused.value, MachineError)


def test_nothing_is_left_of_it(process: ClipProcess) -> None:
    assert process._process.is_alive()
    process.close()
    assert not process._process.is_alive()
