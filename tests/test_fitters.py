"""Fitters: what they read from the store, and what they leave to the other process."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from prefrl.config import from_mapping
from prefrl.environments import make_env
from prefrl.reward.dataset import ComparisonData
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitMetrics, FitSettings
from prefrl.reward.fitters import BackgroundFitter, InlineFitter
from prefrl.reward.unlabelled import load_unlabelled
from prefrl.run import build_fitter
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.streams import Stage
from prefrl.types import Preference, Query, Segment

LEFT = Preference.LEFT
build = partial(
    RewardEnsemble,
    spaces.Box(-np.inf, np.inf, (3,), np.float32),
    spaces.Box(-2, 2, (1,), np.float32),
    hidden=(8,),
)


def by_true_return(query: Query) -> Preference:
    return LEFT if query.left.true_return > query.right.true_return else Preference.RIGHT


def linear_task(n: int, spread: float = 1.0) -> list[Query]:
    """Questions about segments whose true reward is linear in the observation."""
    rng = np.random.default_rng(0)
    obs = spread * rng.normal(size=(n, 2, 10, 3)).astype(np.float32)
    actions = rng.uniform(-2, 2, (n, 2, 10, 1)).astype(np.float32)
    pairs = [
        [Segment(o, a, o @ [1.0, -2.0, 0.5]) for o, a in zip(*pair, strict=True)]
        for pair in zip(obs, actions, strict=True)
    ]
    return [Query(left, right) for left, right in pairs]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ComparisonStore]:
    with ComparisonStore(tmp_path / "store.sqlite") as opened:
        yield opened


def answer(store: ComparisonStore, asked: list[Query]) -> None:
    store.answer_all([(q.id or 0, by_true_return(q)) for q in asked], "test")


def alive(kind: type) -> int:
    """How many objects of a class there are in memory."""
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


def test_the_inline_fitter_reads_the_store(store: ComparisonStore) -> None:
    ensemble = build()
    fitter = InlineFitter(ensemble, store, FitSettings(max_epochs=3), seed=0, latest=20)
    assert fitter.update() is None
    asked = store.add(linear_task(30))
    store.answer_all([(asked[0].id or 0, LEFT)], "test")
    assert fitter.update() is None, "one answer is not enough"
    assert not ensemble.knows_inputs
    answer(store, asked[1:10])
    metrics = fitter.update()
    assert metrics is not None
    assert metrics["comparisons"] == 10
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    assert fitter.update() is None, "nothing new"
    assert all(torch.equal(v, before[name]) for name, v in ensemble.state_dict().items())
    answer(store, asked[10:])
    metrics = fitter.update()
    assert metrics is not None
    assert metrics["comparisons"] == 20, "the latest"
    store.revise(asked[29].id or 0, None, "test")
    metrics = fitter.update()
    assert metrics is not None
    assert metrics["comparisons"] == 20, "an older one moves up"
    fitter.close()


def test_what_was_fitted_elsewhere_is_not_fitted_again(store: ComparisonStore) -> None:
    asked = store.add(linear_task(12))
    answer(store, asked[:10])
    first = InlineFitter(ensemble := build(), store, FitSettings(max_epochs=2), seed=0)
    assert first.start() is not None
    again = InlineFitter(ensemble, store, FitSettings(), seed=0, fitted_to=first.fitted_to)
    assert again.update() is None
    answer(store, asked[10:])
    metrics = again.update()
    assert metrics is not None and metrics["comparisons"] == 12


def test_no_two_fitters_of_a_run_draw_alike(store: ComparisonStore) -> None:
    """The trainer's, that of a run that goes on, and the second process's."""
    answer(store, store.add(linear_task(12)))
    rewards = []
    for stage, step in ((Stage.FIT, 0), (Stage.FIT, 100), (Stage.BACKGROUND_FIT, 0)):
        fitter = InlineFitter(
            ensemble := build(), store, FitSettings(batch_size=4), seed=0, stage=stage, step=step
        )
        fitter.start()
        rewards.append(_rewards(ensemble))
    assert not any(torch.equal(rewards[i], rewards[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_new_answers_are_in_the_part_that_a_refit_looks_at(
    store: ComparisonStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def keep(*arguments: Any) -> None:
        told.append(arguments[-1])

    monkeypatch.setattr("prefrl.reward.fitters.fit", keep)
    fitter = InlineFitter(build(), store, FitSettings(), seed=0)
    asked = store.add(linear_task(12))
    for some in (asked[:8], asked[8:11]):
        answer(store, some)
        fitter.update()
    store.answer(asked[11].id or 0, Preference.INCOMPARABLE, "test")
    fitter.update()
    assert told == [8, 3, 0]


@pytest.mark.parametrize(("latest", "part"), [(0, 1000), (3000, 0)])
def test_comparisons_that_are_bounded_already_are_all_looked_at(
    store: ComparisonStore, tmp_path: Path, latest: int, part: int
) -> None:
    config = from_mapping({"labels": {"max_comparisons": latest}, "reward": {"fit": "sync"}})
    fitter = build_fitter(config, RunDir(tmp_path), build(), store, make_env("Pendulum-v1", 1))
    assert isinstance(fitter, InlineFitter)
    assert fitter._settings.refit_part == part and fitter._settings.refit_epochs == 4


def test_where_no_segments_were_seen_those_of_the_answers_teach(store: ComparisonStore) -> None:
    """As in a run that trains on answers given earlier, whose one fit comes before any step."""
    answer(store, store.add(linear_task(20)))
    weights = []
    for dynamics in (0.0, 1.0):
        ensemble = build(predicts_dynamics=True)
        before = [p.clone() for p in ensemble.dynamics_head.parameters()]
        fitter = InlineFitter(ensemble, store, FitSettings(max_epochs=3, dynamics=dynamics), seed=0)
        assert fitter.start() is not None
        moved = any(
            not torch.equal(*pair)
            for pair in zip(before, ensemble.dynamics_head.parameters(), strict=True)
        )
        assert moved is (dynamics > 0)
        weights.append(_rewards(ensemble))
    assert not torch.equal(*weights)


def test_the_newest_answers_segments_stand_in_for_unseen_ones(
    store: ComparisonStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[torch.Tensor] = []

    def keep(*arguments: Any) -> None:
        given.append(arguments[-2])

    monkeypatch.setattr("prefrl.reward.fitters.KEPT", 4)
    monkeypatch.setattr("prefrl.reward.fitters.fit", keep)
    asked = store.add(linear_task(12))
    answer(store, asked)
    InlineFitter(build(), store, FitSettings(dynamics=1.0), seed=0).start()
    newest = [segment for q in asked[-2:] for segment in (q.left, q.right)]
    np.testing.assert_allclose(given[0][..., :3], np.stack([s.obs for s in newest]))


def test_a_process_goes_on_from_the_trainers_first_fit(
    store: ComparisonStore, tmp_path: Path
) -> None:
    """Inputs stay scaled as on the first batch, whatever was answered before it was whole."""
    ensemble = build()
    first, later = store.add(linear_task(20)), store.add(linear_task(5, spread=100.0))
    where, weights = tmp_path / "store.sqlite", tmp_path / "fitted.safetensors"
    fitter = BackgroundFitter(
        ensemble, build, store, where, weights, FitSettings(max_epochs=3), seed=0
    )
    try:
        answer(store, first[:2])
        assert fitter.update() is None
        assert not weights.exists(), "nobody fits before the trainer does"
        answer(store, first[2:])
        kept = alive(ComparisonData)
        metrics = fitter.start()
        assert metrics is not None and metrics["comparisons"] == 20
        assert alive(ComparisonData) == kept, "the trainer keeps the answers no longer"
        assert fitter.fitted_to == 20
        scaled_on, paid = ensemble.input_mean.clone(), _rewards(ensemble)
        answer(store, later)
        assert fitter.fitted_to == 20, "not yet"
        metrics = _wait_for(fitter)
        assert metrics["comparisons"] == fitter.fitted_to == 25
        assert torch.equal(ensemble.input_mean, scaled_on)
        assert not torch.equal(_rewards(ensemble), paid)
    finally:
        fitter.close()


def _wait_for(fitter: BackgroundFitter, seconds: float = 60) -> FitMetrics:
    deadline = time.monotonic() + seconds
    while (metrics := fitter.update()) is None:
        assert time.monotonic() < deadline, "no fit"
        time.sleep(0.05)
    return metrics


def _rewards(ensemble: RewardEnsemble) -> Any:
    rng = np.random.default_rng(1)
    obs, actions = rng.normal(size=(4, 3)), rng.normal(size=(4, 1))
    return torch.as_tensor(ensemble.predict(obs, actions))


def test_a_fitter_that_never_started_closes(store: ComparisonStore, tmp_path: Path) -> None:
    weights = tmp_path / "fitted.safetensors"
    fitter = BackgroundFitter(
        build(), build, store, tmp_path / "store.sqlite", weights, FitSettings(), seed=0
    )
    assert fitter.start() is None, "no answers yet"
    fitter.close()


def test_a_process_fits_to_the_latest_answers_alone(store: ComparisonStore, tmp_path: Path) -> None:
    first, later = store.add(linear_task(20)), store.add(linear_task(5))
    where, weights = tmp_path / "store.sqlite", tmp_path / "fitted.safetensors"
    settings = FitSettings(max_epochs=3)
    fitter = BackgroundFitter(build(), build, store, where, weights, settings, seed=0, latest=15)
    try:
        answer(store, first)
        metrics = fitter.start()
        assert metrics is not None and metrics["comparisons"] == 15
        answer(store, later)
        assert _wait_for(fitter)["comparisons"] == 15
    finally:
        fitter.close()


def test_what_nobody_is_asked_about_goes_to_the_process(
    store: ComparisonStore, tmp_path: Path
) -> None:
    where, weights = tmp_path / "store.sqlite", tmp_path / "fitted.safetensors"
    settings = FitSettings(pseudo_labels=0.9)
    fitter = BackgroundFitter(build(), build, store, where, weights, settings, seed=0)
    fitter.see([query.left for query in linear_task(3)])
    seen = load_unlabelled(tmp_path / "unlabelled.safetensors")
    assert seen is not None and len(seen) == 3
