"""A fresh machine: the pins, the Makefile, what is tracked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIN_LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
PINS = {canonicalize_name(Requirement(line).name): Requirement(line) for line in PIN_LINES}
NEEDED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


def test_pins_are_plain_and_sorted() -> None:
    assert sorted(PIN_LINES, key=str.lower) == PIN_LINES
    assert len(PINS) == len(PIN_LINES) > 50
    for line in PIN_LINES:  # no local build such as +cpu, no address, no editable
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("needed", NEEDED)
def test_every_dependency_is_pinned_within_its_bounds(needed: str) -> None:
    requirement = Requirement(needed)
    (pin,) = PINS[canonicalize_name(requirement.name)].specifier
    assert requirement.specifier.contains(pin.version)


def test_all_that_dependencies_bring_is_pinned() -> None:
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [Requirement(line) for line in NEEDED]
    while todo:
        requirement = todo.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            lines = distribution(requirement.name).requires or []
        except PackageNotFoundError:
            continue  # another platform's
        extras = key[1] or {""}
        parsed = [Requirement(line) for line in lines]
        todo += [r for r in parsed if _applies(r, extras)]
    ours = {name for name, _ in seen} - {"setuptools"}  # each environment's own
    assert ours - set(PINS) == set()


def _applies(requirement: Requirement, extras: frozenset[str] | set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def test_the_makefile_installs_the_torch_that_is_pinned() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"TORCH ?= {PINS['torch']}\n" in makefile
    steps = makefile.split("$(STAMP): ")[1]
    assert steps.index('"$(TORCH)"') < steps.index("-c constraints.txt")


def make(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=cwd, env=environ, capture_output=True, text=True
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def fake_python(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_make_refuses_an_old_python(clone: Path) -> None:
    old = 'case "$1" in --version) echo Python 3.9.2;; -c) exit 1;; *) exit 9;; esac'
    python = fake_python(clone / "python", old)
    done = make("test", f"PYTHON={python}", cwd=clone)
    assert done.returncode == 2
    assert "prefrl needs Python 3.11 or newer" in done.stderr and "Python 3.9.2" in done.stderr
    assert not (clone / ".venv").exists()


def test_make_leaves_no_half_made_venv(clone: Path) -> None:
    broken = 'case "$1" in -m) mkdir .venv; exit 1;; --version) echo Python 3.11.0;; esac'
    python = fake_python(clone / "python", broken)
    assert make("test", f"PYTHON={python}", cwd=clone).returncode == 2
    assert not (clone / ".venv").exists()


def test_make_installs_once_and_again_when_the_pins_change(clone: Path) -> None:
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / "tests").mkdir()
    for name in ("python", "pytest"):
        fake_python(clone / ".venv/bin" / name, f'echo "{name} $*"')
    first = make("test", "PYTEST_ARGS=-x", cwd=clone).stdout
    assert first.index("pip install torch==") < first.index("pip install -c constraints.txt -e")
    assert "pytest -n logical -m not slow and not gpu and not display -x" in first
    assert "pip" not in make("test", cwd=clone).stdout
    later = (clone / ".venv/.installed").stat().st_mtime + 5
    os.utime(clone / "constraints.txt", (later, later))
    assert "pip install" in make("test", cwd=clone).stdout


def test_make_names_its_targets(clone: Path) -> None:
    listed = make(cwd=clone).stdout
    for target in ("train", "test", "test-slow", "lint", "clean"):
        assert f"make {target} " in listed


def test_ci_runs_lint_and_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert {"set -eu", "make lint", "make test"} <= set(lines)
