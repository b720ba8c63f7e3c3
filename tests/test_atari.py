"""Atari: what is hidden, what goes on, what is drawn again; Enduro alongside other cars."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.random import default_rng

import envs
from envs import enduro
from envs.atari import GAMES, STATE_SIZE, AtariEnv
from envs.enduro import EnduroStayEvenEnv, Traffic
from prefrl import config

OURS = sorted(
    name
    for name, spec in gym.registry.items()
    if str(spec.entry_point).startswith(("envs.atari:", "envs.enduro:"))
)
NOOP, FIRE, RIGHT = 0, 1, 2  # in Breakout; of Enduro's:
DOWN, RIGHT_FIRE, LEFT_FIRE = 4, 7, 8
# Where each game keeps its score: decimal digits, save for Pong's two numbers below 22.
SCORE_BYTES = {
    "beam_rider": (9, 10, 11),
    "breakout": (76, 77),
    "enduro": (43, 44),
    "pong": (13, 14),
    "qbert": (89, 90, 91),
    "seaquest": (56, 57, 58),
    "space_invaders": (102, 104),
}
SPEEDOMETER_BYTES = {"enduro": (39, 40, 41, 42)}


def atari(game: str, seed: int = 0) -> AtariEnv:
    env = AtariEnv(game, render_mode="rgb_array")
    env.reset(seed=seed)
    return env


def play(env: AtariEnv, steps: int, seed: int = 0) -> None:
    """Random actions, or full throttle where these get nowhere."""
    rng = default_rng(seed)
    racing = env.metadata["instruction"] == GAMES["enduro"].instruction
    for _ in range(steps):
        env.step(np.int64(FIRE if racing else rng.integers(env.action_space.n)))


def test_registered() -> None:
    names = {"Atari", "BeamRider", "Breakout", "Enduro", "EnduroStayEven", "Pong", "Qbert"}
    names |= {"Seaquest", "SpaceInvaders"}
    assert {f"prefrl/{name}-v0" for name in names} == set(OURS)
    assert {gym.spec(name).max_episode_steps for name in OURS} == {4500}
    games = {gym.spec(name).kwargs.get("game", "") for name in OURS}
    assert games == {*GAMES, ""}


def test_each_has_a_preset_with_the_papers_first_labels() -> None:
    presets = {name: config.load(path) for name, path in config.presets().items() if name in OURS}
    assert set(presets) == set(OURS) - {"prefrl/Atari-v0"}
    for name, preset in presets.items():
        if name != "prefrl/EnduroStayEven-v0":
            assert config.first_batch(preset.labels) == 500
        assert preset.reward.net == "conv" and preset.reward.output_std == 0.05


def test_instructions() -> None:
    texts = [game.instruction for game in GAMES.values()]
    texts += [env.metadata["instruction"] for env in (AtariEnv("krull"), EnduroStayEvenEnv())]
    assert len(set(texts)) == len(texts) == len(GAMES) + 2
    assert all(text.startswith("Choose the clip") and "\n" not in text for text in texts)


@pytest.mark.parametrize("name", ["Breakout", "EnduroStayEven"])
def test_gymnasium_contract(name: str) -> None:
    env = gym.make(f"prefrl/{name}-v0", render_mode="rgb_array")
    assert env.observation_space == gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert env.metadata["render_fps"] == 15
    check_env(env.unwrapped)


@pytest.mark.parametrize("name", ["Breakout", "EnduroStayEven"])
def test_only_the_time_limit_ends_an_episode(name: str) -> None:
    env = gym.make(f"prefrl/{name}-v0", max_episode_steps=150)
    env.reset(seed=0)
    for step in range(1, 151):
        *_, terminated, truncated, info = env.step(np.int64(0))
        assert (terminated, truncated, info) == (False, step == 150, {})


def after_poke(env: AtariEnv, state: Any, pokes: dict[int, int]) -> tuple[float, Any, Any, Any]:
    """Reward, frames, picture for people and raw screen of two steps after changed bytes."""
    env.ale.restoreState(state)
    for address, value in pokes.items():
        env.ale.setRAM(address, value)
    reward = env.step(np.int64(0))[1]
    obs = env.step(np.int64(0))[0]
    return reward, obs[-2:], env.render(), env.ale.getScreenRGB()


@pytest.mark.parametrize("game", GAMES)
def test_the_score_is_hidden(game: str) -> None:
    env = atari(game)
    shown, paid = set(), set()
    for _ in range(5):
        play(env, 60)
        state = env.ale.cloneState()
        reward, frames, picture, screen = after_poke(env, state, {})
        for address in SCORE_BYTES[game] + SPEEDOMETER_BYTES.get(game, ()):
            for value in (1, 5):
                points, frames_now, picture_now, screen_now = after_poke(
                    env, state, {address: value}
                )
                np.testing.assert_array_equal(frames_now, frames)
                np.testing.assert_array_equal(picture_now, picture)
                shown |= set() if np.array_equal(screen_now, screen) else {address}
                paid |= set() if points == reward else {address}
        env.ale.restoreState(state)
    assert paid >= set(SCORE_BYTES[game])  # these are the score: the emulator counts them
    assert shown == set(SCORE_BYTES[game] + SPEEDOMETER_BYTES.get(game, ()))  # on the raw screen


@pytest.mark.parametrize("game", GAMES)
def test_each_rectangle_hides_something_that_changes(game: str) -> None:
    env = atari(game)
    first = env.ale.getScreenRGB()
    for _ in range(8):
        play(env, 50)
        screen, picture = env.ale.getScreenRGB(), env.render()
        assert picture is not None
        seen = np.ones(screen.shape[:2], dtype=bool)
        for top, bottom, left, right in GAMES[game].hidden:
            seen[top:bottom, left:right] = False
        assert not picture[~seen].any()
        np.testing.assert_array_equal(picture[seen], screen[seen])
    for top, bottom, left, right in GAMES[game].hidden:
        assert (first != screen)[top:bottom, left:right].any()


def test_beam_riders_top_shows_no_other_count() -> None:
    """What changes above the field is hidden, save torpedoes and the sector's number."""
    env = atari("beam_rider")
    seen = []
    for _ in range(60):
        play(env, 10)
        picture = env.render()
        assert picture is not None
        if not picture[20, 20].any():  # else the whole background flashes
            seen.append(picture[:42, :115])
    assert len(seen) > 50
    changed = np.any(np.array(seen) != seen[0], axis=(0, 3))
    assert set(np.flatnonzero(changed.any(axis=1))) <= set(range(20, 30))


