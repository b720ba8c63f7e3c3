"""Fits whose optimum is known, the adaptive L2, the temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from prefrl.queries import disagreement
from prefrl.reward.batches import in_part, indices, minibatches, returns_of
from prefrl.reward.calibration import beats_chance, fit_temperature
from prefrl.reward.dataset import ComparisonData
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import (
    OVERFIT_HIGH,
    OVERFIT_LOW,
    FitSettings,
    _adapt_l2,
    _begin_within_reach,
    _training,
    fit,
)
from prefrl.reward.losses import bradley_terry_loss
from prefrl.types import Comparison, Preference, PrefrlError, Query, Segment

LEFT, RIGHT, TIE, INCOMPARABLE = Preference
Ensembles = Callable[..., RewardEnsemble]
TRUE_WEIGHTS = np.array([1.0, -2.0, 0.5])


def random_segments(n: int, rng: np.random.Generator, steps: int = 10) -> list[Segment]:
    """Segments whose true reward is linear in the observation."""
    obs = rng.normal(size=(n, steps, 3)).astype(np.float32)
    actions = rng.uniform(-2, 2, (n, steps, 1)).astype(np.float32)
    return [Segment(o, a, o @ TRUE_WEIGHTS) for o, a in zip(obs, actions, strict=True)]


def by_true_return(query: Query) -> Preference:
    return LEFT if query.left.true_return > query.right.true_return else RIGHT


def comparisons(pairs: Sequence[Query], answers: Sequence[Preference]) -> list[Comparison]:
    return [
        Comparison(query, answer, "test", 0.0, 0.0, index)
        for index, (query, answer) in enumerate(zip(pairs, answers, strict=True), 1)
    ]


def linear_task(n: int, rng: np.random.Generator) -> list[Comparison]:
    segments = random_segments(2 * n, rng)
    pairs = [Query(segments[2 * i], segments[2 * i + 1], id=i + 1) for i in range(n)]
    return comparisons(pairs, [by_true_return(q) for q in pairs])


def data_of(ensemble: RewardEnsemble, rows: Sequence[Comparison], seed: int = 0) -> ComparisonData:
    data = ComparisonData(ensemble, seed)
    data.add(rows)
    return data


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_linear_reward_is_found(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(scaled=False, hidden=(32,))
    data = data_of(ensemble, linear_task(400, rng()))
    metrics = fit(ensemble, data, FitSettings(learning_rate=5e-3), rng())
    unseen = random_segments(400, rng(1))
    returns = ensemble.member_returns(unseen)  # (M, N)
    truth = np.array([s.true_return for s in unseen])
    right = (returns[:, ::2] > returns[:, 1::2]) == (truth[::2] > truth[1::2])
    assert right.mean(1).min() > 0.93
    mean = returns.mean(0)
    assert ((mean[::2] > mean[1::2]) == (truth[::2] > truth[1::2])).mean() > 0.95
    assert np.corrcoef(mean, truth)[0, 1] > 0.97
    predicted = ensemble.predict(
        np.stack([s.obs for s in unseen]), np.stack([s.actions for s in unseen])
    )
    steps = np.stack([s.true_rewards for s in unseen])
    assert np.corrcoef(predicted.ravel(), steps.ravel())[0, 1] > 0.95
    assert metrics["comparisons"] == 400
    assert metrics["heldout_accuracy"] > 0.9
    assert metrics["train_nll"] < metrics["heldout_nll"] < 0.3


def test_shuffled_answers_teach_nothing(ensemble_of: Ensembles) -> None:
    rows = linear_task(400, rng())
    order = rng(5).permutation(len(rows))
    answers = [rows[i].preference or TIE for i in order]
    ensemble = ensemble_of(scaled=False, hidden=(32,))
    data = data_of(ensemble, comparisons([row.query for row in rows], answers))
    metrics = fit(ensemble, data, FitSettings(learning_rate=5e-3), rng())
    assert metrics["heldout_accuracy"] == pytest.approx(0.5, abs=0.1)
    assert metrics["heldout_nll"] > 0.65
    assert metrics["guessing"] and ensemble.guessing and not ensemble.informed
    segment = rows[0].query.left
    assert not ensemble.predict(segment.obs, segment.actions).any(), "nobody is paid for noise"
    assert ensemble.member_returns([segment]).any(), "but the next fit goes on from there"


def test_a_handful_of_answers_is_followed_whatever_it_predicts(ensemble_of: Ensembles) -> None:
    rows = linear_task(40, rng())
    answers = [(LEFT, RIGHT)[i] for i in rng(5).integers(2, size=len(rows))]
    ensemble = ensemble_of(scaled=False, hidden=(32,))
    data = data_of(ensemble, comparisons([row.query for row in rows], answers))
    metrics = fit(ensemble, data, FitSettings(), rng())
    assert not ensemble.informed and not metrics["guessing"]
    segment = rows[0].query.left
    assert ensemble.predict(segment.obs, segment.actions).any()


def test_members_that_agree_on_very_little_are_not_informed(ensemble_of: Ensembles) -> None:
    """Calibrated, they all say P = 1/2, and a gate would never let a question through."""
    rows = linear_task(600, rng())
    mistaken = rng(5).random(len(rows)) < 0.3
    swapped = {LEFT: RIGHT, RIGHT: LEFT}
    answers = [row.preference or TIE for row in rows]
    answers = [swapped.get(a, a) if m else a for a, m in zip(answers, mistaken, strict=True)]
    ensemble = ensemble_of(scaled=False, hidden=(32,))
    metrics = fit(
        ensemble,
        data_of(ensemble, comparisons([r.query for r in rows], answers)),
        FitSettings(learning_rate=5e-3),
        rng(),
    )
    assert not metrics["guessing"], "it is right more often than not"
    assert metrics["heldout_accuracy"] < 0.7 and not ensemble.informed
    returns = ensemble.member_returns([r.query.left for r in rows[:100]])
    others = ensemble.member_returns([r.query.right for r in rows[:100]])
    assert np.median(disagreement(np.stack([returns, others], -1))) < 0.1


def two_states(n: int, share_left: float) -> list[Comparison]:
    """The same question n times: state +1 for four steps, or state -1."""
    a, b = (
        Segment(np.full((4, 3), x, np.float32), np.zeros((4, 1), np.float32), np.zeros(4))
        for x in (1.0, -1.0)
    )
    pairs = [Query(a, b, id=i + 1) if i % 2 else Query(b, a, id=i + 1) for i in range(n)]
    prefers_a = rng(3).permutation(n) < share_left * n
    answers = [
        LEFT if (q.left is a) == chosen else RIGHT
        for q, chosen in zip(pairs, prefers_a, strict=True)
    ]
    return comparisons(pairs, answers)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.3])
def test_two_states_on_paper(ensemble_of: Ensembles, share: float, noise: float) -> None:
    """Where a share s of the answers prefers A, the calibrated P(A > B) is s.

    The loss alone is least where (1 - noise) P + noise / 2 = s; the temperature, fitted
    without noise, takes the rest out.
    """
    rows = two_states(800, share)
    ensemble = ensemble_of(scaled=False, hidden=(8,))
    settings = FitSettings(noise=noise, learning_rate=3e-3, patience=40)
    data = data_of(ensemble, rows)
    metrics = fit(ensemble, data, settings, rng())
    query = rows[1].query
    a, b = ensemble.member_returns([query.left, query.right]).T  # (M,) each
    assert expit(a - b) == pytest.approx(np.full(3, share), abs=0.06)
    raw = (a - b) * metrics["temperature"]
    p = (share - noise / 2) / (1 - noise)
    assert expit(raw) == pytest.approx(np.full(3, p), abs=0.06)
    assert ensemble.temperature == pytest.approx(metrics["temperature"])
    if share != 0.5:
        prefer_a = np.array([(c.query.left is query.left) == (c.preference is LEFT) for c in rows])
        heldout = (data.bootstrap_weights(3) == 0).T  # (M, N)
        held = float(np.mean([prefer_a[mine].mean() for mine in heldout]))
        assert held == pytest.approx(share, abs=0.06), "as it was drawn"
        assert metrics["heldout_accuracy"] == pytest.approx(max(held, 1 - held), abs=0.01)
        nll = -(held * math.log(share) + (1 - held) * math.log(1 - share))
        assert metrics["heldout_nll"] == pytest.approx(nll, abs=0.02)


def test_the_training_loss_is_of_calibrated_returns(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(scaled=False)
    rows = linear_task(60, rng())
    data = data_of(ensemble, rows)
    metrics = fit(ensemble, data, FitSettings(learning_rate=0.01, max_epochs=15), rng())
    assert not 0.9 < metrics["temperature"] < 1.1
    returns = ensemble.member_returns(
        [s for row in rows for s in (row.query.left, row.query.right)]
    )
    signs = np.array([1 if row.preference is LEFT else -1 for row in rows])
    losses = np.log1p(np.exp(-signs * (returns[:, ::2] - returns[:, 1::2])))  # (M, N)
    drawn = data.bootstrap_weights(3).T > 0
    means = [mine[learned].mean() for mine, learned in zip(losses, drawn, strict=True)]
    assert metrics["train_nll"] == pytest.approx(np.mean(means), rel=1e-3)


def test_ties_make_returns_equal(ensemble_of: Ensembles) -> None:
    rows = linear_task(200, rng())
    ties = comparisons([row.query for row in rows], [TIE] * len(rows))

    def spread(answers: list[Comparison]) -> float:
        ensemble = ensemble_of(scaled=False)
        metrics = fit(ensemble, data_of(ensemble, answers), FitSettings(learning_rate=1e-2), rng())
        if answers is ties:
            assert math.isnan(metrics["heldout_accuracy"]), "no answer was decided"
            assert metrics["decided"] == 0 and metrics["guessing"]
        segments = [row.query.left for row in rows]
        return float((ensemble.member_returns(segments) * metrics["temperature"]).std())

    assert spread(ties) < 0.2 * spread(rows)


def test_the_same_seed_gives_the_same_weights(ensemble_of: Ensembles) -> None:
    def weights(seed: int, bootstrap: int = 0) -> dict[str, torch.Tensor]:
        ensemble = ensemble_of(scaled=False)
        data = data_of(ensemble, linear_task(60, rng()), bootstrap)
        fit(ensemble, data, FitSettings(max_epochs=4), rng(seed))
        return ensemble.state_dict()

    one, same, other, drawn = weights(0), weights(0), weights(1), weights(0, 1)
    for name, value in one.items():
        assert torch.equal(value, same[name])
    assert not torch.equal(one["net.layers.0.weight"], other["net.layers.0.weight"])
    assert not torch.equal(one["net.layers.0.weight"], drawn["net.layers.0.weight"])


def test_a_later_fit_goes_on_and_keeps_the_input_scaling(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(scaled=False)
    rows = linear_task(120, rng())
    first = data_of(ensemble, rows[:40])
    settings = FitSettings(learning_rate=5e-3, max_epochs=30, refit_epochs=3)
    assert fit(ensemble, first, settings, rng())["epochs"] > 3
    mean, std = ensemble.input_mean.clone(), ensemble.input_std.clone()
    before = ensemble.net.layers[0].weight.detach().clone()
    first.add(rows[40:])
    again = fit(ensemble, first, settings, rng())
    assert again["epochs"] <= 3
    assert again["comparisons"] == 120
    assert torch.equal(ensemble.input_mean, mean)
    assert torch.equal(ensemble.input_std, std)
    moved = (ensemble.net.layers[0].weight - before).abs().max()
    assert 0 < moved < 0.2, "it goes on from where it stood"


def test_members_are_normalised_on_the_reference(ensemble_of: Ensembles) -> None:
    """Which stays the same, so that the reward's offset does not wander from fit to fit."""
    ensemble = ensemble_of(scaled=False, output_std=0.05)
    rows = linear_task(120, rng())
    data = data_of(ensemble, rows[:80])
    reference = data.reference.reshape(-1, 4)
    for later in ([], rows[80:]):
        data.add(later)
        fit(ensemble, data, FitSettings(max_epochs=2), rng())
        members = ((ensemble(reference) - ensemble.reward_mean) / ensemble.reward_std).detach()
        torch.testing.assert_close(members.mean(1), torch.zeros(3), rtol=0, atol=1e-4)
        torch.testing.assert_close(members.std(1), torch.full((3,), 0.05), rtol=1e-3, atol=0)


