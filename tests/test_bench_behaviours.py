"""What the studies of behaviours and environments add their rows up to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor

from prefrl.bench import behaviours, environments
from prefrl.bench.curves import ReturnCurve, draw_curves
from prefrl.bench.study import Row
from prefrl.bench.tasks import ENVIRONMENT_TASKS, row_config, task_config
from prefrl.config import EnvConfig
from prefrl.report.svg import BLUE, ORANGE


def rows(specs: list[Row], **values: list[float]) -> list[Row]:
    """The specs with these values, in order."""
    return [spec | {key: value[i] for key, value in values.items()} for i, spec in enumerate(specs)]


def test_backflips() -> None:
    specs = behaviours.backflip_specs(quick=False)
    n = len(specs) // 2
    assert [s["arm"] for s in specs] == ["labels"] * n + ["handwritten"] * n
    found = behaviours.backflip_headline(
        rows(specs, flips=[*[6.0] * n, *[2.0] * n], labels=[*range(890, 890 + n), *[0] * n])
    )
    assert found == {
        "flips_per_20s": 6, "labels": 889 + n, "handwritten_flips_per_20s": 2,
    }  # fmt: skip
    assert set(behaviours.backflip_headline(specs[:0])) == set()


def test_one_leg_is_measured_by_the_run_on_both() -> None:
    specs = behaviours.one_leg_specs(quick=False)
    metres = {"half_cheetah_one_leg": 40.0, "half_cheetah_paper": 50.0}
    distance = [metres[s["task"]] * (1 + (s["arm"] == "5M steps")) for s in specs]
    found = behaviours.one_leg_headline(
        rows(specs, distance=distance, other_foot=[0.01] * len(specs), fallen=[0.2] * len(specs))
    )
    shares = {"distance_share": 0.8, "distance_share_as_long": 0.4}
    assert found == pytest.approx(shares | {"other_foot": 0.01, "fallen": 0.2})
    steps = {s["task"]: row_config(s).steps for s in specs}  # of the last of each
    assert len(set(steps.values())) == 1


def test_grasps_with_and_without_the_cross() -> None:
    specs = behaviours.grasp_specs(quick=False)
    real = [0.9 if s["arm"] == "cross" else 0.1 for s in specs]
    found = behaviours.grasp_headline(rows(specs, real=real, looks_held=[0.8] * len(specs)))
    assert found["real_without_cross"] == pytest.approx(0.1)
    assert found["real_with_cross"] == pytest.approx(0.9)
    crosses = [row_config(s).env.kwargs.get("cross", False) for s in specs]
    assert crosses == [s["arm"] == "cross" for s in specs] and len(specs) >= 6


def test_atari_is_measured_against_rl_on_the_games_own_reward() -> None:
    specs = behaviours.atari_specs(quick=False)
    by_arm = {(s["task"], s["arm"]): s for s in specs}
    for labels, rl in (("pong", "pong"), ("enduro_stay_even", "enduro")):
        theirs = by_arm[(rl, "true reward")]
        ours = by_arm[(labels, "labels")]
        assert row_config(ours).steps == row_config(theirs).steps
    values = [float(i) for i in range(len(specs))]
    found = behaviours.atari_headline(
        rows(specs, score=values, passed=values, passed_by=values, alongside=values)
    )
    pong = [list(by_arm).index(("pong", arm)) for arm in ("labels", "true reward")]
    assert [found["pong_labels"], found["pong_rl"]] == pong
    i = list(by_arm).index(("enduro_stay_even", "labels"))
    assert found["enduro_even_overtaken"] == 2 * i and found["enduro_even_alongside"] == i


def test_the_iqm_over_tasks_waits_for_all_of_them() -> None:
    specs = environments.specs(quick=False)
    tasks = {spec["task"]: spec for spec in specs if spec["arm"] == "default"}
    assert set(tasks) == set(ENVIRONMENT_TASKS) and len(tasks) == 8
    scores = [float(ENVIRONMENT_TASKS.index(s["task"])) for s in specs]
    found = environments.headline(rows(specs, score=scores))
    assert found["mujoco_iqm"] == pytest.approx(np.mean([2, 3, 4, 5]))
    assert found[ENVIRONMENT_TASKS[3]] == 3
    assert "mujoco_iqm" not in environments.headline(rows(specs, score=scores)[1:])


def test_a_quick_row_is_trained_watched_and_filmed(tmp_path: Path) -> None:
    spec = next(s for s in behaviours.grasp_specs(quick=True) if s["arm"] == "cross")
    work = tmp_path / "work"
    work.mkdir()
    row = behaviours.measure(spec, work)
    assert row["steps"] == task_config("deceptive_grasp", "cross", 0, quick=False).steps // 20
    assert 0 < row["labels"] <= row["offered"]
    assert 0 <= row["looks_held"] <= 1 and row["real"] in (0, 0.25, 0.5, 0.75, 1)
    assert len(row["curve"]) >= 1
    if not row["film"].endswith(".gif"):
        pytest.skip(row["film"])
    with Image.open(tmp_path / row["film"]) as film:
        assert film.n_frames > 10 and film.size == (200, 200)


class Still:
    """A policy that closes the gripper where it is."""

    use_sde = False

    def get_vec_normalize_env(self) -> None:
        return None

    def predict(self, obs: Any, **_: Any) -> tuple[Any, None]:
        return np.array([0, 0, -0.1], np.float32), None


def test_each_episode_that_is_watched_begins_differently() -> None:
    policy: Any = Still()
    config = EnvConfig(id="prefrl/DeceptiveGrasp-v0", module="envs")
    found, states = behaviours._watched(policy, config, 3, lambda env: {"y": env.data.qpos[0]})
    assert len({row["y"] for row in found}) == len({row["true_return"] for row in found}) == 3
    assert len(states) == 100, "of the first episode"


def test_a_policy_is_watched_in_whole_episodes_of_its_own_environment() -> None:
    cut = EnvConfig(id="prefrl/DeceptiveGrasp-v0", kwargs={"cross": True, "max_episode_steps": 50})
    assert behaviours._watched_in("deceptive_grasp", cut).kwargs == {"cross": True}
    assert behaviours._watched_in("deceptive_grasp", cut).id == "prefrl/DeceptiveGrasp-v0"
    assert behaviours._watched_in("enduro", cut).id == "prefrl/EnduroStayEven-v0"


def test_a_curve_is_of_the_episodes_since_its_last_point() -> None:
    watcher = ReturnCurve(every=100)
    for step, returns in (
        (60, [1.0]),
        (120, [3.0]),
        (180, [9.0]),
        (240, []),
        (360, []),
        (420, [5.0]),
    ):
        watcher.num_timesteps = step
        watcher.locals = {"infos": [{}, *({"episode": {"r": r}} for r in returns)]}
        watcher._on_step()
        watcher._on_rollout_end()
    assert watcher.points == [(120, 2.0), (240, 9.0), (420, 5.0)]


def test_curves_are_drawn_by_task(tmp_path: Path) -> None:
    curve = [(1000, -21.0), (200_000, 3.5), (1_000_000, 14.0)]
    specs = behaviours.atari_specs(quick=False)
    draw_curves(rows(specs, curve=[curve] * len(specs)), tmp_path / "all.png")
    draw_curves(rows(specs[:1], curve=[curve]), tmp_path / "one.png")
    draw_curves(rows(specs[:1], curve=[[]]), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    with Image.open(tmp_path / "all.png") as three, Image.open(tmp_path / "one.png") as one:
        assert three.height == one.height and three.width == pytest.approx(3 * one.width, abs=3)
        colours = {colour for _, colour in three.convert("RGB").getcolors(2**20) or []}
    assert {ImageColor.getrgb(BLUE), ImageColor.getrgb(ORANGE)} <= colours
