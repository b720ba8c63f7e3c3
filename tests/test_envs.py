"""Environments without early termination, and the presets that train them."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import pickle
import tomllib
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import PPO

import envs  # noqa: F401 - registers them
from envs.cart_pole import CartPoleEnv
from envs.mountain_car import MountainCarContinuousEnv
from prefrl import config
from prefrl.quiet import quiet_mujoco
from prefrl.testing import check_env as check_our_env

quiet_mujoco()

V5 = {
    "prefrl/Ant-v0": "Ant-v5",
    "prefrl/HalfCheetah-v0": "HalfCheetah-v5",
    "prefrl/Hopper-v0": "Hopper-v5",
    "prefrl/Humanoid-v0": "Humanoid-v5",
    "prefrl/InvertedDoublePendulum-v0": "InvertedDoublePendulum-v5",
    "prefrl/Reacher-v0": "Reacher-v5",
    "prefrl/Swimmer-v0": "Swimmer-v5",
    "prefrl/Walker2d-v0": "Walker2d-v5",
}
ORIGINALS = V5 | {
    "prefrl/CartPole-v0": "CartPole-v1",
    "prefrl/MountainCarContinuous-v0": "MountainCarContinuous-v0",
    "prefrl/Pendulum-v0": "Pendulum-v1",
}
BEHAVIOURS = ["prefrl/DeceptiveGrasp-v0", "prefrl/HalfCheetahOneLeg-v0", "prefrl/HopperBackflip-v0"]
UNSEEN = ("reward_ctrl", "reward_contact")
# Atari is tested in a file of its own: an episode of it takes seconds.
ATARI = ("envs.atari:", "envs.enduro:")
OURS = sorted(
    name
    for name, spec in gym.registry.items()
    if name.startswith("prefrl/") and not str(spec.entry_point).startswith(ATARI)
)
PRESETS = config.presets()


def test_registered() -> None:
    assert set(OURS) >= {*ORIGINALS, *BEHAVIOURS}
    assert gym.make("envs:prefrl/CartPole-v0").spec is not None


@pytest.mark.filterwarnings("ignore:.*A Box (action|observation) space (minimum|maximum)")
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space")
@pytest.mark.parametrize("env_id", OURS)
def test_gymnasium_contract(env_id: str) -> None:
    env = gym.make(env_id)
    assert env.spec is not None and env.spec.kwargs == {}
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", [*V5, *BEHAVIOURS])
def test_our_contract(env_id: str) -> None:
    check_our_env(gym.make(env_id, max_episode_steps=120))


@pytest.mark.parametrize("env_id", OURS)
def test_only_the_time_limit_ends_an_episode(env_id: str) -> None:
    env = gym.make(env_id)
    env.reset(seed=0)
    env.action_space.seed(0)
    limit = gym.spec(ORIGINALS.get(env_id, env_id)).max_episode_steps
    assert limit is not None and limit == gym.spec(env_id).max_episode_steps
    for step in range(1, limit + 1):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not terminated
        assert truncated == (step == limit)


@pytest.mark.parametrize("env_id", sorted(set(ORIGINALS) - {"prefrl/MountainCarContinuous-v0"}))
def test_same_as_gymnasium_until_the_fall_but_for_unseen_costs(env_id: str) -> None:
    ours, theirs = gym.make(env_id), gym.make(ORIGINALS[env_id])
    ours.action_space.seed(1)
    seen = ours.observation_space.shape  # what cannot be seen comes last in theirs, if at all
    assert seen is not None
    obs, whole = ours.reset(seed=1)[0], theirs.reset(seed=1)[0]
    np.testing.assert_array_equal(obs, whole[: seen[0]])
    for step in range(50):
        action = ours.action_space.sample()
        obs, reward, *_ = ours.step(action)
        whole, expected, fell, _, info = theirs.step(action)
        np.testing.assert_array_equal(obs, whole[: seen[0]])
        expected = float(expected) - sum(info.get(cost, 0) for cost in UNSEEN)
        if fell:
            assert step >= 5
            expected = 0 if env_id == "prefrl/CartPole-v0" else expected
        assert reward == pytest.approx(expected, abs=1e-6)  # actions are float32
        if fell:
            return


@pytest.mark.parametrize("env_id", V5)
def test_only_what_can_be_seen_is_rewarded(env_id: str) -> None:
    """One transition costs the same whatever the motors did and however hard it was to land."""
    rewards = []
    for effort in (0.0, 1.0):
        env: Any = gym.make(env_id).unwrapped
        env.reset(seed=2)
        action = effort * env.action_space.high

        def simulate(_: Any, frames: int, env: Any = env, action: Any = action) -> None:
            env._step_mujoco_simulation(np.zeros_like(action), frames)
            env.data.ctrl[:] = action

        env.do_simulation = simulate
        steps = [env.step(action) for _ in range(40)]
        rewards.append([reward for _, reward, *_ in steps])
        assert all(info.get(cost, 0) == 0 for *_, info in steps for cost in UNSEEN)
    np.testing.assert_array_equal(*rewards)


@pytest.mark.parametrize(
    ("env_id", "size"),
    [("prefrl/Ant-v0", 27), ("prefrl/Humanoid-v0", 45), ("prefrl/InvertedDoublePendulum-v0", 8)],
)
def test_observations_have_positions_and_velocities_alone(env_id: str, size: int) -> None:
    assert gym.make(env_id).observation_space.shape == (size,)


def test_what_makes_the_environment_cannot_be_unset() -> None:
    with pytest.raises(TypeError, match="ctrl_cost_weight"):
        gym.make("prefrl/Hopper-v0", ctrl_cost_weight=1.0)


@pytest.mark.parametrize("env_id", [*V5, *BEHAVIOURS])
def test_a_state_that_is_set_again_looks_the_same(env_id: str) -> None:
    env, again = (gym.make(env_id).unwrapped for _ in range(2))
    assert isinstance(env, MujocoEnv) and isinstance(again, MujocoEnv)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(40):
        env.step(env.action_space.sample())
    state = np.concatenate([env.data.qpos, env.data.qvel])
    again.reset(seed=1)
    again.set_state(state[: env.model.nq], state[env.model.nq :])
    np.testing.assert_array_equal(again.state_vector(), state)
    mujoco.mj_forward(env.model, env.data)
    np.testing.assert_array_equal(again.data.geom_xpos, env.data.geom_xpos)
    np.testing.assert_array_equal(again.data.geom_xmat, env.data.geom_xmat)
    assert again.model.nmocap == again.model.na == 0  # or qpos and qvel would not be all


def test_a_fallen_double_pendulum_swings_on() -> None:
    env: Any = gym.make("prefrl/InvertedDoublePendulum-v0").unwrapped
    for seed, push in enumerate((None, 1.0, -1.0)):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        for _ in range(1000):
            action = env.action_space.sample() if push is None else np.array([push], np.float32)
            obs, reward, *_ = env.step(action)
            assert np.isfinite(obs).all() and -100 < reward < 10
        assert not any(warning.number for warning in env.data.warning)


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


@pytest.mark.parametrize(
    ("env_id", "lies", "cost"),
    [
        ("prefrl/Hopper-v0", {1: 0.3, 2: 1.5}, 1),
        ("prefrl/Walker2d-v0", {1: 0.3, 2: 1.5}, 1),
        ("prefrl/Ant-v0", {2: 0.4, 3: 0, 4: 1}, 1),  # on its back
        ("prefrl/Humanoid-v0", {2: 0.3}, 5),
        ("prefrl/InvertedDoublePendulum-v0", {1: 3.1}, 10),
    ],
)
def test_a_fall_costs_and_ends_nothing(env_id: str, lies: dict[int, float], cost: float) -> None:
    env: Any = gym.make(env_id).unwrapped
    env.reset(seed=0)
    idle = np.zeros(env.action_space.shape, dtype=np.float32)
    info = env.step(idle)[-1]
    assert info["reward_survive"] == cost
    fallen = env.init_qpos.copy()
    fallen[list(lies)] = list(lies.values())
    env.set_state(fallen, env.init_qvel)
    _, reward, terminated, _, info = env.step(idle)
    assert not terminated
    assert info["reward_survive"] == 0
    rest = ("reward_forward", "distance_penalty", "velocity_penalty")
    assert reward == pytest.approx(sum(info.get(part, 0) for part in rest))


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        *((env_id, {"reset_noise_scale": 0.25}) for env_id in V5 if "Reacher" not in env_id),
        ("prefrl/Reacher-v0", {"reward_dist_weight": 2.0}),
        ("prefrl/HopperBackflip-v0", {"reward": "handwritten", "reset_noise_scale": 0.25}),
        ("prefrl/HalfCheetahOneLeg-v0", {"reset_noise_scale": 0.25}),
        ("prefrl/DeceptiveGrasp-v0", {"cross": True}),
    ],
)
def test_a_copy_is_the_same_environment(env_id: str, kwargs: dict[str, Any]) -> None:
    env: Any = gym.make(env_id, **kwargs).unwrapped
    env.action_space.seed(0)
    action = env.action_space.sample()
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert type(twin) is type(env)
        np.testing.assert_array_equal(env.reset(seed=3)[0], twin.reset(seed=3)[0])
        for _ in range(20):
            obs, reward, *_ = env.step(action)
            expected, worth, terminated, *_ = twin.step(action)
            np.testing.assert_array_equal(obs, expected)
            assert reward == worth and not terminated


def test_models_of_our_own_are_installed_too() -> None:
    root = Path(__file__).resolve().parent.parent
    setuptools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    listed = {p for glob in setuptools["package-data"]["envs"] for p in (root / "envs").glob(glob)}
    files = {p for p in (root / "envs").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert listed and files - listed == {p for p in files if p.suffix == ".py"}


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
    wanted = {env_id.split("/")[1].split("-")[0] for env_id in (*ORIGINALS, *BEHAVIOURS)}
    assert {name.split("/")[-1].split("-")[0] for name in PRESETS} >= wanted


def test_how_long_episodes_are() -> None:
    usual = ("HalfCheetah", "HalfCheetahOneLeg", "Hopper", "Walker2d", "Swimmer", "Ant", "Humanoid")
    steps = dict.fromkeys((*usual, "InvertedDoublePendulum"), 1000)
    steps |= {"CartPole": 500, "Pendulum": 200, "Reacher": 50, "MountainCarContinuous": 999}
    steps |= {"MovingDot": 50, "HopperBackflip": 2500, "DeceptiveGrasp": 100}
    assert {name: gym.spec(name).max_episode_steps for name in OURS} == {
        f"prefrl/{name}-v0": n for name, n in steps.items()
    }