@pytest.mark.parametrize("game", GAMES)
def test_a_step_is_drawn_again(game: str) -> None:
    env, other = atari(game, seed=0), atari(game, seed=1)
    rng = default_rng(0)
    for _ in range(60):
        obs = env.step(np.int64(rng.integers(env.action_space.n)))[0]
        state = env.render_state()
        assert state.shape == (STATE_SIZE,) and state.dtype == np.uint8
        other.set_render_state(state)
        np.testing.assert_array_equal(other.render(), env.render())
        np.testing.assert_array_equal(other._games._get_obs(), obs[-1])


def test_a_new_game_is_drawn_again_in_another_process(tmp_path: Path) -> None:
    env = atari("breakout")
    states, pictures, games = [], [], []
    while len(env.game_scores) < 2:
        env.step(np.int64(NOOP))
        states.append(env.render_state())
        pictures.append(env.render())
        games.append(len(env.game_scores))
    assert games.count(0) > 50 and games.count(1) > 50
    np.savez(tmp_path / "clip.npz", states=states, pictures=pictures)
    code = """
import sys, gymnasium as gym, numpy as np
clip = np.load(sys.argv[1])
env = gym.make("envs:prefrl/Breakout-v0", render_mode="rgb_array")
env.reset(seed=7)
for state, picture in zip(clip["states"], clip["pictures"]):
    env.get_wrapper_attr("set_render_state")(state)
    assert np.array_equal(env.render(), picture)
print(len(clip["states"]))
"""
    folder = Path(envs.__file__).parent.parent
    drawn = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "clip.npz")],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert int(drawn.stdout) == len(states)
    assert drawn.stderr == ""  # the emulator's greeting would fill a terminal


