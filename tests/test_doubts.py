"""Answers that are doubted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from torch import Tensor

from prefrl.reward.dataset import ComparisonData
from prefrl.reward.doubts import UPPER, believed
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitSettings, fit
from prefrl.types import Comparison, Preference, Query, Segment

WEIGHTS = np.array([1.0, -2.0, 0.5])


def sure(answers: list[float], differences: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """One member that learned from none of them."""
    each = torch.tensor([differences])
    return each, torch.ones_like(each, dtype=torch.bool), torch.tensor(answers)


def test_an_answer_against_all_that_is_known_is_left_out_or_turned_round() -> None:
    clear = [4.0, -4.0, 3.0, -5.0] * 10
    answers = [float(x > 0) for x in clear] + [0.0, 1.0, 0.5]
    p_left, kept = believed(*sure(answers, [*clear, 3.5, -(UPPER + 1), 8.0]))
    assert kept[:40].all() and p_left[:40].tolist() == answers[:40]
    assert not kept[40], "unlikely"
    assert kept[41] and p_left[41] == 0, "all but impossible: the other key was meant"
    assert kept[42] and p_left[42] == 0.5, "a tie is no mistake"


def test_ties_say_nothing_about_how_well_answers_are_predicted() -> None:
    clear = [4.0, -4.0, 3.0, -5.0] * 10
    for against in np.arange(0.5, 5, 0.25).tolist():
        answers, differences = [float(x > 0) for x in clear] + [0.0], [*clear, against]
        _, alone = believed(*sure(answers, differences))
        _, kept = believed(*sure(answers + [0.5] * 200, differences + [0.0] * 200))
        assert kept[40] == alone[40], against


def test_a_reward_that_knows_little_doubts_nothing(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    ensemble = ensemble_of(scaled=False)
    data = ComparisonData(ensemble, seed=0)
    data.add(given(100, wrong=0.5)[0])
    for _ in range(3):
        metrics = fit(ensemble, data, FitSettings(doubt=True, max_epochs=5), default_rng(0))
        assert not ensemble.informed and metrics["comparisons"] == 100


def test_who_learned_from_an_answer_has_no_say_about_it() -> None:
    differences = torch.tensor([[5.0] * 40 + [5.0], [5.0] * 40 + [-5.0]])
    answers = torch.tensor([1.0] * 40 + [0.0])
    heldout = torch.ones(2, 41, dtype=torch.bool)
    heldout[1, 40] = False  # it has learned that answer by heart
    assert not believed(differences, heldout, answers).kept[40]
    heldout[:, 40] = torch.tensor([False, True])
    assert believed(differences, heldout, answers).kept[40]
    heldout[:, 40] = False  # nobody else to judge: all do, and they are even
    assert believed(differences, heldout, answers).kept[40]
    assert math.isclose(float(believed(differences, heldout, answers).p_left[40]), 0.0)


def given(n: int, wrong: float, seed: int = 0) -> tuple[list[Comparison], list[bool]]:
    """Answers about a linear reward, a share of them wrong."""
    rng = default_rng(seed)
    obs = rng.normal(size=(2 * n, 10, 3)).astype(np.float32)
    segments = [Segment(o, np.zeros((10, 1), np.float32), o @ WEIGHTS) for o in obs]
    mistaken = (rng.random(n) < wrong).tolist()
    found = []
    for i, turned in enumerate(mistaken):
        query = Query(segments[2 * i], segments[2 * i + 1], id=i + 1)
        left = (query.left.true_return > query.right.true_return) != turned
        answer = Preference.LEFT if left else Preference.RIGHT
        found.append(Comparison(query, answer, "test", 0.0, 0.0, i + 1))
    return found, mistaken


def test_a_fit_of_answers_with_mistakes_is_better_for_doubting(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    answers, _ = given(400, wrong=0.15)
    unseen, _ = given(300, wrong=0.0, seed=1)
    right = {}
    for doubt in (False, True):
        ensemble = ensemble_of(hidden=(32,), scaled=False)
        data = ComparisonData(ensemble, seed=0)
        data.add(answers)
        options, rng = FitSettings(noise=0.0, doubt=doubt, refit_epochs=20), default_rng(0)
        counts = [fit(ensemble, data, options, rng)["comparisons"] for _ in range(3)]
        returns = ensemble.member_returns(
            [s for c in unseen for s in (c.query.left, c.query.right)]
        )
        chosen = np.diff(returns.mean(0).reshape(-1, 2))[:, 0] < 0
        right[doubt] = np.mean(chosen == [c.preference is Preference.LEFT for c in unseen])
        assert counts[0] == 400 and (300 <= counts[-1] < 380 if doubt else counts[-1] == 400)
    assert right[True] >= right[False] and right[True] > 0.9


def test_what_is_held_out_is_judged_by_the_answers_as_they_were_given(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    """Of those that members believe, they would be right by their own judgement."""
    ensemble = ensemble_of(hidden=(32,), scaled=False)
    data = ComparisonData(ensemble, seed=0)
    data.add(given(800, wrong=0.15)[0])
    metrics = fit(ensemble, data, FitSettings(doubt=True), default_rng(0))
    assert ensemble.informed and metrics["comparisons"] == 800
    metrics = fit(ensemble, data, FitSettings(doubt=True), default_rng(0))
    assert metrics["comparisons"] < 760, "it doubts some"
    heldout = data.bootstrap_weights(ensemble.n_members).T == 0  # (M, N)
    segments = data.inputs.flatten(0, 1)
    with torch.no_grad():
        returns = ensemble.returns(segments.expand(ensemble.n_members, *segments.shape))
    left = (returns[:, 0::2] > returns[:, 1::2]).numpy()
    right = (left == (data.p_left > 0.5).numpy())[heldout].mean()
    assert metrics["heldout_accuracy"] == pytest.approx(right, abs=0.01)
    assert right < 0.87, "fifteen in a hundred are wrong"


def test_a_reward_that_is_sure_of_no_answer_doubts_none(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    ensemble = ensemble_of(hidden=())
    with torch.no_grad():
        ensemble.net.layers[0].weight.zero_()[:, :3, 0] = torch.as_tensor(WEIGHTS)
    ensemble.informed.fill_(True)
    data = ComparisonData(ensemble, seed=0)
    data.add(given(100, wrong=0.15)[0])
    settings = FitSettings(doubt=True, max_epochs=1, learning_rate=0.0)
    assert fit(ensemble, data, settings, default_rng(0))["comparisons"] < 100
    ensemble.temperature.fill_(1e6)
    ensemble.informed.fill_(True)
    assert fit(ensemble, data, settings, default_rng(0))["comparisons"] == 100


def test_a_fit_that_begins_anew_doubts_by_what_the_last_one_knew(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    counts = []
    for restart in (False, True):
        ensemble = ensemble_of(hidden=(32,), scaled=False)
        data = ComparisonData(ensemble, seed=0)
        data.add(given(400, wrong=0.15)[0])
        options, rng = FitSettings(noise=0.0, doubt=True, restart=restart), default_rng(0)
        counts.append([fit(ensemble, data, options, rng)["comparisons"] for _ in range(2)])
    assert counts[0] == counts[1] and counts[0][1] < 380 < counts[0][0]
