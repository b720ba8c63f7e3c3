"""MuJoCo's pictures: drawn fast enough without a GPU, and always by the same camera."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


def is_mujoco(env: gym.Env[Any, Any]) -> bool:
    """Whether Gymnasium's MuJoCo renderer draws this environment."""
    return hasattr(env.unwrapped, "mujoco_renderer")


def draw_fast(env: gym.Env[Any, Any], size: int) -> None:
    """Have an environment draw square pictures without shadows, reflections and multisampling.

    Without a GPU these three take over nine tenths of the time. The camera is the model's own
    "track" where it has one and the environment names no other: Gymnasium's default neither
    follows a runner nor stays the same from one process to the next, as it is aimed at where the
    parts are when the first picture is drawn. Where there is no such camera, it is aimed at the
    model's initial state.

    Args:
      env: reset, and not drawn yet; its render mode is "rgb_array".
      size: side of a picture, in pixels.
    """
    import mujoco

    plain: Any = env.unwrapped
    model, renderer = plain.model, plain.mujoco_renderer
    model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
    offscreen = model.vis.global_
    offscreen.offwidth = max(offscreen.offwidth, size)
    offscreen.offheight = max(offscreen.offheight, size)
    renderer.width = renderer.height = size
    if plain.camera_id is None and plain.camera_name is None:
        renderer.camera_id = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    plain.set_state(plain.init_qpos, plain.init_qvel)
    env.render()  # makes the viewer, whose flags are set below
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.viewer.scn.flags[flag] = 0


def make_current(env: gym.Env[Any, Any]) -> None:
    """Draw into this environment's own GL context: a thread has one current context."""
    plain: Any = env.unwrapped
    plain.mujoco_renderer.viewer.make_context_current()


def free(env: gym.Env[Any, Any]) -> None:
    """Free what was loaded into the GL context, while the context exists.

    Gymnasium leaves it to the garbage collector, which then frees textures of the same
    numbers in whatever context is current.
    """
    make_current(env)
    plain: Any = env.unwrapped
    plain.mujoco_renderer.viewer.con.free()