def test_the_end_of_a_game_costs_and_the_next_one_starts() -> None:
    env = atari("breakout")
    rewards = []
    while len(env.game_scores) < 2:
        lives, games = env.lives, len(env.game_scores)
        reward = env.step(np.int64(RIGHT))[1]
        rewards.append(reward)
        if len(env.game_scores) > games:
            assert reward <= -GAMES["breakout"].penalty + 7 and lives == 1 and env.lives == 5
    assert sum(rewards) == sum(env.game_scores) + env.score - 2 * GAMES["breakout"].penalty
    env.reset()
    assert env.game_scores == []


def test_what_the_end_of_a_game_costs() -> None:
    assert {name: AtariEnv(name).penalty for name in GAMES} == {
        "beam_rider": 88,
        "breakout": 10,
        "enduro": 5,
        "pong": 0,
        "qbert": 100,
        "seaquest": 60,
        "space_invaders": 30,
    }


def test_pong_ends_at_no_cost() -> None:
    env = atari("pong")
    rewards = [env.step(np.int64(NOOP))[1] for _ in range(780)]
    assert env.game_scores == [-21]
    assert sum(rewards) == -21 + env.score


def longest_standstill(env: AtariEnv, steps: int) -> int:
    longest = still = 0
    before = env.ale.getScreen()
    for _ in range(steps):
        env.step(np.int64(NOOP))
        now = env.ale.getScreen()
        still = still + 1 if np.array_equal(now, before) else 0
        longest, before = max(longest, still), now
    return longest


@pytest.mark.parametrize(("game", "steps"), [("breakout", 150), ("beam_rider", 800)])
def test_an_idle_agent_is_not_stuck(game: str, steps: int) -> None:
    env = atari(game)
    lives = env.lives
    assert longest_standstill(env, steps) < 10
    assert env.lives != lives


def test_games_start_differently() -> None:
    env = atari("pong")
    seeded = [env.reset(seed=seed)[0].tobytes() for seed in (0, 1, 2, 0)]
    assert seeded[0] == seeded[3]
    starts = set()
    for _ in range(30):
        env.reset()
        starts.add(env.ale.getEpisodeFrameNumber())
    assert len(starts) > 10 and max(starts) - min(starts) < 30  # up to 30 frames without action


def test_any_other_game() -> None:
    env = AtariEnv("ms_pacman", hidden=[(170, 185, 0, 160)], penalty=7, render_mode="rgb_array")
    obs, _ = env.reset(seed=0)
    assert obs.shape == (4, 84, 84)
    games = 0
    for _ in range(700):
        reward = env.step(np.int64(NOOP))[1]
        if len(env.game_scores) > games:
            games += 1
            assert reward <= -7
    assert games == 1
    picture = env.render()
    assert picture is not None and not picture[170:185].any() and picture.any()
    AtariEnv("backgammon").reset(seed=0)  # has no NOOP


@pytest.mark.parametrize(
    ("game", "remedy"), [("pnog", "did you mean 'pong'"), ("combat", "for one player")]
)
def test_unknown_game(game: str, remedy: str) -> None:
    with pytest.raises(gym.error.NameNotFound, match=remedy):
        AtariEnv(game)


def test_a_render_state_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"must be \(8320,\)"):
        atari("pong").set_render_state(np.zeros(7, dtype=np.uint8))


class Points(gym.Wrapper[Any, Any, Any, Any]):
    """Remembers the game's own points of the last frame."""

    points = 0.0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, self.points, *rest = super().step(action)
        return obs, self.points, *rest


