"""Studies go on where they stopped, and a quick one leaves the committed result alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prefrl import rundir
from prefrl.bench import (
    STUDIES,
    ablations,
    agents,
    behaviours,
    environments,
    gate,
    labels,
    loop,
    references,
    runs,
    teachers,
)
from prefrl.bench import study as studies
from prefrl.bench.study import Row, Study
from prefrl.bench.tasks import row_config
from prefrl.config import PRESETS
from prefrl.evaluate import random_returns
from prefrl.types import PrefrlError

MEASURED = {
    "references": references.specs,
    "loop": loop.specs,
    "labels": labels.specs,
    "ablations": ablations.specs,
    "teachers": teachers.specs,
    "gate": gate.specs,
    "agents": agents.specs,
    "environments": environments.specs,
    "backflip": behaviours.backflip_specs,
    "one-leg": behaviours.one_leg_specs,
    "grasp": behaviours.grasp_specs,
    "atari": behaviours.atari_specs,
}
"""Studies whose rows are of presets."""


def specs(quick: bool) -> list[Row]:
    return [{"task": "sum", "seed": seed, "quick": quick} for seed in range(1 if quick else 2)]


def measure(spec: Row, work: Path) -> Row:
    """In a process of its own, which leaves a trace."""
    (work / f"seen-{spec['seed']}").touch()
    return spec | {"score": 10.0 * spec["seed"]}


def broken_at_1(spec: Row, work: Path) -> Row:
    if spec["seed"] == 1:
        raise PrefrlError("seed 1 cannot be measured")
    return measure(spec, work)


def broken_at_0(spec: Row, work: Path) -> Row:
    if spec["seed"] == 0:
        raise PrefrlError("seed 0 cannot be measured")
    return measure(spec, work)


def headline(rows: Any) -> dict[str, float]:
    return {"best": max(row["score"] for row in rows)}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    monkeypatch.setattr(studies, "BENCHMARKS", tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)  # processes import this by name

    def call(
        quick: bool = False, again: bool = False, by: Callable[..., Row] = measure, **more: Any
    ) -> str:
        study = Study("sums", specs, by, headline, ("task", "seed", "score"), **more)
        study(Console(width=120), quick, again=again)
        return capsys.readouterr().out

    return call


def result(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "sums" / "result.json").read_text())
    return content


def test_a_study_goes_on_where_it_stopped(run: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(PrefrlError, match="seed 1 cannot be measured"):
        run(by=broken_at_1)
    assert [row["seed"] for row in result(tmp_path)["rows"]] == [0]
    assert result(tmp_path)["rows_missing"] == 1
    (tmp_path / "sums" / "work" / "seen-0").unlink()

    again = run()
    assert "1 rows done, 1 to go" in again and "2 of 2, done | task sum  seed 1" in again
    assert not (tmp_path / "sums" / "work" / "seen-0").exists(), "it was measured again"
    assert [row["score"] for row in result(tmp_path)["rows"]] == [0.0, 10.0]
    assert result(tmp_path)["headline"] == {"best": 10.0}
    assert result(tmp_path)["rows_missing"] == 0
    table = (tmp_path / "sums" / "table.md").read_text().splitlines()
    assert table[0] == "| task | seed | score | commit |"
    assert table[-1].startswith("| sum | 1 | 10 | ")
    assert "2 rows done, 0 to go (--again measures all)" in run()
    assert "0 rows done, 2 to go" in run(again=True)
    assert (tmp_path / "sums" / "work" / "seen-0").exists()


def test_a_row_that_fails_keeps_no_other_from_being_measured(
    run: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(PrefrlError, match="seed 0 cannot be measured"):
        run(by=broken_at_0)
    assert [row["seed"] for row in result(tmp_path)["rows"]] == [1]


def test_an_old_row_counts_until_its_new_one_is_there(
    run: Callable[..., str], tmp_path: Path
) -> None:
    run()
    later = {"derived": lambda row: row | {"score": row["score"] + 1}}
    with pytest.raises(PrefrlError, match="seed 1 cannot be measured"):
        run(again=True, by=broken_at_1)
    assert [row["score"] for row in result(tmp_path)["rows"]] == [0.0, 10.0]
    assert "0 rows done, 2 to go" in run(again=True, **later)
    assert [row["score"] for row in result(tmp_path)["rows"]] == [1.0, 11.0]


def test_what_follows_from_other_studies_is_kept_up_to_date(
    run: Callable[..., str], tmp_path: Path
) -> None:
    run(derived=lambda row: row | {"score": row["seed"] - 1.0})
    assert [row["score"] for row in result(tmp_path)["rows"]] == [-1.0, 0.0]
    assert "2 rows done, 0 to go" in run(derived=lambda row: row | {"score": row["seed"] + 1.0})
    assert [row["score"] for row in result(tmp_path)["rows"]] == [1.0, 2.0]
    assert result(tmp_path)["headline"] == {"best": 2.0}


def test_a_quick_study_is_written_elsewhere(run: Callable[..., str], tmp_path: Path) -> None:
    committed = tmp_path / "sums" / "result.json"
    committed.parent.mkdir()
    committed.write_text('{"rows": []}')
    run(quick=True)
    assert committed.read_text() == '{"rows": []}'
    quick = json.loads((tmp_path / "sums" / "quick" / "result.json").read_text())
    assert quick["command"] == "prefrl bench sums --quick"
    assert [row["quick"] for row in quick["rows"]] == [True]


def git(folder: Path, *words: str) -> None:
    me = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", str(folder), *me, *words], check=True, capture_output=True)


def test_results_are_no_change_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, results = tmp_path / "prefrl" / "rundir.py", tmp_path / "runs" / "benchmarks" / "r.json"
    for path in (source, results):
        path.parent.mkdir(parents=True)
        path.write_text("1")
    monkeypatch.setattr(rundir, "__file__", str(source))
    assert rundir.commit() == "", "no repository"
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    clean = rundir.commit()
    assert len(clean) == 12
    results.write_text("2")
    assert rundir.commit() == clean
    source.write_text("2")
    assert rundir.commit() == f"{clean}-dirty"


def test_a_damaged_result_is_not_measured_over(run: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "result.json").write_text('{"rows": [')
    with pytest.raises(PrefrlError, match=r"result\.json is damaged"):
        run()
    assert (tmp_path / "sums" / "result.json").read_text() == '{"rows": ['


def test_rows_of_a_study_that_measures_alike_are_taken_over(
    run: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def more(quick: bool) -> list[Row]:
        return [*specs(quick), {"task": "sum", "seed": 7, "quick": quick}]

    run()
    shutil.rmtree(tmp_path / "sums" / "work")
    study = Study("more", more, measure, headline, ("task", "seed", "score"), alike=("sums",))
    study(Console(width=120))
    assert "more: 2 rows done, 1 to go" in capsys.readouterr().out
    taken = json.loads((tmp_path / "more" / "result.json").read_text())["rows"]
    assert taken[:2] == result(tmp_path)["rows"] and [r["seed"] for r in taken] == [0, 1, 7]
    assert {path.name for path in (tmp_path / "more" / "work").glob("seen-*")} == {"seen-7"}


def test_a_changed_preset_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = (references, loop, environments)
    before = {s: {_key(row) for row in s(False)} for s in (study.specs for study in preset)}
    presets = Path(shutil.copytree(PRESETS, tmp_path / "configs"))
    monkeypatch.setattr("prefrl.bench.tasks.PRESETS", presets)
    for specs, known in before.items():
        assert {_key(row) for row in specs(False)} == known
    text = (presets / "pendulum.toml").read_text()
    (presets / "pendulum.toml").write_text(text.replace("steps = 100_000", "steps = 110_000"))
    for specs, known in before.items():
        new = [json.loads(key) for key in {_key(row) for row in specs(False)} - known]
        assert {row["task"] for row in new} == {"pendulum"} and len(new) >= 3


def _key(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def test_the_committed_rows_are_of_todays_presets() -> None:
    results = {p.parent.name: p for p in studies.BENCHMARKS.glob("*/result.json")}
    assert set(results) >= {"references", "loop", "backflip", "grasp"}
    for name in MEASURED.keys() & results.keys():
        committed = json.loads(results[name].read_text())["rows"]
        wanted = MEASURED[name](False)
        assert all(any(studies._matches(row, spec) for spec in wanted) for row in committed)


def test_the_committed_scores_are_between_todays_references() -> None:
    seen = 0
    for name, study in STUDIES.items():
        path = studies.BENCHMARKS / name / "result.json"
        if study.derived is runs.scored and path.exists():
            for row in json.loads(path.read_text())["rows"]:
                assert row["score"] == pytest.approx(study.derived(row)["score"]), row
                seen += 1
    assert seen >= 100


def test_the_committed_random_returns_are_todays() -> None:
    path = studies.BENCHMARKS / "references" / "result.json"
    every: list[Row] = json.loads(path.read_text())["rows"]
    rows = [row for row in every if row["task"] in ("pendulum", "cart_pole")]
    for row in rows:
        config = row_config({"arm": "default"} | row)
        found = float(random_returns(config, config.eval_episodes).mean())
        assert row["random_return"] == pytest.approx(found, rel=1e-6), row
    assert len(rows) >= 8


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_the_committed_headline_follows_from_the_committed_rows(name: str) -> None:
    path = studies.BENCHMARKS / name / "result.json"
    if not path.exists():
        pytest.skip("not measured yet")
    committed = json.loads(path.read_text())
    found = dict(STUDIES[name].headline(committed["rows"]))
    assert found == pytest.approx(committed["headline"], rel=1e-6, nan_ok=True)
