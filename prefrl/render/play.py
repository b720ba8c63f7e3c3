"""Episodes of the policy, step by step, with the predicted reward."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed

from prefrl.agents.player import Player
from prefrl.config import EnvConfig
from prefrl.environments import make_vec_env
from prefrl.recorder import RENDER_STATE, channels_first
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.types import Array


@dataclass(frozen=True, eq=False)
class Step:
    """What is shown of a step.

    Attributes:
      render_state: from which it is drawn.
      predicted: the reward that the agent was last trained on, the members' disagreement counted
        as then, before it was scaled to returns of unit variance.
      true: the environment's own reward.
    """

    render_state: Array
    predicted: float
    true: float


def play(
    agent: BaseAlgorithm,
    reward: RewardEnsemble,
    env: EnvConfig,
    seed: int,
    deterministic: bool = False,
) -> Generator[Step]:
    """Endless episodes of the policy in a new environment, step by step.

    Args:
      env: of the run, which can be drawn; one copy of it is made.
      deterministic: take the policy's mean action instead of a sample.
    """
    venv = channels_first(make_vec_env(env.id, 1, seed, env.kwargs, env.module))
    set_random_seed(seed)
    player = Player(agent, 1)
    obs = np.asarray(venv.reset())
    try:
        while True:
            actions, _ = player.predict(obs, deterministic=deterministic)
            predicted = reward.predict(obs, actions)
            stepped, true, _, infos = venv.step(actions)
            obs = np.asarray(stepped)
            yield Step(infos[0][RENDER_STATE], float(predicted[0]), float(true[0]))
    finally:
        venv.close()
