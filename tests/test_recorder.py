"""The recorder: no reward comes out, segments are cut right, memory stays as it is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.environments import make_env
from prefrl.recorder import Recorder, RenderState
from prefrl.types import Array, PrefrlError


class Counting(gym.Env[Array, Array]):
    """Observes (copy, episode, step of the episode, step of the run); pays 100 episode + step.

    Episode i lasts lengths[i % len(lengths)] steps.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, number: int = 0, lengths: Sequence[int] = (5,), truncates: bool = False):
        self.number, self.lengths, self.truncates = number, lengths, truncates
        self.episode, self.step_, self.total = -1, 0, 0

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.step_ = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        reward = 100.0 * self.episode + self.step_
        self.step_ += 1
        self.total += 1
        over = self.step_ == self.lengths[self.episode % len(self.lengths)]
        info = {"true_reward": reward}  # a leak
        return self._obs(), reward, over and not self.truncates, over and self.truncates, info

    def _obs(self) -> Array:
        return np.array([self.number, self.episode, self.step_, self.total], np.float32)


def counting(
    lengths: Sequence[Sequence[int]] = ((5,),), ring_steps: int = 64, truncates: bool = False
) -> Recorder:
    makers = [
        lambda i=i, own=own: RenderState(Counting(i, own, truncates))
        for i, own in enumerate(lengths)
    ]
    return Recorder(DummyVecEnv(makers), ring_steps)


def actions_for(obs: Array) -> Array:
    """Actions that tell what was observed when they were taken."""
    return np.stack([obs[:, 3] / 1000, obs[:, 0] / 10], axis=1)


def play(recorder: Recorder, steps: int) -> None:
    obs = recorder.reset()
    for _ in range(steps):
        obs = recorder.step(actions_for(obs))[0]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_rewards_are_zero_and_fresh() -> None:
    recorder = counting(((5,), (3,)))
    obs = recorder.reset()
    seen = []
    for _ in range(12):
        obs, rewards, _, infos = recorder.step(actions_for(obs))
        assert rewards.tolist() == [0, 0]
        assert rewards.dtype == np.float32
        assert not any("true_reward" in info or "render_state" in info for info in infos)
        rewards += 7  # as SB3 does at time limits
        seen.append(rewards)
    assert len({id(r) for r in seen}) == 12


def test_true_rewards_reach_segments_alone() -> None:
    recorder = counting(((6,),))
    play(recorder, 20)
    segments = recorder.sample_segments(30, 4, rng())
    assert segments
    for segment in segments:
        expected = 100 * segment.obs[:, 1] + segment.obs[:, 2]
        assert segment.true_rewards.tolist() == expected.tolist()


def check_segment(segment: Any, length: int, n_envs: int) -> None:
    copy, episode, step, total = segment.obs.T
    assert len(segment) == length
    assert segment.obs.shape == (length, 4)
    assert len(set(copy)) == 1, "of one environment"
    assert len(set(episode)) == 1, "of one episode"
    assert (np.diff(step) == 1).all(), "consecutive"
    np.testing.assert_array_equal(segment.actions, actions_for(segment.obs).astype(np.float32))
    np.testing.assert_array_equal(segment.true_rewards, 100 * episode + step)
    assert segment.step == (total[-1] + 1) * n_envs


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(1, 6),
    st.integers(1, 60),
    st.integers(6, 20),
    st.integers(0, 99),
)
def test_segments_never_cross_an_episodes_end(
    lengths: list[list[int]], length: int, steps: int, ring_steps: int, seed: int
) -> None:
    recorder = counting(lengths, ring_steps)
    play(recorder, steps)
    segments = recorder.sample_segments(25, length, rng(seed))
    for segment in segments:
        check_segment(segment, length, len(lengths))
        assert segment.obs[0, 3] >= steps - ring_steps, "the ring has forgotten it"
    held = _episodes_held(lengths, steps, ring_steps)
    places = sum(max(0, n - length + 1) for n in held)
    assert len(segments) == min(25, places)
    assert len({segment.obs.tobytes() for segment in segments}) == len(segments), "none twice"


