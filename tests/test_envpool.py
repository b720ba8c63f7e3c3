"""EnvPool's copies against Gymnasium's: the same steps, ends, pictures and refusals."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
from numpy.random import default_rng
from scipy.stats import ks_2samp
from stable_baselines3.common.vec_env import VecEnv

from envs.atari import AtariEnv
from prefrl.config import RunConfig, from_mapping
from prefrl.environments import make_env, make_single, make_vec_env
from prefrl.pools import PoolVecEnv, vec
from prefrl.pools.atari import is_game
from prefrl.pools.tasks import TASKS, _ant_is_up
from prefrl.render import SegmentRenderer
from prefrl.render_states import render_states
from prefrl.run import check
from prefrl.types import Array, PrefrlError

if importlib.util.find_spec("envpool") is None:
    pytest.skip("EnvPool is not installed", allow_module_level=True)

# Where the versions of MuJoCo compute contacts anew, a step differs more, and the next one much
# more: of Ant's and Humanoid's few are compared before both begin at the same state again.
SPATIAL = {"Ant-v5", "Humanoid-v5", "prefrl/Ant-v0", "prefrl/Humanoid-v0"}
ANOTHER: dict[str, Any] = {
    "ctrl_cost_weight": 0.3,
    "forward_reward_weight": 2.0,
    "frame_skip": 2,
    "reset_noise_scale": 0.05,
    "terminate_when_unhealthy": False,
}
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in TASKS),
    ("Walker2d-v5", ANOTHER),
]
GAMES = sorted(filter(is_game, gym.registry))
ENDING = {"Hopper-v5", "Walker2d-v5", "Humanoid-v5", "CartPole-v1"}
ENDING |= {"Ant-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5"}


@contextmanager
def pool(env_id: str, n: int = 1, seed: int = 0, **kwargs: Any) -> Iterator[VecEnv]:
    with closing(make_vec_env(env_id, n, seed, kwargs, vec="envpool")) as venv:
        venv.action_space.seed(seed)
        yield venv


def actions_of(venv: VecEnv) -> Array:
    return np.stack([venv.action_space.sample() for _ in range(venv.num_envs)])


def is_whole(env_id: str, state: Array) -> bool:
    """Whether a render state tells all that the next step depends on."""
    if env_id.endswith(("Reacher-v5", "Reacher-v0")):
        return bool(abs(state[1]) < 2.8)  # the joint's limit is at 3, and an angle's at pi
    if env_id == "InvertedDoublePendulum-v5":
        return bool((np.abs(state[3:]) < 10).all())  # observed, and clipped
    return True


def differences(env_id: str, kwargs: Mapping[str, Any]) -> tuple[Array, Array, int]:
    """Of observations and of rewards, side by side for some steps at a time; and ends seen."""
    env: Any = make_single(env_id, kwargs).unwrapped  # which keeps MuJoCo's messages quiet
    env.reset(seed=0)
    states = render_states(env)
    assert states is not None
    in_obs, in_rewards, ends = [], [], 0
    with pool(env_id, **kwargs) as venv:
        venv.reset()
        for _ in range(60):
            _, _, (ended,), (info,) = venv.step(actions_of(venv))
            if ended or not is_whole(env_id, info["render_state"]):
                continue
            states.write(info["render_state"])
            for step in range(2 if env_id in SPATIAL else 8):
                actions = actions_of(venv)
                (obs,), (reward,), (done,), (info,) = venv.step(actions)
                theirs, their_reward, terminated, *_ = env.step(actions[0])
                fell = done and not info["TimeLimit.truncated"]
                assert fell == terminated
                in_obs.append(np.abs(info.get("terminal_observation", obs) - theirs).max())
                if step:  # a reward of MuJoCo's is also of what was before the last substep
                    in_rewards.append(abs(reward - their_reward))
                ends += fell
                if done:
                    env.steps_beyond_terminated = None  # CartPole's
                    break
    return np.array(in_obs), np.array(in_rewards), ends


@pytest.mark.parametrize(("env_id", "kwargs"), CASES)
def test_steps_are_gymnasiums(env_id: str, kwargs: dict[str, Any]) -> None:
    in_obs, in_rewards, ends = differences(env_id, kwargs)
    assert len(in_obs) > 60
    if env_id in SPATIAL:
        # MuJoCo's own versions differ by 3e-5 here in most steps, and in few by a tenth; the
        # forces of contacts, which the v5 ids observe, by more.
        assert np.median(in_obs) < 1e-3 and np.quantile(in_obs, 0.8) < 0.005
        assert np.median(in_rewards) < 1e-4 and in_rewards.max() < 0.1
    else:
        assert in_obs.max() < 1e-4 and in_rewards.max() < 1e-4
        assert np.median(in_obs) < 1e-6  # CartPole's are of 32 bits
    assert (ends > 0) == (env_id in ENDING and not kwargs)


@pytest.mark.parametrize("env_id", TASKS)
def test_what_is_drawn_is_what_was_observed(env_id: str) -> None:
    env: Any = make_single(env_id).unwrapped
    env.reset(seed=0)
    states = render_states(env)
    assert states is not None
    with pool(env_id) as venv:
        venv.reset()
        for _ in range(20):
            (obs,), _, _, (info,) = venv.step(actions_of(venv))
            obs = info.get("terminal_observation", obs)
            states.write(info["render_state"])
            seen = env._get_obs() if hasattr(env, "_get_obs") else np.array(env.state)
            read = states.read()
            np.testing.assert_allclose(read, info["render_state"], atol=1e-6)
            assert read.dtype == info["render_state"].dtype
            # Contacts, forces and Reacher's fingertip are of before the last substep.
            n = min(len(seen), 8 if "Reacher" in env_id or "Double" in env_id else len(read) - 2)
            np.testing.assert_allclose(seen[:n], obs[:n], atol=1e-6)


@pytest.mark.parametrize("env_id", [*TASKS, *GAMES])
def test_it_looks_like_gymnasiums(env_id: str) -> None:
    with pool(env_id, 2) as ours, closing(make_vec_env(env_id, 2)) as theirs:
        assert isinstance(ours, PoolVecEnv)
        assert ours.observation_space == theirs.observation_space
        assert ours.action_space == theirs.action_space
        assert ours.reset().dtype == theirs.reset().dtype
        actions = actions_of(ours)
        for mine, other in zip(ours.step(actions)[:3], theirs.step(actions)[:3], strict=True):
            assert isinstance(mine, np.ndarray) and isinstance(other, np.ndarray)
            assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        kept = {"TimeLimit.truncated"} | ({"render_state"} if vec.draws(env_id) else set())
        assert [set(info) for info in ours.step(actions)[3]] == [kept] * 2
        assert kept <= set(theirs.step(actions)[3][0])


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Ant-v5", "Reacher-v5", "CartPole-v1"])
def test_first_observations_are_drawn_alike(env_id: str) -> None:
    with pool(env_id, 300) as venv:
        ours = venv.reset()
    env = make_single(env_id)
    theirs = np.array([env.reset(seed=seed)[0] for seed in range(300)])
    varies = theirs.std(0) > 0
    assert np.array_equal(varies, ours.std(0) > 0)
    for mine, other in zip(ours.T[varies], theirs.T[varies], strict=True):
        assert ks_2samp(mine, other).pvalue > 1e-4


def test_an_ant_is_up_on_its_feet_alone() -> None:
    upright, on_its_back, low, high = np.zeros((4, 29))
    upright[2:4] = 0.5, 1.0
    on_its_back[2:5] = 0.5, 0.0, 1.0
    low[2:4], high[2:4] = (0.1, 1.0), (1.1, 1.0)
    up = _ant_is_up(np.stack((upright, on_its_back, low, high)))
    assert up.tolist() == [1, 0, 0, 0]


def fallen(seed: int, **kwargs: Any) -> tuple[int, dict[str, Any], Array]:
    """When a cart that is always pushed to the right loses its pole; the info and what follows."""
    with pool("CartPole-v1", 2, seed, **kwargs) as venv:
        venv.reset()
        for step in range(1, 500):
            obs, _, dones, infos = venv.step(np.array([1, step % 2]))
            if dones[0]:
                assert not dones[1] and "terminal_observation" not in infos[1]
                return step, infos[0], obs
    raise AssertionError("it never falls")


def test_an_end_is_shown_and_one_copy_begins_anew() -> None:
    step, info, obs = fallen(3)
    assert step < 12 and info["TimeLimit.truncated"] is False
    assert abs(info["terminal_observation"][2]) > 0.2  # 12 degrees
    np.testing.assert_allclose(info["render_state"], info["terminal_observation"])
    assert np.abs(obs[0]).max() <= 0.05 < np.abs(obs[1]).max()  # as Gymnasium's reset


def test_an_end_at_the_time_limit_is_an_end() -> None:
    step, info, _ = fallen(3)
    with pool("CartPole-v1", 1, 3, max_episode_steps=step) as venv:
        venv.reset()
        for _ in range(step):
            _, _, dones, infos = venv.step(np.array([1]))
    assert dones.all() and infos[0]["TimeLimit.truncated"] is False
    np.testing.assert_array_equal(infos[0]["terminal_observation"], info["terminal_observation"])


@pytest.mark.parametrize("env_id", ["prefrl/Hopper-v0", "prefrl/Pong-v0"])
def test_a_time_limit_cuts_every_episode(env_id: str) -> None:
    with pool(env_id, 2, max_episode_steps=6) as venv:
        first = venv.reset()
        for step in range(1, 19):
            obs, _, dones, infos = venv.step(actions_of(venv))
            assert dones.all() == dones.any() == (step % 6 == 0)
            for i in range(2):
                assert infos[i]["TimeLimit.truncated"] is bool(dones[i])
                assert ("terminal_observation" in infos[i]) == dones[i]
            if dones.any():
                assert not np.array_equal(infos[0]["terminal_observation"], obs[0])
                if obs.ndim == 4:  # a stack of one picture
                    assert (obs == obs[:, :1]).all()
                else:
                    assert not np.array_equal(obs, first)
                    assert np.abs(obs[:, 1:5]).max() <= 0.005  # angles, as Gymnasium's reset


def played(venv: VecEnv, steps: int = 30) -> Array:
    """Observations (T, E, *obs_shape) under actions that are always the same."""
    venv.action_space.seed(0)
    seen = [venv.reset()]
    seen += [venv.step(actions_of(venv))[0] for _ in range(steps)]
    return np.stack(seen)


@pytest.mark.parametrize("env_id", ["prefrl/Walker2d-v0", "prefrl/SpaceInvaders-v0"])
def test_a_seed_repeats_itself_and_no_copy_another(env_id: str) -> None:
    with pool(env_id, 3, seed=7) as venv:
        once, later = played(venv), played(venv)
        venv.seed(7)
        again = played(venv)
        venv.seed(2**32 - 1)
        other = played(venv)
    assert np.array_equal(once, again)
    assert not np.array_equal(once, later) and not np.array_equal(once, other)
    assert not np.array_equal(once[0, 0], once[0, 1])
    assert not np.array_equal(once[0, 1], once[0, 2])
    with pool(env_id, 1, seed=8) as venv:
        assert np.array_equal(venv.reset(), once[0, 1:2])


def test_threads_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(vec.os, "sched_getaffinity", lambda pid, n=cores: set(range(n)))
        with pool("Hopper-v5", 8) as venv:  # falls, and so copies begin anew out of turn
            found.append(played(venv, 200))
    assert np.array_equal(*found)


def test_some_copies_answer_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vec.os, "sched_getaffinity", lambda pid: set(range(4)))
    copies = vec._pool("Hopper-v5", range(16), {})
    copies.reset(np.arange(16))
    rng = default_rng(0)
    for _ in range(100):
        which = np.flatnonzero(rng.random(16) < 0.5)
        if len(which):
            *_, info = copies.step(rng.uniform(-1, 1, (len(which), 3)), which)
            assert info["env_id"].tolist() == which.tolist()
            _, info = copies.reset(which)
            assert info["env_id"].tolist() == which.tolist()


class Spy:
    """A pool whose resets are noted: the emulator's memory and screen after each."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.begun: list[tuple[Array, Array]] = []

    def reset(self, which: Array) -> Any:
        obs, info = self._pool.reset(which)
        self.begun += zip(info["ram"].copy(), obs[:, 0].copy(), strict=True)
        return obs, info

    def step(self, actions: Array, which: Array) -> Any:
        return self._pool.step(actions, which)


