"""Evaluation that can be believed: true return, predictor quality, leak audit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.random import Generator, default_rng
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from prefrl.agents.player import Player
from prefrl.config import PRESETS, EnvConfig, RunConfig
from prefrl.environments import make_vec_env, max_episode_steps
from prefrl.process import set_up_process
from prefrl.queries import disagreement, draw_pairs, preferences
from prefrl.recorder import Recorder, act_at_random
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.run import build_agent, build_env, build_reward, build_spec, normalised, ring_steps
from prefrl.toml_tables import short_hash
from prefrl.types import Array, Segment

REFERENCES = PRESETS.parent / "benchmarks" / "references" / "result.json"
EVAL_SEED = 10_000
"""Evaluation episodes are seeded from here, far above the seeds that runs are given."""
LONGEST = 1000
"""Steps after which evaluation episodes are cut where the environment sets no limit of its own."""
LEAKS = ("constant+1", "constant-1", "random-network")


@dataclass(frozen=True)
class Reference:
    """What the normalised score is measured between.

    Attributes:
      random_return: mean true return of a uniformly random policy.
      rl_return: of the same agent on the true reward with return normalisation.
      source: where the two come from.
    """

    random_return: float
    rl_return: float
    source: str

    def score(self, true_return: float) -> float:
        """0 is the random policy, 1 is RL on the true reward; NaN where RL is not above random."""
        span = self.rl_return - self.random_return
        return (true_return - self.random_return) / span if span > 0 else math.nan


def true_returns(
    agent: BaseAlgorithm, config: RunConfig, episodes: int, deterministic: bool = True
) -> Array:
    """True returns of a policy in fresh environments, whose episodes are whole, (episodes,).

    Args:
      deterministic: its mean actions, not samples as in training.
    """
    venv = VecMonitor(_fresh(config.env))
    set_random_seed(EVAL_SEED)
    player = Player(agent, venv.num_envs)
    returns, _ = evaluate_policy(
        player, venv, episodes, return_episode_rewards=True, deterministic=deterministic
    )
    venv.close()
    return np.asarray(returns, dtype=np.float64)


def play_episode(
    agent: BaseAlgorithm,
    env: gym.Env[Any, Any],
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> float:
    """An episode of the policy's mean actions in one environment, left as its last step left it.

    What an environment counts for itself can then be read from it; copies that run side by side
    have been reset by then.

    Args:
      on_step: called after each step.
    Returns:
      The true return.
    """
    player = Player(agent, 1)
    true_return, over = 0.0, False
    obs, _ = env.reset(seed=seed)
    while not over:
        action, _ = player.predict(obs, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        true_return += float(reward)
        over = terminated or truncated
        on_step()
    return true_return


def random_returns(config: RunConfig, episodes: int) -> Array:
    """True returns of a uniformly random policy, (episodes,)."""
    venv = VecMonitor(_fresh(config.env))
    venv.action_space.seed(EVAL_SEED)
    returns, _ = evaluate_policy(
        _RandomPolicy(venv.action_space), venv, episodes, return_episode_rewards=True
    )
    venv.close()
    return np.asarray(returns, dtype=np.float64)


@dataclass(frozen=True)
class _RandomPolicy:
    """What SB3 evaluates in a policy's place."""

    action_space: gym.Space[Any]

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]:
        return np.stack([self.action_space.sample() for _ in observation]), state


def train_rl(config: RunConfig, callback: BaseCallback | None = None) -> BaseAlgorithm:
    """The reference: the same agent on the true reward, with return normalisation.

    Args:
      callback: SB3's, to watch it train.
    """
    set_up_process(config.threads)
    set_random_seed(config.seed)
    env = config.env
    venv = make_vec_env(env.id, env.n_envs, config.seed, env.train_kwargs, env.module, env.vec)
    spec = build_spec(config, venv.observation_space)
    wrapped = normalised(VecMonitor(venv), spec, config.agent.normalize_obs, reward=True)
    agent = spec.on_true_reward(wrapped, config.seed)
    with closing(venv):
        return agent.learn(config.steps, callback)


class ConstantReward:
    """A reward that knows nothing: the same everywhere."""

    guessing, updates = False, 0  # it is followed all the same: that is the audit

    def __init__(self, value: float, action_space: gym.Space[Any]) -> None:
        self._value, self._action_dims = value, len(action_space.shape or ())

    def predict(self, obs: Array, actions: Array) -> Array:
        lead = actions.shape[: actions.ndim - self._action_dims]
        return np.full(lead, self._value, dtype=np.float32)