def _episodes_held(lengths: list[list[int]], steps: int, ring_steps: int) -> list[int]:
    """Steps of each episode that are in the ring, computed the long way."""
    held = []
    for own in lengths:
        episodes, episode = np.zeros(steps, int), 0
        step = 0
        for t in range(steps):
            episodes[t] = episode
            step += 1
            if step == own[episode % len(own)]:
                episode, step = episode + 1, 0
        held += np.unique(episodes[max(0, steps - ring_steps) :], return_counts=True)[1].tolist()
    return held


def test_every_place_of_a_segment_is_as_likely() -> None:
    """Episodes of 5 and 3 steps hold 3 and 1 segments of 3 steps."""
    recorder = counting(((5, 3),))
    play(recorder, 8)
    starts = [int(s.obs[0, 3]) for s in recorder.sample_segments(4, 3, rng())]
    assert sorted(starts) == [0, 1, 2, 5], "without repeats while there are enough"
    draws = rng(1)
    many = [int(recorder.sample_segments(1, 3, draws)[0].obs[0, 3]) for _ in range(2000)]
    counts = [many.count(start) for start in (0, 1, 2, 5)]
    assert sum(counts) == 2000
    assert np.abs(np.array(counts) - 500).max() < 5 * 500**0.5


def test_the_newest_steps_alone() -> None:
    recorder = counting(((7,), (7,)), ring_steps=32)
    play(recorder, 50)
    segments = recorder.sample_segments(40, 3, rng(), newest=10)
    assert min(s.obs[0, 3] for s in segments) >= 40
    assert len(segments) == 2 * 5, "as many as there are places"
    assert recorder.sample_segments(5, 3, rng(), newest=2) == []


def test_a_reset_ends_the_episode_under_way() -> None:
    recorder = counting(((100,),))
    play(recorder, 4)
    play(recorder, 4)
    assert recorder.sample_segments(5, 5, rng()) == []
    assert {int(s.obs[0, 1]) for s in recorder.sample_segments(40, 4, rng())} == {0, 1}
    assert recorder.take_finished() == [], "it did not come to an end of its own"


def test_segments_are_copies() -> None:
    recorder = counting(ring_steps=10)
    play(recorder, 10)
    segment = recorder.sample_segments(1, 3, rng())[0]
    kept = segment.obs.copy(), segment.true_rewards.copy()
    play(recorder, 20)
    np.testing.assert_array_equal(segment.obs, kept[0])
    np.testing.assert_array_equal(segment.true_rewards, kept[1])


def test_a_rollout_is_the_last_steps_oldest_first() -> None:
    recorder = counting(((5,), (3,)), ring_steps=16)
    assert recorder.recorded == 0
    for steps in (7, 30):  # before and after the ring wraps
        play(recorder, steps)
        n = min(steps, 16)
        obs, actions = recorder.rollout(n)
        assert obs.shape == (n, 2, 4)
        assert actions.shape == (n, 2, 2)
        total = obs[:, 0, 3]
        assert (np.diff(total) == 1).all()
        assert total[-1] == recorder.steps_taken / 2 - 1
        for env in range(2):
            assert (obs[:, env, 0] == env).all()
            np.testing.assert_array_equal(
                actions[:, env], actions_for(obs[:, env]).astype(np.float32)
            )
    np.testing.assert_array_equal(recorder.rollout(3)[0], obs[-3:])
    assert recorder.recorded == 16
    with pytest.raises(ValueError, match="17 steps wanted, 16 recorded"):
        recorder.rollout(17)


def test_dones_stand_beside_the_steps_that_ended() -> None:
    recorder = counting(((4,), (3,)), ring_steps=8)
    play(recorder, 12)
    expected = [[t % 4 == 3, t % 3 == 2] for t in range(4, 12)]
    assert recorder.dones(8).tolist() == expected
    assert recorder.dones(2).tolist() == expected[-2:]