def frames_waited(begin: Callable[[], Any], ale: Any, memory: Array, screen: Array) -> int:
    """After how many frames without action a game is where EnvPool's begins."""
    for frames in range(1, 31):
        begin()
        for _ in range(frames):
            ale.act(ale_py.Action.NOOP)
        same = np.array_equal(ale.getRAM(), memory)
        if same and np.array_equal(ale.getScreenGrayscale(), screen):
            return frames
    raise AssertionError("no beginning of Gymnasium's is like it")


@pytest.mark.parametrize("env_id", GAMES)
def test_games_are_played_alike(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame for frame and point for point, over lost lives and ended games."""
    env = make_single(env_id).unwrapped
    assert isinstance(env, AtariEnv)
    console = ale_py.AtariEnv(env.game, frameskip=1, repeat_action_probability=0.0)
    ale, waits, spies = console.ale, [], []  # type: ignore[var-annotated]
    drawn = SimpleNamespace(integers=lambda low, high: waits.pop(0))
    monkeypatch.setattr(ale_py.AtariEnv, "np_random", drawn, raising=False)
    build = vec._pool
    monkeypatch.setattr(vec, "_pool", lambda *args: spies.append(Spy(build(*args))) or spies[-1])
    with pool(env_id) as venv:
        ours = venv.reset()
        (spy,) = spies
        # A first game of BeamRider's begins otherwise than later ones.
        waits.append(frames_waited(lambda: console.reset(seed=0), ale, *spy.begun.pop()))
        theirs, _ = env.reset(seed=0)
        np.testing.assert_array_equal(ours[0], theirs)
        for _ in range(450):
            actions = actions_of(venv)
            ours, rewards, dones, _ = venv.step(actions)
            while spy.begun:
                waits.append(frames_waited(ale.reset_game, ale, *spy.begun.pop()))
            theirs, reward, *_ = env.step(actions[0])
            np.testing.assert_array_equal(ours[0], theirs)
            assert rewards[0] == reward and not dones[0] and not waits
    if "Breakout" in env_id:
        assert len(env.game_scores) > 1


def test_a_games_own_settings_are_kept() -> None:
    kwargs = {"game": "breakout", "penalty": 3.0, "hidden": [(0, 210, 0, 160)]}
    with pool("prefrl/Atari-v0", **kwargs) as venv:
        assert not venv.reset().any()
        venv.action_space.seed(0)
        rewards = np.concatenate([venv.step(np.array([0]))[1] for _ in range(300)])
    assert rewards.min() == -3.0


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        (
            "prefrl/HopperBackflip-v0",
            {},
            "HopperBackflip-v0 has no equal in EnvPool: use --vec auto",
        ),
        ("prefrl/EnduroStayEven-v0", {}, "has no equal in EnvPool"),
        ("Pendulum-v1", {}, "Pendulum-v1 has no equal in EnvPool"),
        ("Hopper-v5", {"healthy_reward": 2.0}, "does not take env.kwargs {'healthy_reward': 2.0}"),
        ("prefrl/Pong-v0", {"render_mode": "rgb_array"}, "does not take env.kwargs"),
        ("prefrl/Atari-v0", {"game": "pooyan"}, "plays the game 'pooyan' in another way"),
        ("prefrl/Atari-v0", {"game": "backgammon"}, "plays the game 'backgammon' in another way"),
    ],
)
def test_what_has_no_equal_is_refused(env_id: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(PrefrlError, match=message):
        make_vec_env(env_id, 1, 0, kwargs, vec="envpool")


def test_without_the_package_or_linux_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(vec.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(
            PrefrlError, match=r"pip install 'prefrl\[envpool\]', or use --vec auto"
        ):
            make_vec_env("CartPole-v1", vec="envpool")
    monkeypatch.setattr(vec.sys, "platform", "darwin")
    with pytest.raises(PrefrlError, match="for Linux, and this is darwin"):
        make_vec_env("CartPole-v1", vec="envpool")


def asked(env_id: str, labeler: str) -> RunConfig:
    labels = {"labeler": labeler, "segment_length": 10, "warmup_steps": 256}
    return from_mapping({"env": {"id": env_id, "vec": "envpool", "n_envs": 2}, "labels": labels})


def test_people_are_shown_what_can_be_drawn() -> None:
    with pytest.raises(
        PrefrlError, match=r"nothing that draws prefrl/Pong-v0 again.*use --vec auto"
    ):
        check(asked("prefrl/Pong-v0", "human"))
    check(asked("prefrl/Pong-v0", "oracle"))
    check(asked("CartPole-v1", "human"))
    dummy = replace(asked("prefrl/Pong-v0", "human").env, vec="dummy")
    check(replace(asked("prefrl/Pong-v0", "human"), env=dummy))


def test_importing_it_leaves_pictures_to_those_who_draw_them() -> None:
    """In a new process, for it is imported once: EnvPool would have Matplotlib draw with Agg."""
    code = """
import os, sys
from prefrl.pools.vec import _envpool
kept = dict(os.environ)
_envpool()
assert "envpool" in sys.modules and dict(os.environ) == kept
import matplotlib
print("backend", matplotlib.get_backend(auto_select=False))
"""
    clean = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    words = [sys.executable, "-c", code]
    out = subprocess.run(words, env=clean, capture_output=True, text=True, check=True).stdout
    assert out == "backend None\n", "not chosen yet"


def test_clips_are_drawn() -> None:
    with closing(make_env("CartPole-v1", 2, vec="envpool")) as env:
        env.action_space.seed(0)
        env.reset()
        for _ in range(9):
            env.step(actions_of(env))
        (segment,) = env.sample_segments(1, 8, default_rng(0))
    assert segment.true_return == 8
    with SegmentRenderer("CartPole-v1") as renderer:
        pictures = renderer.frames(segment.render_states)
    assert len(pictures) == 8 and (pictures[0] != pictures[-1]).any()


def test_a_run_trains_resumes_and_is_evaluated_without_it(
    prefrl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "--labels 20 --fit sync --n-envs 4 --set eval_episodes=2 --set agent.kwargs.n_steps=64"
    small += (
        " --set labels.warmup_steps=512 --set labels.ask_every=512 --set labels.segment_length=8"
    )
    words = ["train", "CartPole-v1", "--vec", "envpool", "--run", "run", *small.split()]
    first = prefrl(*words, "--steps", "1024")
    assert first.status == 0, first.err
    assert 'vec = "envpool"' in Path("run/config.toml").read_text()
    assert '"envpool": "1.' in Path("run/versions.json").read_text()
    assert prefrl("train", "--resume", "run", "--steps", "1536").status == 0
    monkeypatch.setattr(vec.importlib.util, "find_spec", lambda name: None)
    assert "true return" in prefrl("eval", "run").out
    more = ["train", "--resume", "run", "--steps", "2048"]
    refused = prefrl(*more)
    assert refused.status == 2
    assert "pip install 'prefrl[envpool]', or use --vec auto" in refused.err
    assert prefrl(*more, "--vec", "auto").status == 0
