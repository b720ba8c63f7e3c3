"""The GL library that draws: found out without harm, named where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefrl.render import gl
from prefrl.types import PrefrlError

ROOT = Path(__file__).resolve().parent.parent
# As on a machine without a GL library: for this process and those that it starts.
NO_GL = """
import ctypes, re
real, none = ctypes.CDLL.__init__, re.compile("GL|OSMesa|X11|wayland-client", re.ASCII)
def load(self, name, *args, **kwargs):
    if none.search(str(name).rpartition("/")[2]):
        raise OSError(f"{name}: no such library")
    real(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = load
"""


@pytest.fixture(autouse=True)
def _undecided(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is chosen yet; and nothing that is chosen here stays."""
    monkeypatch.setenv(gl.MUJOCO_GL, "")
    gl.choose_backend.cache_clear()
    yield
    gl.choose_backend.cache_clear()


def works(*names: str) -> str:
    """A probe that only these backends pass."""
    return f"import sys; sys.exit(sys.argv[1] not in {names})"


def test_the_first_that_works_is_chosen_and_left_for_gymnasium(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gl, "_PROBE", works("osmesa", "glfw"))
    assert gl.choose_backend() == "osmesa"
    assert os.environ[gl.MUJOCO_GL] == "osmesa"
    monkeypatch.setattr(gl, "_PROBE", works())
    assert gl.choose_backend() == "osmesa", "once for a process"


def test_a_users_choice_is_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl, "_PROBE", works("egl", "osmesa", "glfw"))
    monkeypatch.setenv(gl.MUJOCO_GL, "OSMesa")
    assert gl.choose_backend() == "osmesa"


def test_a_users_choice_that_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl, "_PROBE", works("egl"))
    monkeypatch.setenv(gl.MUJOCO_GL, "osmesa")
    with pytest.raises(PrefrlError, match="MUJOCO_GL=osmesa does not work on this machine: unset"):
        gl.choose_backend()
    monkeypatch.setenv(gl.MUJOCO_GL, "metal")
    with pytest.raises(PrefrlError, match="MUJOCO_GL=metal must be one of egl, osmesa, glfw:"):
        gl.choose_backend()


def test_a_library_that_ends_its_process_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl, "_PROBE", "import os; os.abort()")
    with pytest.raises(PrefrlError, match="install a GL library") as refused:
        gl.choose_backend()
    assert [note.split() for note in refused.value.__notes__] == [
        [f"{name}:", "ended", "by", "signal", "6"] for name in ("egl", "osmesa", "glfw")
    ]
    assert os.environ[gl.MUJOCO_GL] == ""


def test_a_library_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(gl, "_PROBE_SECONDS", 0.1)
    with pytest.raises(PrefrlError) as refused:
        gl.choose_backend()
    assert "egl: no answer in 0.1 s" in refused.value.__notes__[0]


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM"}
    environ = {key: value for key, value in os.environ.items() if key not in hidden}
    environ["PYTHONPATH"] = os.pathsep.join(map(str, (*path, ROOT)))
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    ("backend", "remedy"),
    [("", "libegl1 and libgl1, or libosmesa6"), ("egl", "MUJOCO_GL=egl does not work")],
)
def test_without_a_gl_library_the_packages_are_named(
    tmp_path: Path, backend: str, remedy: str
) -> None:
    """And training does without, in the same process, unless MUJOCO_GL insists on one."""
    (tmp_path / "sitecustomize.py").write_text(NO_GL)
    code = f"""
import os
os.environ["MUJOCO_GL"] = {backend!r}
from prefrl.render import SegmentRenderer
from prefrl.types import PrefrlError
try:
    SegmentRenderer("HalfCheetah-v5")
except PrefrlError as error:
    print(error)
if not os.environ["MUJOCO_GL"]:
    from prefrl.environments import make_env
    print(make_env("HalfCheetah-v5", 1).reset().shape)
"""
    done = python(code, tmp_path)
    assert remedy in done.stdout and "MUJOCO_GL" in done.stdout
    assert "(1, 17)" in done.stdout or backend
    assert "Traceback" not in done.stderr


def test_importing_the_renderer_loads_neither_gl_nor_pygame() -> None:
    code = "import prefrl.render, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(python(code).stdout.split())
    assert "prefrl" in loaded
    assert not loaded & {"OpenGL", "glfw", "pygame", "mujoco", "av"}


def test_a_process_that_has_imported_mujoco_can_still_choose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        gl.choose_backend()
    except PrefrlError as error:
        pytest.skip(str(error))
    code = """
import mujoco, gymnasium
gymnasium.make("HalfCheetah-v5").reset()
from prefrl.render import SegmentRenderer
with SegmentRenderer("HalfCheetah-v5", size=64) as renderer:
    print(renderer.backend)
"""
    assert python(code).stdout.split() == [gl.choose_backend()]
