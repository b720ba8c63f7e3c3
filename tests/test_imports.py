"""The packages keep to the design: who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import prefrl

ROOT = Path(__file__).resolve().parent.parent

LAYERS = [
    [f"prefrl.{name}" for name in layer.split()]
    for layer in (
        "types",
        "reward.losses segments store queries reward.nets",
        "reward.ensemble",
        "reward.fit agents.relabel",
        "loop",
        "cli",
    )
]


def modules(package: str) -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules("prefrl")


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names that an import statement may load."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.module and not node.level, "imports are absolute"
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def statements(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """What runs when a module is imported: no functions, nothing for type checkers alone."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            children = (c for c in ast.iter_child_nodes(node) if isinstance(c, ast.stmt))
            yield from statements(list(children))
        yield node


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def graph() -> dict[str, set[str]]:
    """For each module of prefrl those that it imports when it is imported."""
    edges = {}
    for name, path in MODULES.items():
        names = {n for node in statements(tree(path).body) for n in imported(node)}
        edges[name] = (names & MODULES.keys()) - {name}
    return edges


GRAPH = graph()


def reached(start: str) -> set[str]:
    """All that importing a module (or one of its package) loads, itself left out."""
    own = {name for name in GRAPH if name == start or name.startswith(f"{start}.")}
    seen, waiting = set(own), list(own)
    while waiting:
        new = GRAPH[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen - own


def test_the_imports_are_read_right() -> None:
    assert GRAPH["prefrl.reward.ensemble"] >= {"prefrl.reward.nets", "prefrl.types"}
    assert GRAPH["prefrl.reward.fit"] >= {"prefrl.reward.ensemble", "prefrl.reward.losses"}
    assert "prefrl.types" in reached("prefrl.cli")
    assert {layer for layers in LAYERS for layer in layers} <= MODULES.keys()


@pytest.mark.parametrize("level", range(len(LAYERS)))
def test_imports_point_one_way(level: int) -> None:
    higher = {name for layer in LAYERS[level:] for name in layer}
    for name in LAYERS[level]:
        above = {
            module
            for module in reached(name)
            if any(module == h or module.startswith(f"{h}.") for h in higher - {name})
        }
        assert not above, f"{name} must not import {sorted(above)}"


def test_types_import_numpy_alone() -> None:
    assert not GRAPH["prefrl.types"]
    names = {n for node in ast.walk(tree(MODULES["prefrl.types"])) for n in imported(node)}
    third_party = {n.split(".")[0] for n in names} - sys.stdlib_module_names - {"__future__"}
    assert third_party == {"numpy"}


def test_no_module_imports_itself_by_a_detour() -> None:
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    for name in MODULES.keys() - packages:
        assert all(name not in reached(other) for other in GRAPH[name] - packages), name


def test_environments_know_nothing_of_prefrl() -> None:
    for path in modules("envs").values():
        names = {n for node in ast.walk(tree(path)) for n in imported(node)}
        assert not {n for n in names if n.split(".")[0] in ("prefrl", "viewer")}, path


def test_prefrl_never_imports_the_viewer() -> None:
    """Save the command line, when a command is run."""
    for name, path in MODULES.items():
        at_import = {n for node in statements(tree(path).body) for n in imported(node)}
        ever = {n for node in ast.walk(tree(path)) for n in imported(node)}
        seen = at_import if name == "prefrl.commands" else ever
        assert not {n for n in seen if n.split(".")[0] == "viewer"}, name


def test_nothing_is_unpickled() -> None:
    """A store, a checkpoint or a downloaded file must never run code."""
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            names = {n.split(".")[0] for n in imported(node)}
            assert not names & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}, name
            if isinstance(node, ast.Call):
                call = ast.unparse(node)
                assert "allow_pickle=True" not in call, name
                if call.startswith("torch.load("):
                    assert "weights_only=True" in call, name


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after running `code`."""
    printed = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    return {name.split(".")[0] for name in printed.split()}


HEAVY = {"torch", "matplotlib", "stable_baselines3", "gymnasium", "mujoco", "pygame", "scipy"}


@pytest.mark.parametrize("code", ["import prefrl", "import prefrl.types", "import prefrl.config"])
def test_a_plain_import_is_light(code: str) -> None:
    loaded = loaded_by(code)
    assert "prefrl" in loaded
    assert not loaded & HEAVY


def test_a_labelers_process_needs_no_torch() -> None:
    loaded = loaded_by("import prefrl.store")
    assert "sqlalchemy" in loaded
    assert not loaded & HEAVY


def test_training_needs_no_plots_and_no_display() -> None:
    loaded = loaded_by("import prefrl.run")
    assert "torch" in loaded
    assert not loaded & {"pygame", "viewer"}


@pytest.mark.parametrize("name", prefrl.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(prefrl, name) is not None


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lern'"):
        prefrl.lern  # noqa: B018
