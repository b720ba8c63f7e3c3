"""Copies that are stepped in turn: as SB3 steps them."""

from __future__ import annotations

from functools import partial

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.environments import make_single
from prefrl.in_process import InProcessVecEnv


def test_steps_are_sb3s_own() -> None:
    build = [partial(make_single, "Pendulum-v1", {"max_episode_steps": limit}) for limit in (3, 5)]
    ours, sb3 = InProcessVecEnv(build), DummyVecEnv(build)
    for venv in (ours, sb3):
        venv.seed(0)
    np.testing.assert_equal(ours.reset(), sb3.reset())
    kept = []
    for draws in np.random.default_rng(0).uniform(-2, 2, (12, 2, 1)).astype(np.float32):
        stepped, wanted = ours.step(draws), sb3.step(draws)
        np.testing.assert_equal(stepped, wanted)
        kept.append((stepped, wanted))
    np.testing.assert_equal(*zip(*kept, strict=True))  # later steps leave earlier ones alone
    ends = [[info.get("TimeLimit.truncated") for info in wanted[3]] for _, wanted in kept]
    assert np.sum(ends, axis=0).tolist() == [4, 2]
