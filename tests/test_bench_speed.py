"""The study of speed: its stopwatch, its rows, its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefrl.bench import speed
from prefrl.bench.stages import STAGES, timed
from prefrl.bench.study import in_fresh_process, in_turn
from prefrl.config import first_batch
from prefrl.types import MachineError

TINY = {"labels": 4, "segment": 10, "members": 3, "answers": 3, "steps": 2048, "repeat": 0}


class Clock:
    """Goes on when it is told to, so that a busy machine is no slower."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_on(self, seconds: float) -> None:
        self.now += seconds


CLOCK = Clock()


class Base:
    def inherited(self) -> None:
        CLOCK.pass_on(2)


class Busy(Base):
    def outer(self) -> str:
        CLOCK.pass_on(3)
        self.inner()
        self.inherited()
        CLOCK.pass_on(4)
        return "done"

    def inner(self) -> None:
        CLOCK.pass_on(5)

    def fails(self) -> None:
        CLOCK.pass_on(1)
        raise ValueError("as told")

    def each(self) -> Iterator[int]:
        for number in range(3):
            CLOCK.pass_on(10)
            yield number


def test_each_stage_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage calls, and what is done with a generator's items, is not its own."""
    monkeypatch.setattr("prefrl.bench.stages.perf_counter", CLOCK)
    stages = {
        "outer": ((Busy, "outer"), (Busy, "fails")),
        "inner": ((Busy, "inner"),),
        "each": ((Busy, "each"),),
        "inherited": ((Busy, "inherited"),),
    }
    before = dict(vars(Busy))
    with timed(stages) as watch:
        busy = Busy()
        assert busy.outer() == "done"
        with pytest.raises(ValueError, match="as told"):
            busy.fails()
        for number, item in enumerate(busy.each()):
            assert item == number
            CLOCK.pass_on(100)
    assert dict(vars(Busy)) == before, "the methods are as before"
    assert watch.seconds == {"outer": 8, "inner": 5, "each": 30, "inherited": 2}


def test_the_stages_are_methods_that_are_there() -> None:
    for owner, name in (method for methods in STAGES.values() for method in methods):
        assert callable(getattr(owner, name))


def fail() -> None:
    raise SystemExit(3)


def test_a_process_that_ends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)  # processes import this by name
    assert in_fresh_process(sorted, [2, 1]) == [1, 2]
    with pytest.raises(MachineError, match=r"fail\(\) ended"):
        in_fresh_process(fail)


def noted(side: str, path: Path) -> str:
    with path.open("a") as file:
        file.write(side)
    return side.upper()


def test_sides_take_turns_at_being_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)  # processes import this by name
    path = tmp_path / "order"
    for turn in range(2):
        assert in_turn(noted, ("a", "b"), turn, path) == {"a": "A", "b": "B"}
    assert path.read_text() == "abba"


@pytest.mark.parametrize("quick", [True, False])
def test_the_rows_say_what_they_measure(quick: bool) -> None:
    rows = speed.specs(quick)
    assert {row["part"] for row in rows} == set(speed._PARTS)
    assert len({tuple(sorted(row.items())) for row in rows}) == len(rows)
    for spec in (row for row in rows if row["part"] == "label"):
        for there in (spec["few"], spec["many"]):
            config = speed._label_config(there, spec)
            assert first_batch(config.labels) == there
            assert config.labels.budget - there == spec["each_time"] * config.steps // 2048


def test_settings_that_are_changed_are_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [row for row in speed.specs(quick=False) if row["part"] == "training"]
    monkeypatch.setattr(speed, "LABELS", 500)
    after = [row for row in speed.specs(quick=False) if row["part"] == "training"]
    assert len(before) == len(after) == speed.PAIRS
    assert not {row["settings"] for row in before} & {row["settings"] for row in after}


def test_the_small_parts_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_AT_ONCE", 4)
    stored = speed.measure({"part": "store", **TINY}, tmp_path)
    assert 0 < stored["p50_ms"] <= stored["p95_ms"] and stored["megabytes"] > 0
    fitted = speed.measure({"part": "fit", **TINY}, tmp_path)
    assert fitted["epochs"] >= 1 and fitted["cpu_seconds"] > 0
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_headline() -> None:
    rows: list[dict[str, Any]] = [
        {"part": "training", "ratio": r, "loop_return": 2 * r, "plain_return": r} for r in (1, 3, 8)
    ]
    assert speed.headline(rows) == {"fast_ratio": 3, "loop_return": 8, "plain_return": 4}
    costs = [{"part": "label", "cost_ratio": 1.1, "cost_wall_ratio": 1.2}]
    assert speed.headline(costs) == {"label_cost_ratio": 1.1, "label_cost_wall_ratio": 1.2}
    shares = dict(zip((*STAGES, "rest"), np.linspace(0, 0.2, len(STAGES) + 1), strict=True))
    found = speed.headline([{"part": "stages", "share": shares}])
    assert found["rest_share"] == 0.2 and sum(found.values()) == pytest.approx(sum(shares.values()))


@pytest.mark.slow
def test_the_parts_that_train_measure(tmp_path: Path) -> None:
    tiny = {"few": 10, "many": 20, "each_time": 4, "passes": 3, "repeat": 0}
    assert speed.measure({"part": "label", **tiny}, tmp_path)["cost_ratio"] > 0
    stages = speed.measure({"part": "stages", **TINY, "steps": 12_288}, tmp_path)
    assert sum(stages["share"].values()) == pytest.approx(1)
    assert stages["share"]["rest"] < 0.5 and stages["share"]["update"] > 0
