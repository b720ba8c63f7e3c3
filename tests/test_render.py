"""Segments drawn again: the pixels that were there when they were recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.environments import make_env
from prefrl.recorder import Recorder, RenderState
from prefrl.render import SegmentRenderer, mujoco
from prefrl.render.gl import choose_backend
from prefrl.store.blobs import decode_segment, encode_segment
from prefrl.types import Array, PrefrlError, Segment

ROOT = Path(__file__).resolve().parent.parent
SIZE = 96
CLASSIC = [
    *("CartPole-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1"),
    *("prefrl/CartPole-v0", "prefrl/Pendulum-v0", "prefrl/MountainCarContinuous-v0"),
]
MUJOCO = ["HalfCheetah-v5", "prefrl/Hopper-v0", "Reacher-v5"]

Live = Callable[[gym.Env[Any, Any]], Array]


@pytest.fixture(scope="module")
def _gl() -> None:
    try:
        choose_backend()
    except PrefrlError as error:
        pytest.skip(str(error))


needs_gl = pytest.mark.usefixtures("_gl")


class Camera(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps what is on screen after each step."""

    def __init__(self, env: gym.Env[Any, Any], live: Live) -> None:
        super().__init__(env)
        self.live, self.pictures = live, list[Array]()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        self.pictures.append(np.array(self.live(self.env)))
        return result


def plain_live(env: gym.Env[Any, Any]) -> Array:
    picture: Any = env.render()
    return np.asarray(picture)


def mujoco_live(env: gym.Env[Any, Any]) -> Array:
    """With the renderer's own settings; and the bodies where the joints are."""
    from mujoco import mj_forward

    inner: Any = env.unwrapped
    if inner.mujoco_renderer.viewer is None:
        qpos, qvel = inner.data.qpos.copy(), inner.data.qvel.copy()
        mujoco.draw_fast(env, SIZE)
        inner.set_state(qpos, qvel)
    mj_forward(inner.model, inner.data)
    mujoco.make_current(env)
    return plain_live(env)


def recorded(env: gym.Env[Any, Any], live: Live, steps: int = 40) -> tuple[list[Segment], Array]:
    """Segments of a random policy, of five steps each, and what was on screen, (steps, H, W, 3)."""
    camera = Camera(env, live)
    recorder = Recorder(DummyVecEnv([lambda: RenderState(camera)]))
    recorder.action_space.seed(0)
    recorder.seed(0)
    recorder.reset()
    for _ in range(steps):
        recorder.step(np.stack([recorder.action_space.sample()]))
    segments = recorder.sample_segments(6, 5, np.random.default_rng(0))
    return segments, np.stack(camera.pictures)


def same_pixels(segments: list[Segment], screen: Array, renderer: SegmentRenderer) -> None:
    for segment in segments:
        shown = screen[segment.step - len(segment) : segment.step]
        np.testing.assert_array_equal(renderer.frames(segment.render_states), shown)


def make(env_id: str) -> gym.Env[Any, Any]:
    return gym.make(f"envs:{env_id}", render_mode="rgb_array")


@pytest.mark.parametrize("env_id", CLASSIC)
def test_classic_control_is_drawn_again_pixel_by_pixel(env_id: str) -> None:
    segments, screen = recorded(make(env_id), plain_live)
    assert len({picture.tobytes() for picture in screen}) > 10
    with SegmentRenderer(env_id) as renderer:
        assert renderer.backend == ""
        same_pixels(segments, screen, renderer)


@needs_gl
@pytest.mark.parametrize("env_id", MUJOCO)
def test_mujoco_is_drawn_again_pixel_by_pixel(env_id: str) -> None:
    segments, screen = recorded(make(env_id), mujoco_live)
    assert len({picture.tobytes() for picture in screen}) > 30
    with SegmentRenderer(env_id, size=SIZE) as renderer:
        assert renderer.backend in ("egl", "osmesa", "glfw")
        same_pixels(segments, screen, renderer)


