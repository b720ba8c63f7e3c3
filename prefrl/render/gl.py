"""Choice of the GL library that MuJoCo draws with: one that works on this machine."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from prefrl.types import PrefrlError

MUJOCO_GL = "MUJOCO_GL"
_BACKENDS = ("egl", "osmesa", "glfw") if sys.platform == "linux" else ("glfw",)
"""In this order: EGL uses a GPU where there is one, GLFW needs a display."""
_PROBE = """
import sys
from importlib import import_module
import mujoco
context = import_module(f"mujoco.{sys.argv[1]}").GLContext(64, 64)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100).free()
context.free()
"""
_PROBE_SECONDS = 60


@functools.cache
def choose_backend() -> str:
    """The backend that this process draws MuJoCo with: "egl", "osmesa" or "glfw".

    Each is tried in a separate process, as a broken library may end the process that loads it.
    The choice is written to MUJOCO_GL, which Gymnasium reads when it draws its first picture, even
    if MuJoCo was imported before. Where the user has set MUJOCO_GL, that one alone is tried. Call
    this before a window of pygame is opened in this process.

    Raises:
      PrefrlError: none works, or the user's does not.
    """
    wanted = os.environ.get(MUJOCO_GL, "").strip().lower()
    if wanted and wanted not in _BACKENDS:
        raise PrefrlError(
            f"MUJOCO_GL={wanted} must be one of {', '.join(_BACKENDS)}: correct it, or unset it "
            "and the one that works is found"
        )
    failures = {}
    for name in [wanted] if wanted else _BACKENDS:
        failure = _failure(name)
        if failure is None:
            os.environ[MUJOCO_GL] = name
            # Otherwise SDL shows windows through GL as well, and beside a context of EGL or OSMesa
            # the process ends with an X error or a segmentation fault (SDL 2.32).
            os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
            return name
        failures[name] = failure
    raise _no_backend(failures, wanted)


def _failure(name: str) -> str | None:
    """Why a backend does not work here, in one line; None where it does."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, name],
            env=os.environ | {MUJOCO_GL: name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_PROBE_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"ended by signal {-done.returncode}"


def _no_backend(failures: dict[str, str], wanted: str) -> PrefrlError:
    if wanted:
        message = (
            f"MUJOCO_GL={wanted} does not work on this machine: unset it, and what works is found"
        )
    else:
        message = (
            "MuJoCo cannot draw on this machine: install a GL library (Debian, Ubuntu: libegl1 "
            "and libgl1, or libosmesa6); MUJOCO_GL=egl, osmesa or glfw insists on one"
        )
    error = PrefrlError(message)
    for name, failure in failures.items():
        error.add_note(f"  {name}: {failure}")
    return error
