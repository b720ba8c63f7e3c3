"""PPO in fewer calls: what it learns is what SB3's learns."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from prefrl.agents.ppo import FastPolicy, FastPPO, _one_gradient, gaussian_mlps

SETTINGS: dict[str, Any] = {"n_steps": 64, "batch_size": 32, "n_epochs": 3, "seed": 3}


def learned(
    agent_class: type[PPO], policy: Any, env_id: str, rollouts: int = 3, **settings: Any
) -> PPO:
    """After so many rollouts of two copies of an environment."""
    torch.manual_seed(0)
    venv = DummyVecEnv([lambda: gym.make(env_id)] * 2)
    agent = agent_class(policy, venv, device="cpu", **SETTINGS | settings)
    agent.set_logger(Logger(folder=None, output_formats=[]))
    return agent.learn(rollouts * 2 * agent.n_steps)


def weights(agent: PPO) -> dict[str, Tensor]:
    return dict(agent.policy.state_dict())


def recorded(agent: PPO) -> dict[str, float]:
    values = agent.logger.name_to_value
    return {name: float(v) for name, v in values.items() if name.startswith("train/")}


def assert_the_same(env_id: str, tolerance: float = 1e-4, **settings: Any) -> None:
    ours = learned(FastPPO, FastPolicy, env_id, **settings)
    theirs = learned(PPO, "MlpPolicy", env_id, **settings)
    for name, value in weights(theirs).items():
        torch.testing.assert_close(weights(ours)[name], value, atol=tolerance, rtol=tolerance)
    assert recorded(ours) == pytest.approx(recorded(theirs), abs=1e-2, rel=1e-2)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 48")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ent_coef": 0.1, "vf_coef": 0.2},
        {"normalize_advantage": False},
        {"clip_range": 0.02},
        {"max_grad_norm": 0.01},
        {"batch_size": 48},  # the last of each pass is smaller
        {"learning_rate": LinearSchedule(1e-3, 0, 1), "clip_range": LinearSchedule(0.11, 0.01, 1)},
        {"policy_kwargs": {"activation_fn": torch.nn.ReLU}},
        {"policy_kwargs": {"net_arch": [8]}},
        {"policy_kwargs": {"net_arch": []}},
        {"policy_kwargs": {"net_arch": {"pi": [8, 16, 8], "vf": [32]}, "log_std_init": -1.0}},
        {"use_sde": True, "sde_sample_freq": 4},
        {"use_sde": True, "ent_coef": 0.1, "policy_kwargs": {"log_std_init": -2.0}},
    ],
    ids=str,
)
def test_it_learns_what_sb3_learns(settings: dict[str, Any]) -> None:
    nets = gaussian_mlps(learned(FastPPO, FastPolicy, "Pendulum-v1", 0, **settings).policy)
    assert nets is not None, "this is to be about our own update"
    assert_the_same("Pendulum-v1", **settings)


def test_several_actions_and_numbers_of_double_precision() -> None:
    assert_the_same("Reacher-v5", n_steps=128)


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        ("CartPole-v1", {}),
        ("Pendulum-v1", {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
        ("Pendulum-v1", {"use_sde": True, "policy_kwargs": {"full_std": False}}),
        ("Pendulum-v1", {"use_sde": True, "policy_kwargs": {"use_expln": True}}),
        ("Pendulum-v1", {"policy_kwargs": {"activation_fn": torch.nn.ELU}}),
        ("Pendulum-v1", {"clip_range_vf": 0.1}),
        ("Pendulum-v1", {"target_kl": 1e-4}),
    ],
    ids=str,
)
def test_sb3_updates_what_is_not_written_out(env_id: str, settings: dict[str, Any]) -> None:
    assert_the_same(env_id, **settings)


@pytest.mark.parametrize("use_sde", [False, True])
def test_gradients_are_those_of_autograd(use_sde: bool) -> None:
    """Each parameter's, of one minibatch in which ratios lie inside and outside the clip."""
    agent = learned(FastPPO, FastPolicy, "Reacher-v5", rollouts=1, use_sde=use_sde)
    policy, generator = agent.policy, torch.Generator().manual_seed(0)
    obs = torch.randn(64, 10, generator=generator)
    with torch.no_grad():
        actions = policy(obs)[0]
    old = torch.randn(64, generator=generator) - 2
    advantages, returns = torch.randn(2, 64, generator=generator)

    values, log_prob, entropy = policy.evaluate_actions(obs, actions)
    ratio = torch.exp(log_prob - old)
    scaled = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    loss = -torch.min(scaled * ratio, scaled * ratio.clamp(0.8, 1.2)).mean()
    loss = loss - 0.3 * entropy.mean() + 0.5 * (values.flatten() - returns).square().mean()
    policy.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    wanted = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}

    agent.ent_coef, agent.max_grad_norm = 0.3, float("inf")
    nets = gaussian_mlps(policy)
    assert nets is not None
    gradient = _one_gradient(policy.parameters())
    batch = RolloutBufferSamples(obs, actions, values, old, advantages, returns)
    with torch.no_grad():
        agent._step(nets, gradient, batch, 0.2)
    found = {name: p.grad for name, p in policy.named_parameters()}
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("use_sde", [False, True])
def test_the_policy_says_of_actions_what_sb3_says(use_sde: bool) -> None:
    policy = learned(FastPPO, FastPolicy, "Reacher-v5", rollouts=1, use_sde=use_sde).policy
    obs = torch.as_tensor(np.random.default_rng(0).normal(size=(5, 10)))
    with torch.no_grad():
        actions, values, log_prob = policy(obs)
        best, _, at_best = policy(obs, deterministic=True)
        same = policy.evaluate_actions(obs, actions)
        of_best = policy.evaluate_actions(obs, best)
    torch.testing.assert_close(values, same[0])
    torch.testing.assert_close(log_prob, same[1])
    torch.testing.assert_close(at_best, of_best[1])
    assert not torch.equal(actions, best)
    np.testing.assert_allclose(best, policy.predict(obs.numpy(), deterministic=True)[0], atol=1e-6)


def test_a_policy_that_has_diverged_says_so() -> None:
    policy = learned(FastPPO, FastPolicy, "Pendulum-v1", rollouts=0).policy
    with torch.no_grad():
        policy.action_net.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        policy(torch.zeros(1, 3))


def test_what_is_saved_is_loaded_and_learns_on(tmp_path: Any) -> None:
    agent = learned(FastPPO, FastPolicy, "Pendulum-v1")
    agent.save(tmp_path / "agent")
    again = FastPPO.load(tmp_path / "agent", env=agent.get_env(), device="cpu")
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(agent).items())
    again.set_logger(Logger(folder=None, output_formats=[]))
    again.learn(128)
    assert any(
        not torch.equal(value, weights(again)[name]) for name, value in weights(agent).items()
    )