def test_cars_are_counted_as_the_game_counts_them() -> None:
    points = Points(AtariEnv("enduro")._console("enduro"))
    traffic = Traffic(points)
    traffic.reset(seed=0)
    seen = {-1: 0, 0: 0, 1: 0}
    rested = 0
    for frame in range(4000):
        before, passed, passed_by = traffic._memory, traffic.passed, traffic.passed_by
        all_to_pass = before[43] == 0 and before[44] == 2  # and there it stops counting
        traffic.step((FIRE, RIGHT_FIRE, LEFT_FIRE)[frame // 10 % 3])
        change = int(traffic._memory[enduro.PHASE]) - int(before[enduro.PHASE])
        pace = enduro.TRAFFIC_PACE - int(traffic._memory[enduro.SPEED])
        assert change in (pace, pace - 256, pace + 256, 0)
        rested += change == 0 != pace
        counted = traffic.passed - passed - (traffic.passed_by - passed_by)
        if not all_to_pass:
            assert counted == points.points
            seen[counted] += 1
    assert seen[1] > 5 and seen[-1] > 5
    assert rested < 600


def full_throttle(speed: int, gap: float) -> int:
    return FIRE


def crawl(speed: int, gap: float) -> int:
    return DOWN


def keep_pace(speed: int, gap: float) -> int:
    """Up to the nearest car, and then as fast as it."""
    wanted = enduro.TRAFFIC_PACE + (0 if abs(gap) < 40 else int(np.clip(gap / 16, -8, 10)))
    return FIRE if speed < wanted else DOWN if speed > wanted + 1 else NOOP


def drive(policy: Any, steps: int = 600) -> tuple[float, dict[str, float]]:
    """Mean reward of a step, and the traffic's measures."""
    env = EnduroStayEvenEnv()
    env.reset(seed=0)
    total = 0.0
    for _ in range(steps):
        memory = env.traffic._memory
        cars = 256 * np.flatnonzero(memory[enduro.SLOTS]) + int(memory[enduro.PHASE])
        gaps = sorted(cars - enduro.LEVEL, key=abs)
        action = policy(int(memory[enduro.SPEED]), float(gaps[0]) if gaps else 999.0)
        total += env.step(np.int64(action))[1]
    return total / steps, env.traffic.per_1000_frames()


def test_staying_even_pays_and_neither_racing_nor_crawling_does() -> None:
    raced, racing = drive(full_throttle)
    crawled, crawling = drive(crawl)
    kept, keeping = drive(keep_pace)
    assert racing["passed"] > 5 and crawling["passed_by"] > 10
    assert keeping["passed"] + keeping["passed_by"] < 3
    assert keeping["alongside"] > 2 * max(racing["alongside"], crawling["alongside"])
    assert keeping["distance"] > 2 * crawling["distance"]
    assert raced < 0.25 and crawled < 0.25 and kept > 0.5


@pytest.mark.parametrize(
    ("slot", "phase", "expected"),
    [(0, 208, 1), (0, 144, 0.5), (1, 16, 0.5), (1, 80, 0), (2, 0, 0), (0, 80, 0)],
)
def test_alongside(slot: int, phase: int, expected: float) -> None:
    memory = np.zeros(128, dtype=np.uint8)
    memory[enduro.PHASE] = phase
    assert enduro._alongside(memory) == 0  # an empty road
    memory[enduro.SLOTS.start + slot] = 55
    assert enduro._alongside(memory) == expected


def test_traffic_is_counted_by_the_episode() -> None:
    env = EnduroStayEvenEnv()
    env.reset(seed=0)
    for _ in range(60):
        env.step(np.int64(FIRE))
    counts = env.traffic
    assert counts.frames > 240 and counts.passed + counts.passed_by > 0 and counts.distance > 1
    env.reset()
    assert env.traffic.frames < 40
    assert (counts.passed, counts.passed_by) == (0, 0) and counts.distance < 0.1


def test_a_car_that_overtakes_costs_as_much_as_one_that_is_overtaken() -> None:
    traffic = Traffic(AtariEnv("enduro")._console("enduro"))
    traffic.reset(seed=0)
    for action in [FIRE] * 500 + [DOWN] * 500:
        before = traffic.passed + traffic.passed_by
        reward = traffic.step(action)[1]
        cars = traffic.passed + traffic.passed_by - before
        assert -cars <= reward <= 0.25 - cars
    assert traffic.passed > 0 and traffic.passed_by > 0


def test_distance_is_what_the_panel_shows() -> None:
    traffic = Traffic(AtariEnv("enduro")._console("enduro"))
    traffic.reset(seed=0)
    for _ in range(600):
        traffic.step(FIRE)
    tenths = int(f"{traffic._memory[41]:x}{traffic._memory[40]:02x}")  # decimal digits
    assert tenths > 30
    assert traffic.distance == pytest.approx(tenths / 10, abs=0.1)
