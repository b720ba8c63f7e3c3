"""Every agent, built by name and trained for a few hundred steps on preferences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from prefrl.agents.ppo import FastPPO
from prefrl.agents.relabel import RelabelledReplayBuffer, RelabelledRolloutBuffer
from prefrl.agents.spec import AGENTS, Gaussian, agent_spec
from prefrl.environments import make_env, make_vec_env
from prefrl.loop import act_at_random
from prefrl.recorder import Recorder
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.run import normalised
from prefrl.types import PrefrlError

FIXTURES = Path(__file__).parent / "fixtures"
SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 64, "batch_size": 64, "n_epochs": 2},
    "a2c": {"n_steps": 8},
    "reinforce": {"n_steps": 64},
    "sb3-ppo": {"n_steps": 64, "batch_size": 64, "n_epochs": 2},
    "trpo": {"n_steps": 64, "batch_size": 64, "n_critic_updates": 2, "cg_max_steps": 3},
    "sac": {"learning_starts": 64, "batch_size": 16, "train_freq": 16, "gradient_steps": 4},
}


def settings(name: str, **extra: Any) -> dict[str, Any]:
    return SMALL[name] | {"policy_kwargs": {"net_arch": [8]}} | extra


def scaled_ensemble(recorder: Recorder) -> RewardEnsemble:
    """A tiny random reward, scaled on a random policy's steps."""
    ensemble = RewardEnsemble(
        recorder.observation_space, recorder.action_space, n_members=2, hidden=(4,)
    )
    act_at_random(recorder, 64, np.random.default_rng(0))
    inputs = ensemble.encode(*recorder.rollout(recorder.recorded))
    ensemble.set_inputs(inputs)
    ensemble.set_scale(inputs)
    return ensemble


def on_preferences(
    name: str, env_id: str, normalize_return: bool = True, **extra: Any
) -> tuple[BaseAlgorithm, Recorder, RewardEnsemble]:
    recorder = make_env(env_id, 2, ring_steps=256)
    reward = scaled_ensemble(recorder)
    spec = agent_spec(name, settings(name, **extra))
    venv = VecNormalize(recorder, norm_reward=False)
    return spec.on_preferences(venv, recorder, reward, 0, normalize_return), recorder, reward