def train_on_leak(config: RunConfig, leak: str) -> BaseAlgorithm:
    """The same agent on a reward that was never learned from anybody.

    Args:
      leak: a name in LEAKS; the random network is frozen after scaling its inputs and
        outputs on a random policy's steps.
    """
    set_up_process(config.threads)
    set_random_seed(config.seed)
    env = build_env(config.env, config.seed, ring_steps(config))
    reward: Any
    if leak == "random-network":
        reward = build_reward(config, env.observation_space, env.action_space)
        act_at_random(env, config.labels.warmup_steps, default_rng(config.seed))
        inputs = reward.encode(*env.rollout(env.recorded))
        reward.set_inputs(inputs)
        reward.set_scale(inputs)
    else:
        reward = ConstantReward(1.0 if leak == "constant+1" else -1.0, env.action_space)
    agent = build_agent(config, env, reward)
    with closing(env):
        return agent.learn(config.steps - config.labels.warmup_steps)


def reference_key(config: RunConfig) -> str:
    """What must be equal for two returns to be comparable, as a short hash."""
    env, agent = config.env, config.agent
    parts = [env.id, env.train_kwargs, env.n_envs, agent.name, agent.kwargs, agent.normalize_obs]
    return short_hash([*parts, config.steps, config.eval_episodes])


def committed_reference(config: RunConfig, path: Path = REFERENCES) -> Reference | None:
    """The committed returns of random and RL for this task, agent and number of steps."""
    if not path.exists():
        return None
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    mine = [row for row in rows if row["key"] == reference_key(config)]
    if not mine:
        return None
    return Reference(
        random_return=float(np.mean([row["random_return"] for row in mine])),
        rl_return=float(np.mean([row["rl_return"] for row in mine])),
        source=f"`prefrl bench references`, mean of {len(mine)} seeds",
    )


def measure_reference(config: RunConfig) -> Reference:
    """The same, trained now with this run's seed."""
    rl = true_returns(train_rl(config), config, config.eval_episodes)
    return Reference(
        random_return=float(random_returns(config, config.eval_episodes).mean()),
        rl_return=float(rl.mean()),
        source=f"trained for this evaluation, seed {config.seed}",
    )


def leak_score(config: RunConfig, leak: str, reference: Reference) -> float:
    """Normalised score on a reward that knows nothing; what survives there was not learned."""
    returns = true_returns(train_on_leak(config, leak), config, config.eval_episodes)
    return reference.score(float(returns.mean()))


def predictor_quality(
    agent: BaseAlgorithm,
    reward: RewardEnsemble,
    config: RunConfig,
    rng: Generator,
    n_pairs: int = 1000,
) -> dict[str, Any]:
    """How well the ensemble tells which of two unseen segments is better.

    On fresh segments of the final policy, and on a fixed mixture: the random policy, the
    final one, and the final one with half of its actions random.
    """
    policies = {"random": 1.0, "half": 0.5, "final": 0.0}
    cuts = {
        name: policy_segments(agent, config, rng, random_share=share)
        for name, share in policies.items()
    }
    mixture = [segment for segments in cuts.values() for segment in segments]
    quality = judge(reward, mixture, config.labels.ask_above, rng, n_pairs)
    fresh = judge(reward, cuts["final"], config.labels.ask_above, rng, n_pairs)
    kept = ("accuracy", "nll", "ece", "correlation")
    return quality | {"on_policy": {name: fresh[name] for name in kept if name in fresh}}