@pytest.mark.parametrize("truncates", [False, True])
def test_finished_episodes_tell_their_true_return_once(truncates: bool) -> None:
    recorder = counting(((4,), (3,)), truncates=truncates)
    play(recorder, 8)
    # copy 0: 0+1+2+3, then 100 more each; copy 1: 0+1+2, then 100 more each
    assert sorted(recorder.take_finished()) == sorted([(6.0, 4), (406.0, 4), (3.0, 3), (303.0, 3)])
    assert recorder.take_finished() == []


def test_memory_does_not_grow() -> None:
    recorder = counting(((5,), (9,)), ring_steps=50)

    def train() -> None:
        play(recorder, 100)
        recorder.take_finished()

    train()
    tracemalloc.start()
    try:
        train()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(15):
            train()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 5000  # what the ring holds of 1500 steps more would be 90 kB
    assert recorder.recorded == 50


class Broken(Counting):
    """Observes what is no number after 7 steps."""

    def __init__(self, number: int, value: float) -> None:
        super().__init__(number, (50,))
        self.value = value

    def _obs(self) -> Array:
        obs = super()._obs()
        obs[2] = self.value if self.total >= 7 else obs[2]
        return obs


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_no_number_is_refused(value: float) -> None:
    makers = [lambda: Counting(0, (50,)), lambda: Broken(1, value)]
    recorder = Recorder(DummyVecEnv(makers))
    with pytest.raises(PrefrlError, match="environment 1 returned a NaN or infinite observation"):
        play(recorder, 10)
    assert recorder.recorded == 6, "the bad step is not kept"
    with pytest.raises(PrefrlError, match="after 12 steps"):
        recorder.reset()


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_actions_are_recorded_as_executed(env_id: str) -> None:
    """SB3 clips what a Gaussian policy wants before the environment sees it."""
    recorder = make_env(env_id, 2, ring_steps=64)
    agent = PPO(
        "MlpPolicy", recorder, n_steps=32, batch_size=32, n_epochs=1, learning_rate=0.0,
        seed=0, device="cpu", policy_kwargs={"log_std_init": 2.0, "net_arch": [4]},
    )  # fmt: skip
    agent.learn(64)
    wanted = agent.rollout_buffer.actions.reshape(2, 32, 1).swapaxes(0, 1)  # it was flattened
    executed = recorder.rollout(32)[1]
    space = recorder.action_space
    assert isinstance(space, spaces.Box)
    assert (np.abs(wanted) > space.high).any()
    np.testing.assert_array_equal(executed, np.clip(wanted, space.low, space.high))


@pytest.mark.parametrize(
    ("env_id", "size"),
    [
        ("HalfCheetah-v5", 18),  # 9 qpos, 9 qvel
        ("Hopper-v5", 12),
        ("prefrl/Hopper-v0", 12),
        ("Pendulum-v1", 3),  # angle, speed, torque
        ("CartPole-v1", 4),
        ("prefrl/CartPole-v0", 4),
        ("MountainCarContinuous-v0", 2),
        ("Acrobot-v1", 4),
    ],
)
def test_render_states_are_recorded(env_id: str, size: int) -> None:
    recorder = make_env(env_id, 2, ring_steps=40)
    recorder.action_space.seed(0)
    recorder.reset()
    for _ in range(30):
        recorder.step(np.stack([recorder.action_space.sample() for _ in range(2)]))
    segment = recorder.sample_segments(1, 3, rng())[0]
    assert segment.render_states is not None
    assert segment.render_states.shape == (3, size)
    assert segment.render_states.dtype.kind == "f"
    assert len(np.unique(segment.render_states, axis=0)) == 3
    recorder.close()


def test_render_states_are_those_that_a_step_led_to() -> None:
    for env_id, observed in [
        ("HalfCheetah-v5", lambda state: np.concatenate([state[:, 1:9], state[:, 9:]], axis=1)),
        ("Pendulum-v1", lambda s: np.stack([np.cos(s[:, 0]), np.sin(s[:, 0]), s[:, 1]], axis=1)),
    ]:
        recorder = make_env(env_id, 2, ring_steps=40)
        recorder.action_space.seed(0)
        recorder.reset()
        for _ in range(20):
            recorder.step(np.stack([recorder.action_space.sample() for _ in range(2)]))
        for segment in recorder.sample_segments(8, 5, rng()):
            assert segment.render_states is not None
            led_to = observed(segment.render_states[:-1])
            np.testing.assert_allclose(led_to, segment.obs[1:], atol=1e-5)
        recorder.close()


