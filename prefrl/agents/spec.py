"""SB3 agents by name, with the buffers that score themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from prefrl.agents.ppo import FastPolicy, FastPPO, check_once
from prefrl.agents.reinforce import REINFORCE
from prefrl.agents.relabel import RelabelledReplayBuffer, RelabelledRolloutBuffer
from prefrl.names import choose
from prefrl.precision import Bfloat16CNN
from prefrl.recorder import Recorder
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.types import PrefrlError

AGENTS: dict[str, type[BaseAlgorithm]] = {
    "ppo": FastPPO,
    "sb3-ppo": PPO,
    "a2c": A2C,
    "trpo": TRPO,
    "sac": SAC,
    "reinforce": REINFORCE,
}

_POLICY_CLASSES: Mapping[str, Mapping[str, type]] = {
    "activation_fn": {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "elu": torch.nn.ELU},
    "features_extractor_class": {"nature-cnn": NatureCNN, "bfloat16-cnn": Bfloat16CNN},
}
"""What names in `policy_kwargs` stand for."""
_OURS = {f"{kind}_buffer_{what}" for kind in ("rollout", "replay") for what in ("class", "kwargs")}
"""Keyword arguments of SB3's classes that are not the user's to choose."""
_ADAM: Mapping[str, Any] = {"eps": 1e-5, "fused": True}
"""SB3's own epsilon, and all of a step in one call: PPO of small MLPs is a tenth faster."""


@dataclass(frozen=True)
class AgentSpec:
    """An agent as the configuration describes it; a table in AGENTS names the class."""

    agent_class: type[BaseAlgorithm]
    kwargs: Mapping[str, Any]

    @property
    def off_policy(self) -> bool:
        return issubclass(self.agent_class, OffPolicyAlgorithm)

    @property
    def gamma(self) -> float:
        return float(self.kwargs.get("gamma", 0.99))  # SB3's default, of each of them

    def on_true_reward(self, venv: VecEnv, seed: int) -> BaseAlgorithm:
        """The plain SB3 agent: the same hyperparameters, the environment's own reward."""
        return self._build(venv, seed, {})

    def on_preferences(
        self,
        venv: VecEnv,
        recorder: Recorder,
        reward: RewardEnsemble,
        seed: int,
        normalize_return: bool,
    ) -> BaseAlgorithm:
        """The same agent with a buffer that scores itself."""
        if self.off_policy:
            extra: dict[str, Any] = {
                "replay_buffer_class": RelabelledReplayBuffer,
                "replay_buffer_kwargs": {"reward": reward},
            }
        else:
            extra = {
                "rollout_buffer_class": RelabelledRolloutBuffer,
                "rollout_buffer_kwargs": {
                    "recorder": recorder,
                    "reward": reward,
                    "normalize_return": normalize_return,
                },
            }
        return self._build(venv, seed, extra)

    def _build(self, venv: VecEnv, seed: int, extra: Mapping[str, Any]) -> BaseAlgorithm:
        fast = issubclass(self.agent_class, FastPPO)
        policy: str | type = FastPolicy if fast else "MlpPolicy"
        if is_image_space(venv.observation_space):
            policy = "CnnPolicy"
        try:
            kwargs = {"device": "cpu"} | _resolved(self.kwargs) | dict(extra)
            if fast:
                kwargs["policy_kwargs"] = _with_fused_adam(kwargs.get("policy_kwargs", {}))
            agent = self.agent_class(policy, venv, seed=seed, **kwargs)
        except (TypeError, AssertionError, ValueError, RuntimeError) as error:
            raise PrefrlError(
                f"{self.agent_class.__name__} cannot be built with agent.kwargs = "
                f"{dict(self.kwargs)}: {error}"
            ) from error
        if self.agent_class is not PPO:  # that is SB3's own, as it comes
            check_once(agent.policy)
        # SB3's own logger leaves a folder in /tmp.
        agent.set_logger(Logger(folder=None, output_formats=[]))
        return agent


def agent_spec(name: str, kwargs: Mapping[str, Any]) -> AgentSpec:
    """The agent that a name and keyword arguments describe.

    Raises:
      PrefrlError: no such agent, named with the nearest one, or keyword arguments that cannot be.
    """
    agent_class = choose(AGENTS, name, "agent")
    n_steps, gamma = kwargs.get("n_steps", 1), kwargs.get("gamma", 0)  # they count elsewhere too
    if not isinstance(n_steps, int) or n_steps < 1:
        raise PrefrlError(
            f"agent.kwargs.n_steps = {n_steps!r}: it must be a whole number from 1 up"
        )
    if not isinstance(gamma, int | float) or not 0 <= gamma <= 1:
        raise PrefrlError(f"agent.kwargs.gamma = {gamma!r}: it must be a number from 0 to 1")
    spec = AgentSpec(agent_class, dict(kwargs))
    if spec.off_policy and n_steps > 1:
        raise PrefrlError(
            f"agent.kwargs.n_steps = {n_steps}: {name} learns from single transitions, whose "
            "reward is predicted when they are drawn; leave it out"
        )
    if keys := sorted(_OURS & kwargs.keys()):
        raise PrefrlError(
            f"agent.kwargs.{keys[0]} cannot be set: the buffer is prefrl's, which scores itself; "
            "remove it"
        )
    return spec


def _resolved(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments from TOML: "linear:3e-4" becomes a schedule, "relu" a class."""
    resolved = dict(kwargs)
    for key in ("learning_rate", "clip_range"):
        value = resolved.get(key)
        if isinstance(value, str):
            resolved[key] = _schedule(f"agent.kwargs.{key}", value)
    policy = dict(resolved.get("policy_kwargs", {}))
    for key, classes in _POLICY_CLASSES.items():
        if isinstance(policy.get(key), str):
            policy[key] = choose(classes, policy[key], key)
    if policy:
        resolved["policy_kwargs"] = policy
    return resolved


def _with_fused_adam(policy_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The same, unless they name an optimizer or its settings."""
    if {"optimizer_class", "optimizer_kwargs"} & set(policy_kwargs):
        return dict(policy_kwargs)
    return {**policy_kwargs, "optimizer_kwargs": dict(_ADAM)}


def _schedule(where: str, text: str) -> LinearSchedule:
    kind, _, start = text.partition(":")
    try:
        if kind != "linear":
            raise ValueError(kind)
        return LinearSchedule(float(start), 0.0, 1.0)
    except ValueError:
        raise PrefrlError(f"{where} = {text!r}: it must be a number or 'linear:3e-4'") from None


def is_finite(agent: BaseAlgorithm) -> bool:
    """Whether its weights are finite: too high a learning rate leaves none that are."""
    return all(bool(p.isfinite().all()) for p in agent.policy.parameters())