def test_the_best_pass_is_kept_and_a_fit_that_gets_worse_stops(ensemble_of: Ensembles) -> None:
    """Random answers: what is memorised after the first passes makes held-out answers worse."""
    rows = linear_task(60, rng())
    answers = [LEFT if coin < 0.5 else RIGHT for coin in rng(1).random(len(rows))]
    memorised = comparisons([row.query for row in rows], answers)

    def fitted(max_epochs: int, patience: int) -> tuple[torch.Tensor, int]:
        ensemble = ensemble_of(scaled=False, hidden=(64,))
        settings = FitSettings(0.0, 3e-3, max_epochs=max_epochs, patience=patience)
        metrics = fit(ensemble, data_of(ensemble, memorised), settings, rng())
        return ensemble.net.layers[0].weight.detach(), metrics["epochs"]

    kept, epochs = fitted(30, 30)
    assert epochs == 30
    early = [fitted(n, 30)[0] for n in range(1, 6)]
    best = [n for n, weights in enumerate(early, 1) if torch.equal(weights, kept)]
    assert best, "one of the first passes"
    stopped, epochs = fitted(30, 3)
    assert torch.equal(stopped, kept)
    assert epochs == best[0] + 3


def test_l2_moves_towards_the_wanted_ratio() -> None:
    assert (OVERFIT_LOW, OVERFIT_HIGH) == (1.1, 1.5)
    l2 = torch.full((4,), 1e-3)
    heldout = torch.tensor([1.6, 1.0, 1.3, math.nan])
    _adapt_l2(l2, heldout, torch.ones(4))
    assert l2[0] > 1e-3
    assert l2[1] < 1e-3
    assert l2[2:].tolist() == pytest.approx([1e-3, 1e-3])
    for _ in range(100):
        _adapt_l2(l2, heldout, torch.ones(4))
    assert 1e-2 < l2[0] <= 1
    assert 0 < l2[1] < 1e-5