@needs_gl
def test_another_process_draws_the_same(tmp_path: Path) -> None:
    """From an id and the states alone, as a labeler's process gets them from the store."""
    code = """
import sys, numpy as np
from prefrl.render import SegmentRenderer
from prefrl.store.blobs import decode_segment
for env_id in ("HalfCheetah-v5", "Pendulum-v1"):
    segment = decode_segment(open(env_id, "rb").read(), 0)
    with SegmentRenderer(env_id, size=96) as renderer:
        np.save(env_id + ".npy", renderer.frames(segment.render_states))
"""
    here = {}
    for env_id in ("HalfCheetah-v5", "Pendulum-v1"):
        segment = random_segment(env_id)
        (tmp_path / env_id).write_bytes(encode_segment(segment))
        with SegmentRenderer(env_id, size=SIZE) as renderer:
            here[env_id] = renderer.frames(segment.render_states)
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, check=True)
    for env_id, frames in here.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{env_id}.npy"), frames)


def random_segment(env_id: str, length: int = 5) -> Segment:
    recorder = make_env(env_id, 1, ring_steps=40)
    recorder.action_space.seed(0)
    recorder.reset()
    for _ in range(length):
        recorder.step(np.stack([recorder.action_space.sample()]))
    (segment,) = recorder.sample_segments(1, length, np.random.default_rng(0))
    recorder.close()
    return segment


@needs_gl
def test_renderers_side_by_side_do_not_mix() -> None:
    ids = ("HalfCheetah-v5", "Hopper-v5")
    segments = [random_segment(env_id) for env_id in ids]
    alone = []
    for env_id, segment in zip(ids, segments, strict=True):
        with SegmentRenderer(env_id, size=SIZE) as renderer:
            alone.append(renderer.frames(segment.render_states))
    cheetah, hopper = (SegmentRenderer(env_id, size=SIZE) for env_id in ids)
    np.testing.assert_array_equal(cheetah.frames(segments[0].render_states), alone[0])
    np.testing.assert_array_equal(hopper.frames(segments[1].render_states), alone[1])
    np.testing.assert_array_equal(cheetah.frames(segments[0].render_states), alone[0])
    hopper.close()
    np.testing.assert_array_equal(cheetah.frames(segments[0].render_states), alone[0])
    cheetah.close()


@needs_gl
def test_the_camera_follows_a_runner() -> None:
    state = np.zeros(18)
    with SegmentRenderer("HalfCheetah-v5", size=SIZE) as renderer:
        for x in (0.0, 50.0, -50.0):
            state[0] = x
            red, _, blue = np.moveaxis(renderer.frame(state).astype(int), -1, 0)
            assert (red > blue + 40).sum() > 100, f"no cheetah at {x} m"


@needs_gl
def test_a_camera_that_the_user_names_stays() -> None:
    state = random_segment("HalfCheetah-v5", 1).render_states
    assert state is not None
    far = {"camera_id": -1, "default_camera_config": {"distance": 20.0}}
    with SegmentRenderer("HalfCheetah-v5", size=SIZE) as renderer:
        usual = renderer.frame(state[0])
    with SegmentRenderer("HalfCheetah-v5", {"camera_id": 0}, size=SIZE) as renderer:
        np.testing.assert_array_equal(renderer.frame(state[0]), usual)
    with SegmentRenderer("HalfCheetah-v5", far, size=SIZE) as renderer:
        assert (renderer.frame(state[0]) != usual).any()


# ---- environments with render states of their own


