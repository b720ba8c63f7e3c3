"""Environments without early termination, and the presets that train them."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import PPO

import envs  # noqa: F401 - registers them
from envs.cart_pole import CartPoleEnv
from envs.mountain_car import MountainCarContinuousEnv
from prefrl import config
from prefrl.quiet import quiet_mujoco

quiet_mujoco()

ORIGINALS = {
    "prefrl/CartPole-v0": "CartPole-v1",
    "prefrl/HalfCheetah-v0": "HalfCheetah-v5",
    "prefrl/Hopper-v0": "Hopper-v5",
    "prefrl/MountainCarContinuous-v0": "MountainCarContinuous-v0",
    "prefrl/Pendulum-v0": "Pendulum-v1",
    "prefrl/Walker2d-v0": "Walker2d-v5",
}
# Atari is tested in a file of its own: an episode of it takes seconds.
ATARI = ("envs.atari:", "envs.enduro:")
OURS = sorted(
    name
    for name, spec in gym.registry.items()
    if name.startswith("prefrl/") and not str(spec.entry_point).startswith(ATARI)
)
PRESETS = config.presets()


def test_registered() -> None:
    assert set(OURS) >= set(ORIGINALS)
    assert gym.make("envs:prefrl/CartPole-v0").spec is not None


@pytest.mark.filterwarnings("ignore:.*A Box (action|observation) space (minimum|maximum)")
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space")
@pytest.mark.parametrize("env_id", OURS)
def test_gymnasium_contract(env_id: str) -> None:
    env = gym.make(env_id)
    assert env.spec is not None and env.spec.kwargs == {}
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", OURS)
def test_only_the_time_limit_ends_an_episode(env_id: str) -> None:
    env = gym.make(env_id)
    env.reset(seed=0)
    env.action_space.seed(0)
    limit = gym.spec(ORIGINALS.get(env_id, env_id)).max_episode_steps
    assert limit is not None
    for step in range(1, limit + 1):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not terminated
        assert truncated == (step == limit)


@pytest.mark.parametrize("env_id", sorted(set(ORIGINALS) - {"prefrl/MountainCarContinuous-v0"}))
def test_same_as_gymnasium_until_the_fall(env_id: str) -> None:
    ours, theirs = gym.make(env_id), gym.make(ORIGINALS[env_id])
    ours.action_space.seed(1)
    assert ours.observation_space == theirs.observation_space
    np.testing.assert_array_equal(ours.reset(seed=1)[0], theirs.reset(seed=1)[0])
    for step in range(100):
        action = ours.action_space.sample()
        obs, reward, *_ = ours.step(action)
        expected_obs, expected_reward, fell, *_ = theirs.step(action)
        np.testing.assert_array_equal(obs, expected_obs)
        if fell:
            assert step > 5
            assert reward == (0 if env_id == "prefrl/CartPole-v0" else expected_reward)
            return
        assert reward == expected_reward


@pytest.mark.parametrize("env_id", OURS)
def test_instruction(env_id: str) -> None:
    env = gym.make(env_id)
    instruction = env.metadata["instruction"]
    assert instruction.startswith("Choose the clip") and "\n" not in instruction
    assert env.metadata["render_fps"] > 0
    if env_id in ORIGINALS:
        theirs = gym.make(ORIGINALS[env_id])
        assert "instruction" not in theirs.metadata
        assert "instruction" not in type(theirs.unwrapped).metadata
        assert env.metadata["render_fps"] == theirs.metadata["render_fps"]


@pytest.mark.parametrize("env_id", ["prefrl/Hopper-v0", "prefrl/Walker2d-v0"])
def test_a_fallen_runner_loses_the_healthy_reward(env_id: str) -> None:
    env: Any = gym.make(env_id).unwrapped
    env.reset(seed=0)
    idle = np.zeros(env.action_space.shape, dtype=np.float32)
    info = env.step(idle)[-1]
    assert info["reward_survive"] == 1
    fallen = env.init_qpos.copy()
    fallen[1:3] = 0.3, 1.5
    env.set_state(fallen, env.init_qvel)
    _, reward, terminated, _, info = env.step(idle)
    assert not terminated
    assert info["reward_survive"] == 0
    assert reward == pytest.approx(info["reward_forward"])


@pytest.mark.parametrize(
    "env_id", ["prefrl/HalfCheetah-v0", "prefrl/Hopper-v0", "prefrl/Walker2d-v0"]
)
def test_a_copy_is_the_same_environment(env_id: str) -> None:
    env: Any = gym.make(env_id, reset_noise_scale=0.25).unwrapped
    twin = copy.deepcopy(env)
    assert type(twin) is type(env)
    np.testing.assert_array_equal(env.reset(seed=3)[0], twin.reset(seed=3)[0])
    fallen = twin.init_qpos.copy()
    fallen[1:3] = 0.3, 1.5
    twin.set_state(fallen, twin.init_qvel)
    terminated = twin.step(np.zeros(twin.action_space.shape, dtype=np.float32))[2]
    assert not terminated


def cart_pole(x: float, x_dot: float, angle: float, angle_dot: float) -> CartPoleEnv:
    env = CartPoleEnv()
    env.reset(seed=0)
    env.state = np.array([x, x_dot, angle, angle_dot])
    return env


@pytest.mark.parametrize(
    ("x", "degrees", "expected"),
    [(0, 0, 1), (2.3, 11, 1), (0, 13, 0), (0, -13, 0), (2.4, 0, 0), (-2.4, 0, 0)],
)
def test_cart_pole_reward(x: float, degrees: float, expected: float) -> None:
    env = cart_pole(x, 0, math.radians(degrees), 0)
    assert env.step(1 if x >= 0 else 0)[1] == expected


def test_a_fallen_pole_costs_until_it_is_picked_up() -> None:
    env = cart_pole(-2, 0, 0.4, 0)
    down = [env.step(0)[1] for _ in range(50)]
    assert sum(down) == 0
    env.state = np.array([-2, 0, 2 * env.theta_threshold_radians, 0])
    assert max(env.step(1)[1] for _ in range(30)) == 1


def test_a_buffer_holds_the_cart_and_the_pole_swings_about_it() -> None:
    env = cart_pole(2.4, 0, 0.05, 0)
    env.step(1)
    expected = env.tau * 9.8 * math.sin(0.05) / (4 / 3 * env.length)  # a pendulum on a fixed pin
    assert env.state is not None
    np.testing.assert_allclose(env.state, [2.4, 0, 0.05, expected], rtol=1e-9)


def kinetic_energy(env: CartPoleEnv, x_dot: float, angle: float, angle_dot: float) -> float:
    coupling = env.polemass_length * math.cos(angle) * x_dot * angle_dot
    pole = 2 / 3 * env.polemass_length * env.length * angle_dot**2
    return 0.5 * env.total_mass * x_dot**2 + coupling + pole


@given(
    x=st.sampled_from([-2.4, -1.0, 0.0, 2.4]),
    x_dot=st.floats(-20, 20),
    angle=st.sampled_from([-0.5, 0.0, 0.3, 0.42]),
    angle_dot=st.floats(-30, 30),
)
def test_stops_take_energy_and_never_give_it(
    x: float, x_dot: float, angle: float, angle_dot: float
) -> None:
    env = CartPoleEnv()
    stopped = env._stopped(x, x_dot, angle, angle_dot)
    limit = 2 * env.theta_threshold_radians
    clipped = min(max(angle, -limit), limit)
    before = kinetic_energy(env, x_dot, clipped, angle_dot)
    after = kinetic_energy(env, stopped[1], stopped[2], stopped[3])
    assert after <= before * (1 + 1e-9) + 1e-9
    assert stopped[2] == clipped and stopped[0] == x
    assert abs(x) < 2.4 or x * stopped[1] <= 0
    assert abs(clipped) < limit or abs(x) >= 2.4 or clipped * stopped[3] <= 0


@pytest.mark.parametrize("action", [0, 1])
def test_cart_pole_stays_in_its_observation_space(action: int) -> None:
    env = cart_pole(0, 0, 0, 0)
    for step in range(500):
        obs, *_ = env.step(action if step % 100 < 80 else 1 - action)
        assert env.observation_space.contains(obs)
        assert abs(obs[0]) <= np.float32(2.4) and abs(obs[1]) < 12 and abs(obs[3]) < 40


def test_mountain_car_is_paid_at_the_goal_and_stays() -> None:
    env = MountainCarContinuousEnv()
    env.reset(seed=0)
    idle, push = np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32)
    _, reward, *_ = env.step(push)
    assert reward == pytest.approx(-0.1)  # in the valley there is only the force to pay for
    env.state = np.array([0.55, 0.05], dtype=np.float32)
    for _ in range(100):
        obs, reward, terminated, _, _ = env.step(idle)
        assert (reward, terminated) == (1.0, False)
    np.testing.assert_allclose(obs, [0.6, 0], atol=1e-7)  # at rest against the right wall


@pytest.mark.parametrize("path", PRESETS.values(), ids=[path.stem for path in PRESETS.values()])
def test_preset(path: Path) -> None:
    preset = config.load(path)
    if preset.env.module:
        importlib.import_module(preset.env.module)
    env = gym.make(preset.env.id, **preset.env.kwargs)
    env.reset(seed=0)
    assert env.spec is not None and env.spec.max_episode_steps is not None
    assert preset.labels.segment_length <= env.spec.max_episode_steps
    kwargs = preset.agent.kwargs
    assert set(kwargs) <= set(inspect.signature(PPO.__init__).parameters)
    rollout = preset.env.n_envs * kwargs["n_steps"]
    assert rollout % kwargs["batch_size"] == 0
    assert preset.labels.ask_every % rollout == 0


def test_every_task_has_a_preset() -> None:
    wanted = {"CartPole", "HalfCheetah", "Hopper", "MountainCarContinuous", "Pendulum", "Walker2d"}
    assert {name.split("/")[-1].split("-")[0] for name in PRESETS} >= wanted