def test_l2_rises_where_a_fit_overfits_and_falls_where_it_does_not(ensemble_of: Ensembles) -> None:
    rows = linear_task(60, rng())
    answers = [LEFT if flip else RIGHT for flip in rng(1).random(len(rows)) < 0.5]
    memorised = comparisons([row.query for row in rows], answers)
    settings = FitSettings(noise=0.0, learning_rate=1e-2, patience=40)
    overfitted, underfitted = ensemble_of(scaled=False, hidden=(64,)), ensemble_of(scaled=False)
    start = overfitted.l2.clone()
    fit(overfitted, data_of(overfitted, memorised), settings, rng())
    assert (overfitted.l2 > start).all()
    gentle = FitSettings(learning_rate=1e-5, max_epochs=6)
    fit(underfitted, data_of(underfitted, linear_task(200, rng())), gentle, rng())
    assert (underfitted.l2 < start).all()


def test_l2_pulls_weights_towards_zero(ensemble_of: Ensembles) -> None:
    def size(l2: float) -> float:
        ensemble = ensemble_of(scaled=False)
        ensemble.l2.fill_(l2)
        data = data_of(ensemble, linear_task(100, rng()))
        fit(ensemble, data, FitSettings(learning_rate=1e-2, max_epochs=5), rng())
        return float(ensemble.net.layers[0].weight.detach().square().sum())

    assert size(0.1) < 0.8 * size(1e-6)


