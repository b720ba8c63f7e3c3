"""What MuJoCo says, and what it needs, in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NO_GL = """
import ctypes, re, sys
real, none = ctypes.CDLL.__init__, re.compile("GL|OSMesa|X11|wayland-client", re.ASCII)
def load(self, name, *args, **kwargs):
    if none.search(str(name).rpartition("/")[2]):
        raise OSError(f"{name}: no such library")
    real(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = load
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
"""


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM"}
    environ = {key: value for key, value in os.environ.items() if key not in hidden}
    environ["PYTHONPATH"] = str(REPOSITORY)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environ, capture_output=True, text=True
    )


MAKE = "import gymnasium; env = gymnasium.make('HalfCheetah-v5').unwrapped; env.reset(seed=0)\n"
QUIET = "from prefrl.quiet import quiet_mujoco; quiet_mujoco(); quiet_mujoco()\n"
BREAK = "import mujoco; env.data.qpos[0] = float('nan'); mujoco.mj_step(env.model, env.data)\n"


def test_silent_about_gymnasiums_own_model(tmp_path: Path) -> None:
    done = run(QUIET + MAKE, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_an_unstable_simulation_is_reported(tmp_path: Path) -> None:
    done = run(QUIET + MAKE + BREAK, tmp_path)
    assert done.returncode == 0
    assert "QPOS at DOF 0. The simulation is unstable" in done.stderr
    assert "settotalmass" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_message_is_there_for_who_wants_it(tmp_path: Path) -> None:
    done = run("import logging; logging.basicConfig(level=10)\n" + QUIET + MAKE, tmp_path)
    assert "DEBUG:mujoco:compiler attribute 'settotalmass' is deprecated" in done.stderr


def test_a_handler_of_the_users_own_stays(tmp_path: Path) -> None:
    own = "import mujoco; mujoco.set_mju_user_warning(lambda text: print('mine:', text))\n"
    assert "mine: Nan, Inf" in run(own + QUIET + MAKE + BREAK, tmp_path).stdout


def test_nothing_to_do_without_mujoco(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['mujoco'] = None\n"
    done = run(hide + QUIET, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("absent", "code"),
    [
        ("{'glfw', 'OpenGL', 'pygame'}", "import envs, prefrl.config; import gymnasium as gym\n"),
        ("{'OpenGL', 'pygame'}", "import gymnasium as gym; gym.make('envs:prefrl/Hopper-v0')\n"),
    ],
)
def test_needs_no_gl_and_no_display(absent: str, code: str, tmp_path: Path) -> None:
    broken = run(f"ABSENT = {absent}{NO_GL}import ctypes; ctypes.CDLL('libGL.so.1')", tmp_path)
    assert "no such library" in broken.stderr
    done = run(f"ABSENT = {absent}{NO_GL}{code}{QUIET}", tmp_path)
    assert done.returncode == 0, done.stderr
