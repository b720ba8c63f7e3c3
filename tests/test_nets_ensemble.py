"""Batched members, the encoding of spaces, normalisation, weights on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d, leaky_relu, linear

from prefrl import precision
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.nets import REWARD_NETS, MemberConvNet, MemberLinear, MemberMLP
from prefrl.types import MachineError, PrefrlError, Segment

Ensembles = Callable[..., RewardEnsemble]
BOX = spaces.Box(-1, 1, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (2, 48, 44), np.uint8)
OBS_SHAPES = {"mlp": (4,), "state-mlp": (4,), "conv": (2, 48, 44)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_member_layer_on_literal_numbers() -> None:
    layer = MemberLinear(2, 2, 1, generator())
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[1.0], [2.0]], [[-1.0], [0.5]]]))
        layer.bias.copy_(torch.tensor([[[10.0]], [[0.0]]]))
    x = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    out = layer(x.expand(2, 2, 2)).squeeze(-1)
    assert out.tolist() == [[21.0, 14.0], [-1.0, 1.0]]


@pytest.mark.parametrize("hidden", [(), (5,), (7, 4, 3)])
@pytest.mark.parametrize("own_batches", [False, True])
def test_batched_members_equal_separate_nets(hidden: tuple[int, ...], own_batches: bool) -> None:
    members, batch = 4, 6
    net = MemberMLP((3,), 2, members, hidden, generator())
    shape = (members, batch) if own_batches else (batch,)
    obs = torch.randn(*shape, 3, generator=generator(1))
    action = torch.randn(*shape, 2, generator=generator(2))
    together = net(obs, action)  # (M, B)
    assert together.shape == (members, batch)
    for m in range(members):
        x = torch.cat([obs, action], -1)
        x = x[m] if own_batches else x
        for index, layer in enumerate(net.layers):
            if index:
                x = leaky_relu(x, 0.01)
            x = linear(x, layer.weight[m].T, layer.bias[m, 0])
        torch.testing.assert_close(together[m], x[:, 0])


@pytest.mark.parametrize("name", sorted(REWARD_NETS))
def test_every_net_keeps_to_the_contract(name: str) -> None:
    shape = OBS_SHAPES[name]
    net = REWARD_NETS[name](shape, 2, 3, (8,), generator()).eval()
    obs = torch.randn(5, *shape, generator=generator(1))
    action = torch.randn(5, 2, generator=generator(2))
    rewards = net(obs, action)
    assert rewards.shape == (3, 5)
    torch.testing.assert_close(net(obs.expand(3, *obs.shape), action.expand(3, 5, 2)), rewards)
    assert rewards.std(0).min() > 0, "members start apart"
    rewards.sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.shape[0] == 3
    # no member looks at another
    with torch.no_grad():
        for parameter in net.parameters():
            parameter[0] += 1.0
    again = net(obs, action)
    torch.testing.assert_close(again[1:], rewards[1:])
    assert not torch.allclose(again[0], rewards[0])
    same = REWARD_NETS[name](shape, 2, 3, (8,), generator()).eval()
    other = REWARD_NETS[name](shape, 2, 3, (8,), generator(1)).eval()
    torch.testing.assert_close(same(obs, action), rewards.detach())
    assert not torch.allclose(other(obs, action), rewards)


def test_boxes_are_flattened_and_discrete_values_become_one_hot() -> None:
    grid = spaces.Box(-9, 9, (2, 2), np.float32)
    ensemble = RewardEnsemble(grid, spaces.Discrete(3), 2)
    obs = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    encoded = ensemble.encode(obs, np.array([0, 2]))
    assert encoded.tolist() == [[0, 1, 2, 3, 1, 0, 0], [4, 5, 6, 7, 0, 0, 1]]
    assert encoded.dtype == torch.float32

    ensemble = RewardEnsemble(spaces.Discrete(2), BOX, 2)
    encoded = ensemble.encode(np.array([[0, 1]]), np.array([[[0.5, -0.5], [0.25, 0.0]]]))
    assert encoded.tolist() == [[[1, 0, 0.5, -0.5], [0, 1, 0.25, 0.0]]]


@pytest.mark.parametrize(
    ("observation", "action", "words"),
    [
        (BOX, spaces.MultiDiscrete([3, 3]), "MultiDiscrete actions: Box and Discrete"),
        (BOX, spaces.Discrete(3, start=1), "actions from 1 on, and SB3's agents count from 0"),
        (spaces.Discrete(3, start=-1), BOX, "observations from -1 on"),
    ],
)
def test_spaces_that_no_agent_can_have_are_refused(
    observation: spaces.Space[Any], action: spaces.Space[Any], words: str
) -> None:
    with pytest.raises(PrefrlError, match=words):
        RewardEnsemble(observation, action)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.float32])
def test_encoding_keeps_leading_axes_and_takes_any_dtype(dtype: type) -> None:
    ensemble = RewardEnsemble(spaces.Box(0, 255, (3,), dtype), spaces.Discrete(4), 2)
    obs, actions = np.full((5, 6, 3), 200, dtype), np.full((5, 6), 3)
    encoded = ensemble.encode(obs, actions)
    assert encoded.shape == (5, 6, 7)
    assert encoded[4, 5].tolist() == [200, 200, 200, 0, 0, 0, 1]


def test_an_ensemble_that_knows_nothing_prefers_nothing(
    ensemble_of: Ensembles, segment_of: Callable[..., Segment]
) -> None:
    ensemble = ensemble_of(scaled=False)
    assert not ensemble.knows_inputs
    assert not ensemble.predict(np.ones((4, 3)), np.ones((4, 1))).any()
    assert not ensemble.member_returns([segment_of(np.ones((5, 3)))]).any()


def test_inputs_are_scaled_and_constant_ones_left_alone(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of(2, scaled=False)
    rows = torch.tensor([[1.0, 7.0, 10.0], [3.0, 7.0, 30.0], [5.0, 7.0, 50.0]])
    ensemble.set_inputs(rows[:, None])
    assert ensemble.knows_inputs
    torch.testing.assert_close(ensemble.input_mean, torch.tensor([3.0, 7.0, 30.0]))
    torch.testing.assert_close(ensemble.input_std, torch.tensor([2.0, 1.0, 20.0]))
    scaled = torch.tensor([[1.0, 0.0, -1.0]])
    expected = ensemble.net(scaled[:, :2], scaled[:, 2:])
    torch.testing.assert_close(ensemble(torch.tensor([[5.0, 7.0, 10.0]])), expected)


@given(st.floats(0.01, 10), st.floats(0.1, 100), st.floats(-100, 100), st.integers(0, 2**32 - 1))
def test_each_member_has_mean_zero_and_the_wanted_spread_on_the_reference(
    ensemble_of: Ensembles, output_std: float, spread: float, mean: float, seed: int
) -> None:
    ensemble = ensemble_of(output_std=output_std, scaled=False)
    rows = np.random.default_rng(seed).normal(mean, spread, (40, 4)).astype(np.float32)
    reference = torch.as_tensor(rows)
    ensemble.set_inputs(reference)
    ensemble.set_scale(reference.reshape(8, 5, 4))
    members = ((ensemble(reference) - ensemble.reward_mean) / ensemble.reward_std).detach()
    torch.testing.assert_close(members.std(1) / output_std, torch.ones(3), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(members.mean(1) / output_std, torch.zeros(3), rtol=0, atol=1e-3)
    predicted = ensemble.predict(rows[:, :3], rows[:, 3:])
    np.testing.assert_allclose(predicted, members.mean(0), rtol=1e-4, atol=1e-4 * output_std)


def test_the_prediction_is_a_mean_of_members_of_equal_say(ensemble_of: Ensembles) -> None:
    """A member a thousand times as loud is heard no more than the others."""
    loud, plain = ensemble_of(), ensemble_of()
    with torch.no_grad():
        loud.net.layers[-1].weight[0] *= 1000
        loud.net.layers[-1].bias[0] += 5
    rows = torch.randn(200, 4, generator=generator(3))
    loud.set_scale(rows)
    plain.set_scale(rows)
    obs, actions = rows[:, :3].numpy(), rows[:, 3:].numpy()
    np.testing.assert_allclose(loud.predict(obs, actions), plain.predict(obs, actions), atol=1e-4)


def test_predictions_by_hand(ensemble_of: Ensembles) -> None:
    """Two linear members: 2x + a and -x; normalised, then averaged."""
    ensemble = ensemble_of(1, n_members=2, hidden=(), scaled=False, output_std=0.5)
    reference = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    ensemble.input_std.fill_(1.0)
    with torch.no_grad():
        ensemble.net.layers[0].weight.copy_(torch.tensor([[[2.0], [1.0]], [[-1.0], [0.0]]]))
        ensemble.net.layers[0].bias.copy_(torch.tensor([[[3.0]], [[0.0]]]))
    ensemble.set_scale(reference)
    # on the reference: 1 and 5 (mean 3, std 2 sqrt 2); 1 and -1 (mean 0, std sqrt 2)
    predicted = ensemble.predict(np.array([[4.0]]), np.array([[1.0]]))
    first, second = (8 + 1) / (2 * 2**0.5) * 0.5, -4 / 2**0.5 * 0.5
    assert predicted.tolist() == pytest.approx([(first + second) / 2])
    assert predicted.dtype == np.float32
    ensemble.disagreement_weight = -2.0
    wary = ensemble.predict(np.array([[4.0]]), np.array([[1.0]]))
    spread = abs(first - second) / 2
    assert wary.tolist() == pytest.approx([(first + second) / 2 - 2 * spread])
    assert wary.dtype == np.float32


def test_member_returns_are_sums_over_the_temperature(
    ensemble_of: Ensembles, segment_of: Callable[..., Segment]
) -> None:
    ensemble = ensemble_of()
    rng = np.random.default_rng(0)
    segments = [
        segment_of(rng.normal(size=(6, 3)), actions=rng.uniform(-2, 2, (6, 1))) for _ in range(4)
    ]
    ensemble.temperature.fill_(2.5)
    returns = ensemble.member_returns(segments)
    assert returns.shape == (3, 4)
    for n, segment in enumerate(segments):
        rewards = ensemble(ensemble.encode(segment.obs, segment.actions)).detach()  # (M, T)
        np.testing.assert_allclose(returns[:, n], rewards.sum(1) / 2.5, rtol=1e-4, atol=1e-5)


def test_large_batches_are_scored_in_pieces_of_the_same_sum(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of()
    obs = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    actions = np.zeros((20_000, 1), np.float32)
    whole = ensemble.predict(obs, actions)
    assert whole.shape == (20_000,)
    for part in (slice(0, 10), slice(16_380, 16_390), slice(19_990, None)):
        np.testing.assert_allclose(
            whole[part], ensemble.predict(obs[part], actions[part]), rtol=1e-4, atol=1e-5
        )
    folded = ensemble.predict(obs.reshape(100, 200, 3), actions.reshape(100, 200, 1))
    np.testing.assert_array_equal(folded, whole.reshape(100, 200))


class BentMLP(MemberMLP):
    """Not linear in what its last layer sees."""

    def forward(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return super().forward(obs, action).tanh()


@pytest.mark.parametrize("net", ["mlp", "state-mlp", "bent"])
@pytest.mark.parametrize("n", [0, 5])
def test_returns_are_sums_of_rewards(net: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARD_NETS, "bent", BentMLP)
    ensemble = RewardEnsemble(BOX, BOX, 3, net, hidden=(7,))
    inputs = torch.randn(3, 5, 4, 4, generator=generator(1))
    ensemble.set_inputs(inputs)
    segments = inputs[:, :n]
    wanted = ensemble(segments.flatten(1, 2)).view(3, n, 4).sum(-1)
    torch.testing.assert_close(ensemble.returns(segments), wanted)


def test_the_agents_reward_carries_no_gradient(ensemble_of: Ensembles) -> None:
    ensemble = ensemble_of()
    ensemble.predict(np.ones((4, 3)), np.ones((4, 1)))
    assert all(p.grad is None for p in ensemble.parameters())


def test_weights_on_disk_and_back(ensemble_of: Ensembles, tmp_path: Path) -> None:
    saved, loaded = ensemble_of(seed=1), ensemble_of(seed=2, scaled=False)
    saved.temperature.fill_(1.75)
    saved.l2.copy_(torch.tensor([1e-3, 2e-3, 3e-3]))
    path = tmp_path / "reward.safetensors"
    saved.save(path, author="test")
    before = loaded.updates
    loaded.load(path)
    assert loaded.updates == before + 1, "or no critic is taught it"
    obs, actions = np.random.default_rng(0).normal(size=(2, 50, 3)), np.zeros((2, 50, 1))
    np.testing.assert_array_equal(loaded.predict(obs, actions), saved.predict(obs, actions))
    assert loaded.temperature == 1.75
    torch.testing.assert_close(loaded.l2, saved.l2)
    assert loaded.knows_inputs
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(ensemble_of: Ensembles, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "reward.safetensors"
    ensemble = ensemble_of()
    ensemble.save(path)
    path.write_bytes(path.read_bytes()[:kept])
    before = ensemble.state_dict()["net.layers.0.weight"].clone()
    with pytest.raises(MachineError, match=r"reward\.safetensors"):
        ensemble.load(path)
    torch.testing.assert_close(ensemble.state_dict()["net.layers.0.weight"], before)


def test_another_shape_and_no_file_are_refused(ensemble_of: Ensembles, tmp_path: Path) -> None:
    path = tmp_path / "reward.safetensors"
    ensemble_of(hidden=(16,)).save(path)
    for other in (ensemble_of(), ensemble_of(5, hidden=(16,)), ensemble_of(hidden=(16, 16))):
        with pytest.raises(MachineError):
            other.load(path)
    with pytest.raises(MachineError, match=r"none\.safetensors"):
        ensemble_of().load(tmp_path / "none.safetensors")


def test_a_state_net_pays_the_same_for_every_action() -> None:
    obs = torch.randn(5, 4, generator=generator(1))
    actions = torch.randn(2, 5, 3, generator=generator(2))
    paid = {}
    for name in ("mlp", "state-mlp"):
        net = REWARD_NETS[name]((4,), 3, 2, (8,), generator())
        paid[name] = [net(obs, action) for action in actions]
    assert torch.equal(*paid["state-mlp"])
    assert not torch.allclose(*paid["mlp"])


def test_batched_convolutions_equal_separate_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against torch's own layers: convolution, batch norm, leaky ReLU, dropout switched off."""
    monkeypatch.setattr(precision, "_native", lambda device: False)  # bfloat16 rounds
    net = MemberConvNet((2, 48, 44), 3, 2, (5,), generator()).eval()
    draw = generator(1)
    with torch.no_grad():  # statistics as after some training
        for conv in net.convs:
            conv.running_mean.copy_(torch.randn(2, 16, generator=draw))
            conv.running_var.copy_(torch.rand(2, 16, generator=draw) + 0.5)
            conv.scale.copy_(torch.randn(2, 16, generator=draw))
            conv.bias.copy_(torch.randn(2, 16, generator=draw))
    obs = torch.rand(2, 4, 2, 48, 44, generator=draw)
    together = net(obs, torch.zeros(2, 4, 3))
    for m in range(2):
        x = obs[m]
        for conv, stride in zip(net.convs, (3, 2, 1, 1), strict=True):
            norm = torch.nn.BatchNorm2d(16).eval()
            norm.weight.data, norm.bias.data = conv.scale[m].data, conv.bias[m].data
            norm.running_mean, norm.running_var = conv.running_mean[m], conv.running_var[m]
            x = leaky_relu(norm(conv2d(x, conv.weight[m], stride=stride)), 0.01)
        x = leaky_relu(linear(x.flatten(1), net.layers[0].weight[m].T, net.layers[0].bias[m, 0]))
        x = linear(x, net.layers[1].weight[m].T, net.layers[1].bias[m, 0])
        torch.testing.assert_close(together[m], x[:, 0])