def test_no_l2_at_all_stays_none(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(scaled=False, l2=0.0)
    rows = linear_task(60, rng())
    fit(ensemble, data_of(ensemble, rows), FitSettings(noise=0.0, learning_rate=1e-2), rng())
    assert not ensemble.l2.any(), "it overfits, and is let"
    ensemble.reset_weights()
    assert not ensemble.l2.any()
    usual = ensemble_of(scaled=False)
    assert usual.l2.tolist() == pytest.approx([1e-4] * 3)
    assert ensemble_of(scaled=False, l2=1e-2).l2.tolist() == pytest.approx([1e-2] * 3)


RETURNS = FitSettings(target="returns", learning_rate=5e-3)


@pytest.mark.parametrize("part", [{}, {"sampled_steps": 1}, {"crop": 0.25}], ids=str)
def test_returns_on_paper(ensemble_of: Ensembles, part: dict[str, Any]) -> None:
    """Segments of four steps worth 7 and 3, one of each in every pair: 2 and -2 once scaled.

    Of steps that are looked at alone, too: each stands for some of the others.
    """
    worth = {1.0: 7.0, -1.0: 3.0}
    a, b = (
        Segment(np.full((4, 3), x, np.float32), np.zeros((4, 1), np.float32), np.full(4, w / 4))
        for x, w in worth.items()
    )
    pairs = [Query(a, b, id=i + 1) if i % 2 else Query(b, a, id=i + 1) for i in range(400)]
    ensemble = ensemble_of(scaled=False)
    data = data_of(ensemble, comparisons(pairs, [by_true_return(q) for q in pairs]))
    assert data.standard_returns[:2].numpy() == pytest.approx(
        np.array([[-2, 2], [2, -2]]), abs=0.02
    )
    metrics = fit(ensemble, data, replace(RETURNS, **part), rng())
    returns = ensemble(data.inputs[1].reshape(-1, 4)).reshape(3, 2, 4).sum(-1)
    assert returns.numpy(force=True) == pytest.approx(np.array([[2.0, -2.0]] * 3), abs=0.1)
    assert metrics["heldout_accuracy"] == 1


def test_returns_are_learned_whatever_the_answers(ensemble_of: Ensembles) -> None:
    rows = linear_task(200, rng())
    answers = [(LEFT, RIGHT)[i] for i in rng(5).integers(2, size=len(rows))]
    nets, accuracies = [], []
    for told in (rows, comparisons([row.query for row in rows], answers)):
        ensemble = ensemble_of(scaled=False, hidden=(32,))
        metrics = fit(ensemble, data_of(ensemble, told), RETURNS, rng())
        nets.append(ensemble.net.state_dict())
        accuracies.append(metrics["heldout_accuracy"])
    assert all(torch.equal(value, nets[1][name]) for name, value in nets[0].items())
    assert accuracies[0] > 0.9 and accuracies[1] == pytest.approx(0.5, abs=0.15)
    unseen = random_segments(100, rng(1))
    truth = [s.true_return for s in unseen]
    assert np.corrcoef(ensemble.member_returns(unseen).mean(0), truth)[0, 1] > 0.95


def test_the_scale_of_returns_is_the_first_batchs(ensemble_of: Ensembles) -> None:
    """Later and better segments leave it as it is."""
    ensemble, rows = ensemble_of(scaled=False), linear_task(60, rng())
    data = data_of(ensemble, rows)
    before = data.standard_returns
    assert before[:50].mean() == pytest.approx(0, abs=1e-5)
    assert before[:50].var() == pytest.approx(10, abs=1e-4), "the steps of a segment"
    segments = random_segments(2, rng(1))
    better = [Segment(s.obs, s.actions, s.true_rewards + 100.0) for s in segments]
    data.add([Comparison(Query(*better, 0.2, id=61), LEFT, "test", 0.0, 0.0, 61)])
    after = data.standard_returns
    assert torch.equal(after[:60], before) and (after[60] > 10).all()


def test_returns_that_are_not_numbers_are_refused(ensemble_of: Ensembles) -> None:
    segments = random_segments(4, rng())
    unknown = [Segment(s.obs, s.actions, np.full(10, np.nan)) for s in segments]
    pairs = [Query(*unknown[:2], id=1), Query(*unknown[2:], id=2)]
    ensemble = ensemble_of(scaled=False)
    data = data_of(ensemble, comparisons(pairs, [LEFT, RIGHT]))
    fit(ensemble, data, FitSettings(max_epochs=1), rng())
    with pytest.raises(PrefrlError, match=r"4 true returns .* not finite.*target=comparisons"):
        fit(ensemble, data, RETURNS, rng())


@pytest.mark.parametrize("n", [2, 3])
def test_a_fit_to_a_handful_of_answers_learns_them(ensemble_of: Ensembles, n: int) -> None:
    """Where every member trains on all of them, none is left to be judged by."""
    ensemble, rows = ensemble_of(scaled=False), linear_task(n, rng(9))
    every = (data_of(ensemble, rows, seed) for seed in range(1000))
    data = next(d for d in every if d.bootstrap_weights(3).all())
    settings = FitSettings(learning_rate=1e-2, max_epochs=40, patience=40)
    metrics = fit(ensemble, data, settings, rng())
    assert math.isnan(metrics["heldout_nll"])
    returns = ensemble(data.inputs.reshape(-1, 4)).reshape(3, n, 2, -1).sum(-1)
    assert ((returns[..., 0] > returns[..., 1]) == (data.p_left > 0.5)).all()
    assert metrics["train_nll"] < 0.4


@pytest.mark.parametrize("tau", [0.2, 1.0, 3.0, 20.0])
def test_a_known_temperature_is_recovered(tau: float) -> None:
    differences = torch.as_tensor(rng().normal(0, 2 * tau, 4000))
    exact = torch.sigmoid(differences / tau)  # answers as probabilities
    assert fit_temperature(differences, exact) == pytest.approx(tau, rel=0.02)
    drawn = (torch.as_tensor(rng(1).random(4000)) < exact).double()
    assert fit_temperature(differences, drawn) == pytest.approx(tau, rel=0.1)


def test_the_temperature_is_that_of_held_out_answers(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(scaled=False, hidden=(64,))
    data = data_of(ensemble, linear_task(60, rng()))
    metrics = fit(ensemble, data, FitSettings(noise=0.0, learning_rate=1e-2), rng())
    heldout = torch.as_tensor(data.bootstrap_weights(3)).T == 0  # (M, N)
    returns = ensemble(data.inputs.reshape(-1, 4)).detach().reshape(3, 60, 2, -1).sum(-1)
    differences = returns[..., 0] - returns[..., 1]
    answers = data.p_left.expand(3, 60)
    taus = [fit_temperature(differences[part], answers[part]) for part in (heldout, ~heldout)]
    assert metrics["temperature"] == pytest.approx(taus[0], rel=1e-3)
    assert taus[0] > 1.2 * taus[1], "a fit is surer of what it was trained on"


def test_the_temperature_of_hardly_any_answers_is_one() -> None:
    none = torch.zeros(0)
    assert fit_temperature(none, none) == 1
    assert fit_temperature(torch.tensor([5.0]), torch.tensor([1.0])) == 1


def test_overconfident_members_are_cooled(ensemble_of: Ensembles) -> None:
    """Wrong and right answers in equal number: no difference may count."""
    differences = torch.tensor([100.0, 100.0, -100.0, -100.0])
    hot = fit_temperature(differences, torch.tensor([1.0, 0.0, 1.0, 0.0]))
    assert hot > 100
    sure = fit_temperature(differences, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert sure < hot / 10


@pytest.mark.parametrize(
    ("nll", "n", "known"),
    [
        (0.1, 40, True),
        (math.log(2), 1000, False),
        (0.75, 40, False),
        (0.65, 100, False),  # twice the log of the likelihood ratio: 8.6
        (0.65, 130, True),  # 11.2, where one guess in a thousand comes to 10.8
        (0.0, 7, False),  # 9.7: seven answers, all right and all sure
        (0.0, 8, True),  # 11.1
        (float("nan"), 0, False),
    ],
)
def test_an_ensemble_is_informed_only_when_guessing_is_ruled_out(
    nll: float, n: int, known: bool
) -> None:
    assert beats_chance(nll, n) is known


@pytest.mark.parametrize(("wrong", "known"), [(-1.0, True), (-10.0, False)])
def test_two_answers_of_three_right(wrong: float, known: bool) -> None:
    """Where the third is wrong by far, only P = 1/2 is calibrated, and that is a guess."""
    differences, p_left = torch.tensor([1.0, 1.0, wrong] * 100), torch.ones(300)
    tau = fit_temperature(differences, p_left)
    loss = bradley_terry_loss(differences / tau, torch.zeros(()), p_left)
    assert beats_chance(float(loss.mean()), 300) is known


@given(
    weights=st.lists(
        st.tuples(*[st.integers(0, 3)] * 3).filter(any), min_size=1, max_size=40
    ).filter(lambda rows: all(map(any, zip(*rows, strict=True)))),
    batch_size=st.integers(1, 50),
)
def test_a_pass_meets_every_draw_once(weights: list[tuple[int, ...]], batch_size: int) -> None:
    """Each member trains on its own bootstrap, whole; what fills its row up weighs nothing."""
    drawn = torch.tensor(weights, dtype=torch.float32).T  # (M, N)
    met = torch.zeros_like(drawn)
    for index in minibatches(indices(drawn > 0), drawn, batch_size, rng()):
        assert index.shape[0] == len(drawn) and index.shape[1] > 0
        met.scatter_add_(1, index, drawn.gather(1, index))
    assert torch.equal(met, drawn)


@pytest.mark.parametrize("fits_before", [0, 1])
@pytest.mark.parametrize("restart", [False, True])
def test_an_interrupted_fit_leaves_the_ensemble_as_it_was(
    ensemble_of: Ensembles, restart: bool, fits_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what a run saves then has weights that belong to its scale, and counts as fitted."""
    ensemble = ensemble_of(scaled=False)
    data = data_of(ensemble, linear_task(40, rng()))
    settings = FitSettings(max_epochs=9, refit_epochs=2, patience=99, restart=restart)
    for _ in range(fits_before):
        fit(ensemble, data, settings, rng())
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("prefrl.reward.fit._adapt_l2", interrupted)  # as its first pass ends
        fit(ensemble, data, settings, rng())
    after = ensemble.state_dict()
    assert bool(ensemble.fitted) is bool(fits_before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    refit = fits_before and not restart
    assert fit(ensemble, data, settings, rng())["epochs"] == (2 if refit else 9)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_reward_of_images_is_found() -> None:
    """The brighter of two noisy pictures is better."""
    space = spaces.Box(0, 255, (1, 43, 43), np.uint8)
    generator = torch.Generator().manual_seed(0)
    ensemble = RewardEnsemble(space, spaces.Discrete(2), 2, hidden=(16,), generator=generator)

    def pictures(n: int, seed: int) -> list[Segment]:
        draw = rng(seed)
        light = draw.uniform(50, 200, (n, 3))
        obs = (light[..., None, None, None] + draw.normal(0, 30, (n, 3, 1, 43, 43))).clip(0, 255)
        return [
            Segment(o.astype(np.uint8), np.zeros(3, np.int64), t)
            for o, t in zip(obs, light, strict=True)
        ]

    segments = pictures(240, 0)
    pairs = [Query(*segments[2 * i : 2 * i + 2], id=i + 1) for i in range(120)]
    data = data_of(ensemble, comparisons(pairs, [by_true_return(q) for q in pairs]))
    metrics = fit(ensemble, data, FitSettings(batch_size=16, max_epochs=30), rng())
    assert metrics["heldout_accuracy"] > 0.9
    unseen = pictures(200, 1)
    returns = ensemble.member_returns(unseen).mean(0)
    truth = np.array([s.true_return for s in unseen])
    assert ((returns[::2] > returns[1::2]) == (truth[::2] > truth[1::2])).mean() > 0.9
    again = RewardEnsemble(space, spaces.Discrete(2), 2, hidden=(16,), generator=None)
    again.load_state_dict(ensemble.state_dict())
    np.testing.assert_array_equal(
        again.member_returns(unseen[:8]), ensemble.member_returns(unseen[:8])
    )


def test_dropout_repeats_with_the_seed_and_leaves_torchs_own_numbers_alone() -> None:
    space = spaces.Box(0, 255, (1, 43, 43), np.uint8)
    obs = rng().integers(0, 256, (8, 2, 1, 43, 43), dtype=np.uint8)
    segments = [Segment(o, np.zeros(2, np.int64), o.sum((1, 2, 3)) / 1.0) for o in obs]
    pairs = [Query(*segments[2 * i : 2 * i + 2], id=i + 1) for i in range(4)]
    fitted = []
    for _ in range(2):
        ensemble = RewardEnsemble(space, spaces.Discrete(2), 2, hidden=(4,))
        data = data_of(ensemble, comparisons(pairs, [by_true_return(q) for q in pairs]))
        state = torch.get_rng_state()
        fit(ensemble, data, FitSettings(max_epochs=2), rng())
        assert torch.equal(torch.get_rng_state(), state)
        fitted.append(ensemble.state_dict())
        torch.rand(1)
    assert all(torch.equal(fitted[0][name], fitted[1][name]) for name in fitted[0])


def test_a_minibatch_of_some_steps_stands_for_all_of_them() -> None:
    """Each segment's steps are drawn anew, none twice, and on average they add up to the whole."""
    inputs = torch.arange(4 * 2 * 10, dtype=torch.float32).reshape(4, 2, 10, 1)
    index = torch.tensor([[0, 3], [2, 2]])
    every, once = in_part(inputs, index, 0, 1.0, rng())
    assert torch.equal(every, inputs[index]) and once == 1
    sums, draws = torch.zeros(2, 2, 2), rng()
    for _ in range(400):
        some, each = in_part(inputs, index, 4, 1.0, draws)
        assert some.shape == (2, 2, 2, 4, 1) and each == 2.5
        own = inputs[index]
        assert all(
            set(some[m, b, s].flatten().tolist()) <= set(own[m, b, s].flatten().tolist())
            and len(set(some[m, b, s].flatten().tolist())) == 4
            for m in range(2)
            for b in range(2)
            for s in range(2)
        )
        sums += each * some.sum((-2, -1)) / 400
    assert torch.allclose(sums, inputs[index].sum((-2, -1)), rtol=0.05)


def test_a_crop_is_a_stretch_of_each_segment() -> None:
    inputs = torch.arange(4 * 2 * 10, dtype=torch.float32).reshape(4, 2, 10, 1)
    index, lengths, starts = torch.tensor([[0, 3], [2, 2]]), set(), set()
    for draws in map(np.random.default_rng, range(100)):
        cut, each = in_part(inputs, index, 0, 0.75, draws)
        kept = cut.shape[-2]
        assert cut.shape == (2, 2, 2, kept, 1) and each == 10 / kept
        begin = cut[..., :1, :]
        assert torch.equal(cut, begin + torch.arange(kept)[:, None])
        first = begin[..., 0, 0] - inputs[index][..., 0, 0]
        assert first.min() >= 0 and first.max() <= 10 - kept
        lengths.add(kept)
        starts |= set(first.flatten().tolist())
    assert lengths == {8, 9, 10} and starts == {0, 1, 2}


def test_an_untrained_net_of_images_begins_within_reach_of_the_loss() -> None:
    space = spaces.Box(0, 255, (1, 43, 43), np.uint8)
    generator = torch.Generator().manual_seed(0)
    ensemble = RewardEnsemble(space, spaces.Discrete(2), 2, hidden=(16,), generator=generator)
    pictures = rng().integers(0, 256, (64, 2, 25, 43 * 43))
    inputs = torch.as_tensor(pictures.astype(np.uint8))
    ensemble.set_inputs(inputs)
    ensemble.net.layers[-1].weight.data.mul_(100)
    drawn = torch.arange(64).expand(2, -1)

    def spread() -> torch.Tensor:
        with torch.no_grad(), _training(ensemble.net, rng(), drawn.device):
            returns = returns_of(ensemble, inputs[drawn])
        return (returns[..., 0] - returns[..., 1]).std(1)

    assert (spread() > 5).all()
    _begin_within_reach(ensemble, inputs, drawn, rng())
    assert (abs(spread() - 1) < 0.4).all()
    ensemble.net.layers[-1].weight.data.mul_(0.1)
    before = spread()
    _begin_within_reach(ensemble, inputs, drawn, rng())
    assert torch.allclose(spread(), before)  # what is within reach stays


def test_a_fit_may_begin_anew(ensemble_of: Ensembles) -> None:
    """Then it is that of an ensemble that has seen nothing before."""
    tasks = linear_task(60, rng()), linear_task(60, rng(1))
    settings = FitSettings(max_epochs=6, refit_epochs=2, restart=True)
    fitted = []
    for seen in (tasks, tasks[1:]):
        ensemble = ensemble_of()
        for task in seen:
            metrics = fit(ensemble, data_of(ensemble, task), settings, rng(5))
        assert metrics["epochs"] > 2
        fitted.append({n: p.clone() for n, p in ensemble.net.state_dict().items()})
    assert all(torch.equal(fitted[0][name], fitted[1][name]) for name in fitted[0])


def test_a_refit_to_many_answers_looks_at_a_part_of_them(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(scaled=False, hidden=(32,))
    data = data_of(ensemble, linear_task(400, rng()))
    settings = FitSettings(learning_rate=5e-3, refit_part=100)
    assert fit(ensemble, data, settings, rng())["comparisons"] == 400, "the first is of all"
    reference = data.reference
    for seed in range(3):
        metrics = fit(ensemble, data, settings, rng(seed), new=10)
        assert metrics["comparisons"] == 100 and metrics["epochs"] <= settings.refit_epochs
    rewards = ensemble(reference.reshape(-1, 4)).detach()
    spread = (rewards - ensemble.reward_mean) / ensemble.reward_std
    assert torch.allclose(spread.std(1), torch.ones(3), atol=1e-4), "scaled on the same batch"
    unseen = random_segments(400, rng(1))
    returns = ensemble.member_returns(unseen).mean(0)
    truth = np.array([s.true_return for s in unseen])
    assert ((returns[::2] > returns[1::2]) == (truth[::2] > truth[1::2])).mean() > 0.9


@pytest.mark.parametrize("n", [40, 60])
def test_a_refit_to_few_answers_looks_at_all_of_them(ensemble_of: Ensembles, n: int) -> None:
    """And draws no other numbers than one without a bound."""
    fitted = []
    for part in (0, 40):
        ensemble = ensemble_of(scaled=False)
        data = data_of(ensemble, linear_task(n, rng()))
        settings = FitSettings(max_epochs=3, refit_part=part)
        for _ in range(2):
            metrics = fit(ensemble, data, settings, draws := rng(5))
        assert metrics["comparisons"] == n
        fitted.append([*ensemble.state_dict().values(), torch.as_tensor(draws.random())])
    assert all(torch.equal(one, other) for one, other in zip(*fitted, strict=True))


def test_a_fit_that_begins_anew_is_of_all_answers(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(scaled=False)
    data = data_of(ensemble, linear_task(60, rng()))
    settings = FitSettings(max_epochs=2, restart=True, refit_part=20)
    assert [fit(ensemble, data, settings, rng())["comparisons"] for _ in range(2)] == [60, 60]