def judge(
    reward: RewardEnsemble,
    segments: Sequence[Segment],
    threshold: float,
    rng: Generator,
    n_pairs: int,
) -> dict[str, Any]:
    """Predicted preferences of pairs of segments against their true returns.

    Empty where no two segments differ in true return.
    """
    if len({segment.true_return for segment in segments}) < 2:
        return {}
    returns = reward.member_returns(segments)  # (M, N)
    truth = np.array([segment.true_return for segment in segments])
    pairs = draw_pairs(len(segments), n_pairs, rng)
    pairs = pairs[truth[pairs[:, 0]] != truth[pairs[:, 1]]]
    member_returns = returns[:, pairs]  # (M, P, 2)
    p_left = preferences(member_returns).mean(0)
    left_better = truth[pairs[:, 0]] > truth[pairs[:, 1]]
    right = (p_left > 0.5) == left_better
    confidence = np.maximum(p_left, 1 - p_left)
    reliability = _reliability(confidence, right)
    predicted, true = _step_rewards(reward, segments)
    return {
        "accuracy": float(right.mean()),
        "nll": float(-np.log(np.where(left_better, p_left, 1 - p_left).clip(1e-6)).mean()),
        "ece": _ece(reliability, len(right)),
        "correlation": _correlation(returns.mean(0), truth),
        "pearson_distance": float(np.sqrt((1 - _correlation(predicted, true)) / 2)),
        "reliability": reliability,
        "segments": {"predicted": returns.mean(0).tolist(), "true": truth.tolist()},
        "gate": _gate(disagreement(member_returns), right, threshold),
    }


def _correlation(a: Array, b: Array) -> float:
    """Pearson's; NaN where one of the two never changes, as the reward of one that guesses."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))


def _step_rewards(reward: RewardEnsemble, segments: Sequence[Segment]) -> tuple[Array, Array]:
    """Predicted and true reward of every step, (N*T,) each.

    Their Pearson distance is EPIC's last step (Gleave et al. 2021, arXiv 2006.13900,
    definition 4.2) without its canonical shaping: an environment tells its reward only
    where an agent went, and shaping needs it everywhere.
    """
    predicted = reward.predict(
        np.stack([s.obs for s in segments]), np.stack([s.actions for s in segments])
    )
    true = np.stack([s.true_rewards for s in segments])
    return predicted.ravel(), true.ravel()


def _reliability(confidence: Array, right: Array, bins: int = 10) -> dict[str, list[float]]:
    """Mean confidence, accuracy and count of the non-empty bins from 0.5 to 1."""
    index = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    used = np.unique(index)
    return {
        "confidence": [float(confidence[index == b].mean()) for b in used],
        "accuracy": [float(right[index == b].mean()) for b in used],
        "count": [int((index == b).sum()) for b in used],
    }


def _ece(reliability: dict[str, list[float]], n: int) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, equation 3)."""
    gaps = np.abs(np.subtract(reliability["confidence"], reliability["accuracy"]))
    return float((gaps * reliability["count"]).sum() / n)


def _gate(disagreements: Array, right: Array, threshold: float) -> dict[str, float | None]:
    """Error rates of the pairs that the gate lets through, and of those it drops."""
    above = disagreements >= threshold

    def error(chosen: Array) -> float | None:
        return float(1 - right[chosen].mean()) if chosen.any() else None

    return {
        "error_above": error(above),
        "error_below": error(~above),
        "share_above": float(above.mean()),
        "threshold": threshold,
    }


def policy_segments(
    agent: BaseAlgorithm,
    config: RunConfig,
    rng: Generator,
    n: int = 200,
    rows: int = 1000,
    random_share: float = 0.0,
    seed: int = EVAL_SEED,
) -> list[Segment]:
    """Segments of a policy at play in fresh environments, with what draws them again.

    Args:
      n: how many; none come back where no episode is as long as one.
      rows: steps of each environment that they are cut from.
      random_share: of the actions is taken at random.
      seed: of the environments; the policy's own draws are torch's.
    """
    recorder = Recorder(_fresh(config.env, seed), ring_steps=rows)
    obs = recorder.reset()
    recorder.action_space.seed(int(rng.integers(2**31)))
    player = Player(agent, recorder.num_envs)
    for _ in range(rows):
        actions, _ = player.predict(obs, deterministic=False)
        at_random = rng.random(recorder.num_envs) < random_share
        draws = np.stack([recorder.action_space.sample() for _ in range(recorder.num_envs)])
        actions = np.where(at_random.reshape(-1, *[1] * (actions.ndim - 1)), draws, actions)
        obs = recorder.step(actions)[0]
    recorder.close()
    return recorder.sample_segments(n, config.labels.segment_length, rng)


def _fresh(env: EnvConfig, seed: int = EVAL_SEED) -> VecEnv:
    kwargs = dict(env.kwargs)
    if max_episode_steps(env.id, env.module, kwargs) is None:  # or one that stalls never ends
        kwargs["max_episode_steps"] = LONGEST
    return make_vec_env(env.id, env.n_envs, seed, kwargs, env.module)