def test_in_training_dropout_and_batch_norm_work_and_statistics_move() -> None:
    net = MemberConvNet((2, 48, 44), 0, 2, (5,), generator())
    obs, nothing = torch.rand(6, 2, 48, 44, generator=generator(1)), torch.zeros(6, 0)
    assert not torch.equal(net(obs, nothing), net(obs, nothing)), "dropout"
    before = net.convs[0].running_mean.clone()
    assert before.any()
    net.eval()
    torch.testing.assert_close(net(obs, nothing), net(obs, nothing), rtol=0, atol=0)
    assert torch.equal(net.convs[0].running_mean, before)


def test_images_are_scaled_to_one_and_the_action_is_not_looked_at() -> None:
    ensemble = RewardEnsemble(IMAGE, BOX, 2, hidden=(4,))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 2, 48, 44), dtype=np.uint8)
    actions = np.random.default_rng(1).uniform(-1, 1, (2, 3, 5, 2)).astype(np.float32)
    inputs = ensemble.encode(pixels, actions[0])
    assert inputs.dtype == torch.uint8 and inputs.shape == (3, 5, 2 * 48 * 44)
    ensemble.set_inputs(inputs)
    scaled = torch.as_tensor(pixels.reshape(-1, 2, 48, 44)) / 255
    expected = ensemble.net(scaled, torch.zeros(15, 0))
    torch.testing.assert_close(ensemble(inputs.reshape(15, -1)), expected)
    ensemble.set_scale(inputs)
    paid = [ensemble.predict(pixels, taken) for taken in actions]
    assert paid[0].shape == (3, 5) and paid[0].std() > 0
    np.testing.assert_array_equal(*paid)


def test_features_of_images_are_small_pictures() -> None:
    ensemble = RewardEnsemble(IMAGE, BOX, 2, hidden=(4,))
    obs = np.zeros((9, 2, 48, 44), np.uint8)
    obs[-1, 1, :8] = 255  # the top sixth of the last step's second channel
    segment = Segment(obs, np.zeros((9, 2), np.float32), np.zeros(9))
    ensemble.set_inputs(ensemble.encode(segment.obs, segment.actions))
    features = ensemble.segment_summaries([segment, segment])
    assert features.shape == (2, 8 * 2 * 6 * 6)
    pictures = features[0].reshape(8, 2, 6, 6)
    assert pictures[-1, 1, 0].tolist() == [1.0] * 6
    assert pictures.sum() == 6


def test_a_net_for_other_observations_is_refused_with_the_remedy() -> None:
    for net, space, remedy in (
        ("mlp", IMAGE, "net=conv"),
        ("state-mlp", IMAGE, "net=conv"),
        ("conv", BOX, "net=mlp"),
        ("conv", spaces.Box(0, 255, (3, 42, 60), np.uint8), "43 by 43"),
    ):
        with pytest.raises(PrefrlError, match=remedy):
            RewardEnsemble(space, BOX, net=net)