class Mutating(Counting):
    """Draws from one array and writes into it, at a reset too."""

    def __init__(self) -> None:
        super().__init__(lengths=(3,))
        self.state = np.zeros(1)

    def _obs(self) -> Array:
        self.state[0] = self.step_
        return super()._obs()

    def render_state(self) -> Array:
        return self.state


def test_render_states_survive_an_environment_that_writes_into_its_own() -> None:
    recorder = Recorder(DummyVecEnv([lambda: RenderState(Mutating())]))
    play(recorder, 6)
    segments = recorder.sample_segments(2, 3, rng())
    assert segments
    for segment in segments:
        assert segment.render_states is not None
        assert segment.render_states[:, 0].tolist() == [1, 2, 3]


def test_an_environment_may_offer_its_own_render_state_or_none() -> None:
    class Own(Counting):
        def render_state(self) -> list[float]:
            return [self.episode, self.step_, 9]

    recorder = Recorder(DummyVecEnv([lambda: RenderState(Own())]))
    play(recorder, 5)
    segment = recorder.sample_segments(1, 5, rng())[0]
    assert segment.render_states is not None
    assert segment.render_states.tolist() == [[0, t, 9] for t in range(1, 6)]
    none = counting()
    play(none, 5)
    assert none.sample_segments(1, 5, rng())[0].render_states is None


def test_a_state_that_draws_nothing_we_know_of_is_no_render_state() -> None:
    """A number that an environment calls so may be anything, such as a phase of a game."""

    class Phase(Counting):
        state = 3.0

    recorder = Recorder(DummyVecEnv([lambda: RenderState(Phase())]))
    play(recorder, 5)
    assert recorder.sample_segments(1, 5, rng())[0].render_states is None


@pytest.mark.parametrize(
    ("later", "wanted"),
    [(np.zeros(3), r"one of shape \(3,\)"), (np.zeros((2, 1)), r"one of shape \(2, 1\)")],
)
def test_a_render_state_of_another_shape_is_refused(later: Array, wanted: str) -> None:
    class Growing(Counting):
        def render_state(self) -> Array:
            return np.zeros(2) if self.step_ < 4 else later

    makers = [lambda: RenderState(Counting()), lambda: RenderState(Growing(1))]
    for order in (makers, makers[::-1]):
        lacks = order.index(makers[0])
        with pytest.raises(PrefrlError, match=rf"environment {lacks} gave none .* shape \(2,\):"):
            play(Recorder(DummyVecEnv(order)), 1)
    recorder = Recorder(DummyVecEnv(makers[1:] * 2))
    with pytest.raises(PrefrlError, match=f"environment 0 gave {wanted} .* after 6 steps, and"):
        play(recorder, 5)
    assert recorder.recorded == 3, "the bad step is not kept"


def test_discrete_spaces_are_kept_as_they_are() -> None:
    recorder = make_env("FrozenLake-v1", 3, kwargs={"is_slippery": False}, ring_steps=20)
    obs = recorder.reset()
    assert obs.tolist() == [0, 0, 0]
    for action in (1, 1, 2):  # down, down, right
        recorder.step(np.full(3, action))
    segment = recorder.sample_segments(1, 3, rng())[0]
    assert segment.obs.tolist() == [0, 4, 8]
    assert segment.actions.tolist() == [1, 1, 2]
    assert segment.obs.dtype.kind == segment.actions.dtype.kind == "i"


def test_spaces_without_a_shape_are_refused() -> None:
    class Nested(Counting):
        observation_space = spaces.Dict({"a": spaces.Discrete(2)})  # type: ignore[assignment]

    with pytest.raises(PrefrlError, match="FlattenObservation"):
        Recorder(DummyVecEnv([Nested]))
