"""The notebook is the README's example, and runs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"steps=60_000": "steps=9216", "n_steps=512": "n_steps=64", "labels=200": "labels=40"}


def notebook() -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)


def code_cells() -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook().cells if cell.cell_type == "code"]


def test_is_the_readme_example_and_a_picture() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.findall(
        r"example:start -->\n```python\n(.*?)\n```\n<!-- example:end", readme, re.S
    )
    *cells, picture = [cell.source for cell in code_cells()]
    assert example == ["\n\n".join(cells)]
    assert "reward.predict" in picture


def test_holds_no_outputs() -> None:
    nbformat.validate(notebook())
    assert all(not c.outputs and c.execution_count is None for c in code_cells())


@pytest.mark.parametrize("small", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_runs(small: bool, tmp_path: Path) -> None:
    book = notebook()
    for cell in book.cells:
        if small and cell.cell_type == "code":
            for number, smaller in SMALL.items():
                cell.source = cell.source.replace(number, smaller)
    assert small == all(smaller in str(book) for smaller in SMALL.values())
    NotebookClient(
        book,
        timeout=500,
        raise_on_iopub_timeout=True,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    *_, judged, picture = [cell for cell in book.cells if cell.cell_type == "code"]
    found = re.search(r"true return (-\d+), plus or minus", judged.outputs[0]["text"])
    assert found and (small or int(found[1]) > -400)
    assert any("image/png" in output.get("data", {}) for output in picture.outputs), picture
