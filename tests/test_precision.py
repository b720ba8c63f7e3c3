"""Convolutions in bfloat16 say what they say in float32."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from prefrl import precision
from prefrl.agents import agent_spec
from prefrl.environments import make_vec_env
from prefrl.precision import Bfloat16CNN
from prefrl.reward.nets import MemberConvNet

PICTURES = torch.as_tensor(np.random.default_rng(0).random((32, 4, 84, 84), dtype=np.float32))


@pytest.fixture(params=[False, True])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor computes in bfloat16: both are tested on any, emulated if need be."""
    monkeypatch.setattr(precision, "_native", lambda device: request.param)
    return bool(request.param)


def test_policies_features_are_float32s(native: bool) -> None:
    space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    cnn = Bfloat16CNN(space)
    with torch.no_grad():
        found, exact = cnn(PICTURES), super(Bfloat16CNN, cnn).forward(PICTURES)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact) is not native
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02 * float(exact.std()))


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
