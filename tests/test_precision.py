"""Convolutions in bfloat16 say what they say in float32."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from prefrl import precision
from prefrl.agents.spec import agent_spec
from prefrl.environments import make_vec_env
from prefrl.precision import Bfloat16CNN, to_working_type
from prefrl.reward.nets import MemberConvNet, drop_half

PICTURES = torch.as_tensor(np.random.default_rng(0).random((32, 4, 84, 84), dtype=np.float32))


@pytest.fixture(params=[False, True])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor computes in bfloat16: both are tested on any, emulated if need be."""
    monkeypatch.setattr(precision, "_native", lambda device: request.param)
    return bool(request.param)


def test_policies_features_are_float32s(native: bool) -> None:
    space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    torch.manual_seed(0)
    cnn = Bfloat16CNN(space)
    with torch.no_grad():
        found, exact = cnn(PICTURES), super(Bfloat16CNN, cnn).forward(PICTURES)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact) is not native
    error = (found - exact).square().mean().sqrt()
    assert error < 2**-7 * exact.std(), "bfloat16 rounds to 8 bits"


def test_rewards_order_pictures_as_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    net = MemberConvNet((4, 84, 84), 0, 3, (64,), torch.Generator().manual_seed(0)).eval()
    rewards = []
    for native in (False, True):
        monkeypatch.setattr(precision, "_native", lambda device, native=native: native)
        with torch.no_grad():
            rewards.append(net(PICTURES, torch.zeros(32, 0)))
    for exact, found in zip(*rewards, strict=True):
        assert found.dtype == torch.float32
        assert np.corrcoef(exact, found)[0, 1] > 0.99


def test_weights_and_their_gradients_stay_float32(native: bool) -> None:
    net = MemberConvNet((4, 84, 84), 0, 2, (64,), torch.Generator().manual_seed(0)).train()
    net(PICTURES, torch.zeros(32, 0)).sum().backward()
    for parameter in net.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32


def test_an_agent_learns_with_them(native: bool) -> None:
    policy = {"features_extractor_class": "bfloat16-cnn"}
    kwargs = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": policy}
    venv = make_vec_env("prefrl/MovingDot-v0", 1, module="envs")
    agent = agent_spec("ppo", kwargs).on_true_reward(venv, seed=0)
    extractor = agent.policy.features_extractor
    assert isinstance(extractor, Bfloat16CNN)
    before = [parameter.clone() for parameter in extractor.parameters()]
    agent.learn(16)
    for old, new in zip(before, extractor.parameters(), strict=True):
        assert new.isfinite().all() and not torch.equal(old, new)


def test_dropout_keeps_half_and_doubles_it() -> None:
    torch.manual_seed(0)
    x = torch.full((30, 7, 11, 13), 3.0, requires_grad=True)  # no multiple of eight
    kept = drop_half(x)
    assert set(kept.unique().tolist()) == {0.0, 6.0}
    assert float(kept.detach().mean()) == pytest.approx(3, abs=5 * 3 / x.numel() ** 0.5)
    each_place = (kept > 0).float().mean(0)  # no place, and no bit of a byte, is preferred
    assert each_place.min() > 0.05 and each_place.max() < 0.95
    kept.sum().backward()
    assert x.grad is not None and torch.equal(x.grad * 3, kept)


def test_pixels_become_numbers_from_0_to_1(native: bool) -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    scaled = to_working_type(pixels) / 255
    assert scaled.dtype == (torch.bfloat16 if native else torch.float32)
    torch.testing.assert_close(scaled.float(), torch.arange(256) / 255, rtol=0.004, atol=0)