class Lamp(gym.Env[Array, int]):
    """Three lamps; an action switches one. The picture is their state and a count of the steps."""

    observation_space = spaces.Box(0, 1, (3,), np.float32)
    action_space = spaces.Discrete(3)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.lamps = np.zeros(3, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.lamps[:] = 0
        return self.lamps.astype(np.float32), {}

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.lamps[action] ^= 1
        return self.lamps.astype(np.float32), float(self.lamps.sum()), False, False, {}

    def render(self) -> Any:
        picture = np.zeros((4, 6, 3), np.uint8)
        picture[:, 1::2] = 255 * self.lamps[:, None]
        return picture

    def render_state(self) -> Array:
        return self.lamps

    def set_render_state(self, state: Array) -> None:
        self.lamps = state.astype(np.uint8)


class Dimmed(gym.Wrapper[Any, Any, Any, Any]):
    """A wrapper that draws, and has the render state of what it draws."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.t = 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.t += 1
        return super().step(action)

    def render(self) -> Any:
        return np.asarray(self.env.render()) // np.uint8(1 + self.t % 3)

    def render_state(self) -> Array:
        return np.append(self.env.get_wrapper_attr("lamps"), np.uint8(self.t))

    def set_render_state(self, state: Array) -> None:
        self.env.get_wrapper_attr("set_render_state")(state[:-1])
        self.t = int(state[-1])


class NoSetter(Lamp):
    set_render_state = property()  # type: ignore[assignment]


class NoPicture(Lamp):
    def render(self) -> None:
        return None


class FailsToDraw(Lamp):
    def render(self) -> Any:
        raise RuntimeError("no lamp oil")


class FailsToBuild(Lamp):
    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode is not None:
            raise ValueError("dark only")
        super().__init__()


class NoRenderMode(Lamp):
    metadata = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()


@pytest.fixture(autouse=True, scope="module")
def _lamps() -> Iterator[None]:
    own = {
        "Lamp": Lamp,
        "NoSetter": NoSetter,
        "NoPicture": NoPicture,
        "FailsToDraw": FailsToDraw,
        "FailsToBuild": FailsToBuild,
        "NoRenderMode": NoRenderMode,
        "Dimmed": lambda **kwargs: Dimmed(Lamp(**kwargs)),
    }
    for name, build in own.items():
        gym.register(f"tests/{name}-v0", build, max_episode_steps=20)
    yield
    for name in own:
        del gym.registry[f"tests/{name}-v0"]


@pytest.mark.parametrize("env_id", ["tests/Lamp-v0", "tests/Dimmed-v0"])
def test_an_environments_own_states_draw_it_again(env_id: str) -> None:
    segments, screen = recorded(gym.make(env_id, render_mode="rgb_array"), plain_live)
    assert len({picture.tobytes() for picture in screen}) > 5
    with SegmentRenderer(env_id) as renderer:
        assert renderer.fps == 7
        same_pixels(segments, screen, renderer)


def test_states_keep_their_dtype_to_the_store_and_back() -> None:
    segment = random_segment("tests/Lamp-v0")
    assert segment.render_states is not None
    assert segment.render_states.dtype == np.uint8
    back = decode_segment(encode_segment(segment), segment.step)
    with SegmentRenderer("tests/Lamp-v0") as renderer:
        np.testing.assert_array_equal(
            renderer.frames(back.render_states), renderer.frames(segment.render_states)
        )


@pytest.mark.parametrize(
    ("env_id", "why"),
    [
        ("FrozenLake-v1", "it offers no render state"),
        ("tests/NoSetter-v0", "no set_render_state"),
        ("tests/NoPicture-v0", r"render\(\) returned no \(H, W, 3\) uint8"),
        ("tests/FailsToDraw-v0", "RuntimeError: no lamp oil"),
        ("tests/FailsToBuild-v0", "ValueError: dark only"),
        ("tests/NoRenderMode-v0", "unexpected keyword argument 'render_mode'"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_the_remedy(env_id: str, why: str) -> None:
    with pytest.raises(PrefrlError, match=why) as refused:
        SegmentRenderer(env_id)
    assert env_id in str(refused.value) and "set_render_state(state)" in str(refused.value)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "tests/Lamp-v0"])
def test_states_of_another_environment_are_not_drawn(env_id: str) -> None:
    with SegmentRenderer(env_id) as renderer:
        with pytest.raises(PrefrlError, match=r"shape \(3,\), and this one has \(12,\)"):
            renderer.frame(np.zeros(12))
        assert renderer.frame(np.zeros(3)).any() == (env_id == "Pendulum-v1"), "and goes on"


def test_a_segment_without_states_cannot_be_drawn() -> None:
    bare = Segment(np.zeros((2, 3)), np.zeros((2, 1)), np.zeros(2))
    with (
        SegmentRenderer("tests/Lamp-v0") as renderer,
        pytest.raises(PrefrlError, match="recorded without any"),
    ):
        renderer.frames(bare.render_states)