def weights(agent: BaseAlgorithm) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in agent.policy.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        (n, e)
        for n in sorted(SMALL)
        for e in ("Pendulum-v1", "CartPole-v1")
        if (n, e) != ("sac", "CartPole-v1")
    ],
)
def test_every_agent_learns_from_predicted_rewards(name: str, env_id: str) -> None:
    agent, recorder, reward = on_preferences(name, env_id)
    before = weights(agent)
    agent.learn(300)
    assert recorder.steps_taken >= 300 + 64
    after = weights(agent)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(before[k], after[k]) for k in before)
    buffer = getattr(agent, "rollout_buffer", None) or agent.replay_buffer  # type: ignore[attr-defined]
    assert isinstance(buffer, RelabelledRolloutBuffer | RelabelledReplayBuffer)
    assert buffer.predicted_reward != 0
    if name != "sac":
        rows = recorder.rollout(buffer.buffer_size)
        assert buffer.predicted_reward == pytest.approx(float(reward.predict(*rows).mean()))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_agent_learns_from_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels last, as cameras give them: agent, recorder and reward see them first."""
    monkeypatch.syspath_prepend(FIXTURES)
    recorder = make_env("odd/Image-v0", 2, module="odd_envs", ring_steps=256)
    assert recorder.observation_space.shape == (3, 84, 84)
    reward = scaled_ensemble(recorder)
    small = {"net_arch": [8], "features_extractor_kwargs": {"features_dim": 8}}
    memory = {"buffer_size": 200} if name == "sac" else {}
    spec = agent_spec(name, SMALL[name] | {"policy_kwargs": small} | memory)
    venv = normalised(recorder, spec, obs=True)
    assert venv is recorder, "the policy scales pixels itself"
    agent = spec.on_preferences(venv, recorder, reward, 0, normalize_return=True)
    assert any(isinstance(module, NatureCNN) for module in agent.policy.modules())
    before = weights(agent)
    agent.learn(130)
    after = weights(agent)
    assert any(not torch.equal(before[k], after[k]) for k in before)
    buffer = getattr(agent, "rollout_buffer", None) or agent.replay_buffer  # type: ignore[attr-defined]
    assert buffer.predicted_reward != 0
    recorder.close()


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_continuous_actions_in_numbered_states(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FIXTURES)
    recorder = make_env("odd/Discrete-v0", 2, module="odd_envs", ring_steps=256)
    reward = scaled_ensemble(recorder)
    agent = agent_spec(name, settings(name)).on_preferences(recorder, recorder, reward, 0, True)
    before = weights(agent)
    agent.learn(130)
    assert any(not torch.equal(before[k], value) for k, value in weights(agent).items())


@pytest.mark.parametrize("name", sorted(SMALL))
def test_what_is_liked_decides_what_is_learned(name: str) -> None:
    """The same seed under the opposite reward ends with other weights; under the same, not."""

    def trained(sign: float) -> dict[str, torch.Tensor]:
        agent, _, reward = on_preferences(name, "Pendulum-v1", normalize_return=False)
        with torch.no_grad():
            reward.reward_std *= sign
        agent.learn(160)
        return weights(agent)

    liked, again, disliked = trained(1.0), trained(1.0), trained(-1.0)
    assert all(torch.equal(value, again[key]) for key, value in liked.items())
    assert any(not torch.equal(value, disliked[key]) for key, value in liked.items())


def test_the_table_is_complete() -> None:
    assert set(AGENTS) == set(SMALL)


def test_the_rival_is_the_same_agent_on_the_true_reward() -> None:
    spec = agent_spec("ppo", settings("ppo"))
    venv = VecMonitor(make_vec_env("Pendulum-v1", 2))
    rival = spec.on_true_reward(venv, seed=0)
    assert type(rival) is FastPPO
    assert not isinstance(rival.rollout_buffer, RelabelledRolloutBuffer)
    assert (rival.n_steps, rival.batch_size, rival.n_epochs) == (64, 64, 2)
    rival.learn(128)
    assert rival.rollout_buffer.rewards.max() < 0, "Pendulum pays nothing above 0"


def test_an_unknown_agent_names_the_nearest() -> None:
    with pytest.raises(PrefrlError, match=r"unknown agent 'ppp': did you mean 'ppo'\?"):
        agent_spec("ppp", {})


@pytest.mark.parametrize("key", ["learning_rate", "clip_range"])
def test_a_linear_schedule_falls_to_nothing(key: str) -> None:
    agent, _, _ = on_preferences("ppo", "Pendulum-v1", **{key: "linear:3e-4"})
    schedule = agent.lr_schedule if key == "learning_rate" else agent.clip_range  # type: ignore[attr-defined]
    assert [schedule(left) for left in (1.0, 0.5, 0.0)] == pytest.approx([3e-4, 1.5e-4, 0])


def test_a_linear_schedule_is_followed_while_training() -> None:
    agent, _, _ = on_preferences("ppo", "Pendulum-v1", learning_rate="linear:1e-3")
    agent.learn(256)  # two rollouts of 128
    rate = agent.policy.optimizer.param_groups[0]["lr"]  # type: ignore[union-attr]
    assert rate == pytest.approx(0.0, abs=1e-9), "the last update comes when no steps are left"


@pytest.mark.parametrize("text", ["cosine:3e-4", "3e-4", "linear", "linear:", "linear:fast"])
def test_an_unknown_schedule_is_refused(text: str) -> None:
    with pytest.raises(PrefrlError, match=rf"agent.kwargs.learning_rate = '{text}'"):
        on_preferences("ppo", "Pendulum-v1", learning_rate=text)


@pytest.mark.parametrize(
    ("name", "layer"), [("relu", torch.nn.ReLU), ("tanh", torch.nn.Tanh), ("elu", torch.nn.ELU)]
)
def test_activations_by_name(name: str, layer: type[torch.nn.Module]) -> None:
    agent, _, _ = on_preferences(
        "ppo", "Pendulum-v1", policy_kwargs={"activation_fn": name, "net_arch": [4]}
    )
    assert any(isinstance(module, layer) for module in agent.policy.modules())


def test_ppo_steps_in_one_call_with_the_epsilon_of_sb3() -> None:
    agent, _, _ = on_preferences("ppo", "Pendulum-v1", policy_kwargs={"net_arch": [4]})
    plain = PPO("MlpPolicy", "Pendulum-v1", device="cpu").policy.optimizer.defaults
    assert agent.policy.optimizer.defaults == plain | {"fused": True}


def test_an_optimizer_of_the_users_stays_as_it_is() -> None:
    policy = {"net_arch": [4], "optimizer_kwargs": {"eps": 0.1}}
    agent, _, _ = on_preferences("ppo", "Pendulum-v1", policy_kwargs=policy)
    assert agent.policy.optimizer.defaults["eps"] == 0.1
    assert not agent.policy.optimizer.defaults["fused"]


def test_an_unknown_activation_names_the_nearest() -> None:
    with pytest.raises(PrefrlError, match=r"unknown activation_fn 'tanhh': did you mean 'tanh'\?"):
        on_preferences("ppo", "Pendulum-v1", policy_kwargs={"activation_fn": "tanhh"})


@pytest.mark.parametrize(
    ("name", "env_id", "extra", "words"),
    [
        ("ppo", "Pendulum-v1", {"n_stepps": 3}, "n_stepps"),
        (
            "ppo",
            "Pendulum-v1",
            {"n_steps": -1},
            "n_steps = -1: it must be a whole number from 1 up",
        ),
        ("ppo", "Pendulum-v1", {"batch_size": 1}, "PPO cannot be built"),
        ("sac", "CartPole-v1", {}, "SAC cannot be built with agent.kwargs.*Discrete"),
        ("sac", "Pendulum-v1", {"n_steps": 3}, "n_steps = 3: sac learns from single transitions"),
        ("sac", "Pendulum-v1", {"replay_buffer_kwargs": {}}, "replay_buffer_kwargs: the buffer is"),
        ("ppo", "Pendulum-v1", {"rollout_buffer_class": 1}, "rollout_buffer_class: the buffer is"),
    ],
)
def test_what_sb3_refuses_is_told_without_a_trace(
    name: str, env_id: str, extra: dict[str, Any], words: str
) -> None:
    with pytest.raises(PrefrlError, match=words):
        on_preferences(name, env_id, **extra)


def test_gamma_is_the_agents_own() -> None:
    for name in AGENTS:
        agent, _, _ = on_preferences(name, "Pendulum-v1")
        assert agent_spec(name, {}).gamma == agent.gamma  # type: ignore[attr-defined]
    assert agent_spec("ppo", {"gamma": 0.9}).gamma == 0.9


def test_plain_policy_gradient_learns_to_balance_a_pole() -> None:
    """CartPole on its own reward: 20 steps at random, several times as many after 100 rollouts."""
    venv = VecMonitor(make_vec_env("CartPole-v1", 8, seed=0))
    agent = agent_spec("reinforce", {"n_steps": 64, "gamma": 0.98})
    trained = agent.on_true_reward(venv, seed=0)
    trained.learn(64 * 8 * 100)
    assert trained.ep_info_buffer
    lengths = [episode["l"] for episode in trained.ep_info_buffer]
    assert np.mean(lengths) > 150


def test_actions_are_drawn_as_sb3_draws_them() -> None:
    agent, _, _ = on_preferences("ppo", "Pendulum-v1")
    obs, mean = torch.randn(5, 3), torch.randn(5, 1)
    log_std, actions = torch.full((1,), -0.5), torch.randn(5, 1)
    ours, sb3 = agent.policy.action_dist, DiagGaussianDistribution(1)
    assert isinstance(ours, Gaussian)
    for found, wanted in zip(
        _said(ours, mean, log_std, actions), _said(sb3, mean, log_std, actions), strict=True
    ):
        assert torch.equal(found, wanted)
    agent.policy(obs)
    for broken in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(ValueError, match="not finite"):
            ours.proba_distribution(torch.tensor([[1.0], [broken]]), log_std)
        with pytest.raises(ValueError, match="not finite"):
            ours.proba_distribution(mean, torch.tensor([broken]))


def _said(
    distribution: Any, mean: torch.Tensor, log_std: torch.Tensor, actions: torch.Tensor
) -> list[torch.Tensor]:
    torch.manual_seed(0)
    known = distribution.proba_distribution(mean, log_std)
    return [known.sample(), known.mode(), known.log_prob(actions), known.entropy()]
