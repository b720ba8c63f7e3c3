"""What segments teach about which nobody was asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.random import default_rng

from prefrl.reward.batches import returns_of
from prefrl.reward.dataset import ComparisonData
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitSettings, fit
from prefrl.reward.unlabelled import (
    KEPT,
    Unlabelled,
    dynamics_loss,
    load_unlabelled,
    pseudo_label_loss,
)
from prefrl.types import Comparison, Preference, PrefrlError, Query, Segment

Ensembles = Callable[..., RewardEnsemble]


def turning(n: int, seed: int = 0, steps: int = 12) -> list[Segment]:
    """Points that go round, each at a pace that its action sets."""
    rng = default_rng(seed)
    pace, start = rng.uniform(0.1, 0.5, (n, 1)), rng.uniform(0, 6, (n, 1))
    angle = start + pace * np.arange(steps)
    obs = np.stack([np.cos(angle), np.sin(angle), np.ones_like(angle)], -1).astype(np.float32)
    actions = np.broadcast_to(4 * pace[..., None], (n, steps, 1)).astype(np.float32)
    return [Segment(o, a, o[:, 0]) for o, a in zip(obs, actions, strict=True)]


def test_it_keeps_the_latest_and_a_file_holds_the_same(
    ensemble_of: Ensembles, tmp_path: Path
) -> None:
    unlabelled, path = Unlabelled(ensemble_of().encode), tmp_path / "seen.safetensors"
    unlabelled.add([])
    unlabelled.save(path)
    assert unlabelled.inputs is None and load_unlabelled(path) is None
    first, second = turning(KEPT - 10), turning(30, seed=1)
    unlabelled.add(first)
    unlabelled.add(second)
    unlabelled.save(path)
    assert unlabelled.inputs is not None and unlabelled.inputs.shape == (KEPT, 12, 4)
    read = load_unlabelled(path)
    assert read is not None and torch.equal(read, unlabelled.inputs)
    assert torch.equal(read[-1, :, :3], torch.as_tensor(second[-1].obs))
    assert torch.equal(read[0, :, :3], torch.as_tensor(first[20].obs))


def test_a_member_is_asked_as_it_predicts_and_taught_as_it_learns(
    ensemble_of: Ensembles, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble, modes = ensemble_of(n_members=2), list[bool]()

    def watched(ensemble: RewardEnsemble, inputs: torch.Tensor) -> torch.Tensor:
        modes.append(ensemble.net.training)
        return returns_of(ensemble, inputs)

    monkeypatch.setattr("prefrl.reward.unlabelled.returns_of", watched)
    seen = Unlabelled(ensemble.encode)
    seen.add(turning(20))
    assert seen.inputs is not None
    ensemble.set_inputs(seen.inputs.flatten(0, 1))
    ensemble.net.train()
    pseudo_label_loss(ensemble, seen.inputs, 8, 0.5, 1.0, 0.0, default_rng(0))
    assert modes == [False, True]


def test_only_pairs_that_a_member_is_sure_of_teach_it(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(n_members=2, hidden=())
    with torch.no_grad():
        for layer, size in zip(ensemble.net.layers[0].weight, (1e-4, 100.0), strict=True):
            layer.zero_()[0] = size  # one is unsure of all, one sure of nearly all
    seen = Unlabelled(ensemble.encode)
    seen.add(turning(200))
    assert seen.inputs is not None
    loss = pseudo_label_loss(ensemble, seen.inputs, 64, 0.99, 1.0, 0.0, default_rng(0))
    loss.backward()
    gradient = ensemble.net.layers[0].weight.grad
    assert gradient is not None and not gradient[0].any()
    assert loss.item() < 0.05, "it agrees with itself"
    cropped = pseudo_label_loss(ensemble, seen.inputs, 64, 0.99, 0.5, 0.1, default_rng(0))
    assert cropped.item() > loss.item(), "not with every stretch"


def test_a_reward_that_is_calibrated_to_be_sure_of_nothing_teaches_itself_nothing(
    ensemble_of: Ensembles,
) -> None:
    ensemble = ensemble_of(n_members=2)
    seen = torch.randn(20, 12, 4, generator=torch.Generator().manual_seed(0))
    assert pseudo_label_loss(ensemble, seen, 64, 0.6, 1.0, 0.0, default_rng(0)) > 0
    ensemble.temperature.fill_(1e6)
    assert pseudo_label_loss(ensemble, seen, 64, 0.6, 1.0, 0.0, default_rng(0)) == 0


def test_a_stretch_stands_for_its_whole_segment(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(n_members=2)
    still = torch.randn(20, 1, 4, generator=torch.Generator().manual_seed(0)).expand(20, 12, 4)
    for seed in range(5):
        whole, part = (
            pseudo_label_loss(ensemble, still, 64, 0.5, crop, 0.1, default_rng(seed)).item()
            for crop in (1.0, 0.25)
        )
        assert part == pytest.approx(whole, rel=1e-4)


def test_a_pseudo_label_pulls_towards_the_choice(ensemble_of: Ensembles) -> None:
    """A linear reward that is sure grows surer; the clearer the pair, the less."""
    ensemble = ensemble_of(n_members=1, hidden=())
    with torch.no_grad():
        ensemble.net.layers[0].weight.zero_()[0, 0] = 0.7
    seen = Unlabelled(ensemble.encode)
    seen.add(turning(200))
    assert seen.inputs is not None
    pseudo_label_loss(ensemble, seen.inputs, 256, 0.8, 1.0, 0.0, default_rng(0)).backward()
    gradient = ensemble.net.layers[0].weight.grad
    assert gradient is not None and gradient[0, 0] < 0, "descent raises the weight"


def test_features_learn_to_predict_the_next_observation(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(hidden=(32, 32), predicts_dynamics=True, scaled=False)
    seen, later = (torch.stack([ensemble.encode(s.obs, s.actions) for s in turning(300, seed)])
                   for seed in (0, 1))  # fmt: skip
    ensemble.set_inputs(seen)
    optimizer = torch.optim.Adam(ensemble.parameters(), 3e-3)
    before = dynamics_loss(ensemble, later, 500, default_rng(2)).item()
    standing_still = float(
        ((later[:, 1:] - later[:, :-1]) / ensemble.input_std)[..., :3].square().mean()
    )
    rng = default_rng(0)
    for _ in range(300):
        loss = dynamics_loss(ensemble, seen, 64, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = dynamics_loss(ensemble, later, 500, default_rng(2)).item()
    assert after < 0.2 * before and after < 0.1 * 3 * standing_still, "three members"
    trunk = ensemble.net.layers[0].weight.grad
    assert trunk is not None and trunk.any(), "it is the reward's own features that learn"


def test_the_next_observation_is_predicted_as_a_change(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(n_members=2, predicts_dynamics=True)
    torch.nn.init.zeros_(ensemble.dynamics_head.weight)
    torch.nn.init.zeros_(ensemble.dynamics_head.bias)
    now = torch.ones(2, 5, 4)
    assert not ensemble.dynamics_error(now, now).any(), "no change, as predicted"
    later = now + torch.cat([2 * ensemble.input_std[:3], torch.zeros(1)])
    torch.testing.assert_close(ensemble.dynamics_error(now, later), torch.full((2, 5, 3), 4.0))


def test_a_net_without_features_cannot_predict_dynamics() -> None:
    images = spaces.Box(0, 255, (1, 48, 48), np.uint8)
    with pytest.raises(PrefrlError, match="reward net conv has no features of vectors"):
        RewardEnsemble(images, spaces.Discrete(2), predicts_dynamics=True)


@pytest.mark.parametrize("settings", [{"pseudo_labels": 0.9}, {"dynamics": 1.0}])
def test_a_fit_with_them_repeats_and_differs_from_one_without(
    ensemble_of: Ensembles, settings: dict[str, float]
) -> None:
    segments = turning(60)
    queries = [Query(*segments[2 * i : 2 * i + 2], id=i + 1) for i in range(30)]
    answers = [
        Preference.LEFT if q.left.true_return > q.right.true_return else Preference.RIGHT
        for q in queries
    ]
    given = [
        Comparison(q, answer, "test", 0.0, 0.0, i)
        for i, (q, answer) in enumerate(zip(queries, answers, strict=True), 1)
    ]
    found = []
    for own in (settings, settings, {}):
        ensemble = ensemble_of(predicts_dynamics=True, scaled=False)
        seen = Unlabelled(ensemble.encode)
        seen.add(turning(100, seed=3))
        data = ComparisonData(ensemble, seed=0)
        data.add(given)
        options, rng = FitSettings(max_epochs=3, crop=0.8, **own), default_rng(1)
        for _ in range(2):  # what it is sure of counts from the second on
            fit(ensemble, data, options, rng, seen.inputs if own else None)
        found.append(torch.cat([p.detach().flatten() for p in ensemble.net.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])
