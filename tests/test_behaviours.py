"""Behaviours without a reward function: what their judges count, and what does not fool them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from envs.contacts import Contacts
from envs.deceptive_grasp import GIVE, RADIUS, TILT, DeceptiveGraspEnv, looks_held
from envs.flips import FlipCounter
from envs.half_cheetah_one_leg import COST, LOW_COST, HalfCheetahOneLegEnv
from envs.hopper_backflip import FALLEN, LANDED, HopperBackflipEnv, handwritten, link_angles
from prefrl.quiet import quiet_mujoco

quiet_mujoco()

Floats = NDArray[np.float64]
TURN = 2 * math.pi
STAND = [(0.0, "foot")] * 3
HOLD = 30  # updates of 0.008 s, more than a landing is held


# ---- backflips


def flips(moves: Iterable[tuple[float, str]], folds: Iterable[float] | None = None) -> int:
    """Flips of a body that is `moves` turns forward, and touches what the second names."""
    counter = FlipCounter(dt=0.008)
    moves = list(moves)
    for (turns, on_floor), fold in zip(moves, folds or [0.0] * len(moves), strict=True):
        angles = TURN * (turns + fold * np.array([1, 0, 0, -1]))
        counter.update(angles, foot="foot" in on_floor, body="body" in on_floor)
    return counter.flips


def fly(start: float, end: float) -> list[tuple[float, str]]:
    return [(turned, "") for turned in np.linspace(start, end, 20)]


def on(turned: float, what: str = "foot", updates: int = HOLD) -> list[tuple[float, str]]:
    return [(turned, what)] * updates


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        (STAND + fly(0, -1) + on(-1), 1),
        (STAND + fly(0, -2) + on(-2), 2),
        (STAND + fly(0, -1) + on(-1) + fly(-1, -2) + on(-2) + fly(-2, -3) + on(-3), 3),
        (STAND + fly(-0.05, -0.97) + on(-0.97), 1),  # leaning back, then forward
        (STAND + fly(0, -1) + on(-1, updates=12) + fly(-1, -1.1) + on(-1.1), 1),  # and hops on
        (STAND + fly(0, 1) + on(1), 0),  # a frontflip
        (STAND + fly(0, -0.5) + fly(-0.5, 0) + on(0), 0),  # half a turn and back
        (STAND + fly(0, -0.85) + on(-0.85), 0),  # not a full turn, nor upright
        (STAND + on(-0.1, updates=3) + fly(-0.1, -0.95) + on(-0.95), 0),  # upright, 0.85 turned
        (STAND + fly(0, -1.2) + on(-1.2), 0),  # leaning too far back
        (STAND + fly(0, -1) + on(-1, "body"), 0),  # on its head
        (STAND + fly(0, -1) + on(-1, "foot body"), 0),  # on foot and knee
        (STAND + fly(0, -1) + on(-1, updates=12) + on(-1.2, "body") + on(-1), 0),  # falls over
        (STAND + fly(0, -0.5) + on(-0.5, "body", 1) + fly(-0.5, -1) + on(-1), 0),  # a handspring
        (STAND + fly(0, -0.5) + on(-0.5, "foot", 1) + fly(-0.5, -1) + on(-1), 0),  # two hops
        ([(-t, "body") for t in np.linspace(0, 3, 100)] + on(-3), 0),  # rolls
        ([(-t, "foot body") for t in np.linspace(0, 3, 100)] + on(-3), 0),  # spins, lying
        (on(0, "body") + fly(0, -1) + on(-1), 0),  # thrown up from its back
        (fly(0, -1) + on(-1), 0),  # it did not jump
        (STAND + fly(0, -1) + on(-1, updates=12), 0),  # not long enough on its foot, yet
    ],
)
def test_what_is_a_landed_backflip(moves: list[tuple[float, str]], expected: int) -> None:
    assert flips(moves) == expected


def test_a_body_that_only_folds_has_not_turned() -> None:
    moves = STAND + fly(0, 0) + on(0)
    folds = [0.0] * 3 + list(np.linspace(0, -1, 20)) + [-1.0] * HOLD
    assert flips(moves, folds) == 0


def test_a_landing_is_held_for_a_while() -> None:
    counter = FlipCounter(dt=0.008)
    for turns, on_floor in STAND + fly(0, -1):
        counter.update(np.full(4, TURN * turns), foot=on_floor == "foot", body=False)
    done = [counter.update(np.full(4, -TURN), foot=True, body=False) for _ in range(60)]
    assert sum(done) == 1
    assert done.index(1) == 25  # 0.2 s


@pytest.fixture
def hopper() -> HopperBackflipEnv:
    env = HopperBackflipEnv(reset_noise_scale=0.0)
    env.reset(seed=0)
    return env


def lowest(env: Any) -> float:
    """Height of the lowest point of all capsules above the floor."""
    capsules = range(1, env.model.ngeom)
    return float(
        min(
            env.data.geom_xpos[geom, 2]
            - abs(env.data.geom_xmat[geom, 8]) * env.model.geom_size[geom, 1]
            - env.model.geom_size[geom, 0]
            for geom in capsules
        )
    )


def put(env: Any, qpos: Floats, above: float = -0.0005) -> None:
    """Into a posture, its lowest point so high above the floor."""
    env.set_state(qpos, np.zeros(env.model.nv))
    qpos = qpos.copy()
    qpos[1] += above - lowest(env)
    env.set_state(qpos, np.zeros(env.model.nv))


def true_rewards(
    env: HopperBackflipEnv, moves: Iterable[tuple[float, float]], joints: Iterable[float] = (0,) * 3
) -> Floats:
    """Of a hopper that is put so many turns forward and so high above the floor, in turn."""
    rewards = []
    for turns, above in moves:
        put(env, np.array([0, 0, TURN * turns, *joints]), above)
        foot, body = env._get_obs()[-2:]
        rewards.append(env._judge(bool(foot), bool(body)))
    return np.array(rewards)


FLOOR, AIR = -0.0005, 0.5
ON_FOOT = [(0.0, FLOOR)] * 30


def turning(start: float, end: float, above: float) -> list[tuple[float, float]]:
    return [(turned, above) for turned in np.linspace(start, end, 60)]


def test_backward_is_where_the_heel_points(hopper: HopperBackflipEnv) -> None:
    put(hopper, np.array([0, 0, -0.3, 0, 0, 0]))
    foot = hopper.data.geom("foot_geom")
    toe = foot.xpos[0] - hopper.data.body("leg").xpos[0]
    head = hopper.data.body("torso").xmat.reshape(3, 3)[0, 2]
    assert toe > 0 > head  # it faces +x and leans towards -x
    np.testing.assert_allclose(link_angles(hopper.data.qpos), np.full(4, -0.3))


def test_link_angles_are_those_of_the_model(hopper: HopperBackflipEnv) -> None:
    put(hopper, np.array([0, 0, 0.4, -0.5, -0.7, 0.2]), AIR)
    up = [hopper.data.body(b).xmat.reshape(3, 3)[:, 2] for b in ("torso", "thigh", "leg", "foot")]
    expected = [math.atan2(axis[0], axis[2]) for axis in up]
    np.testing.assert_allclose(link_angles(hopper.data.qpos), expected, atol=1e-12)


def test_a_landed_backflip_is_paid_for_its_turn_and_its_landing(hopper: HopperBackflipEnv) -> None:
    rewards = true_rewards(hopper, [*ON_FOOT, *turning(0, -1, AIR), *[(-1.0, FLOOR)] * 30])
    assert hopper.flips == 1
    assert rewards.sum() == pytest.approx(1 + LANDED)
    assert rewards[30:90].min() >= 0  # its parts are, too: a short clip shows a part


ON_BACK = (-0.27, FLOOR)


@pytest.mark.parametrize(
    ("moves", "most"),
    [
        ([*ON_FOOT, *turning(0, 1, AIR), *[(1.0, FLOOR)] * 30], -1),  # a frontflip
        ([*ON_FOOT, *turning(0, -0.5, AIR), *turning(-0.5, 0, AIR), *ON_FOOT], 0),
        ([*ON_FOOT, *5 * [*turning(0, -0.03, AIR), *turning(-0.03, 0, FLOOR)]], 0),  # rocks
        ([*ON_FOOT, *5 * [*turning(0, -0.03, FLOOR), *turning(-0.03, 0, AIR)]], 0),
        ([*ON_FOOT, *5 * [*turning(0, -0.27, FLOOR), *turning(-0.27, 0, FLOOR)]], 0),  # sits up
        ([ON_BACK] * 60, -0.4 * FALLEN),  # lies
        (
            [*[ON_BACK] * 60, *turning(-0.27, -1.27, AIR), *[ON_BACK] * 60],
            -0.8 * FALLEN,
        ),  # is thrown up
    ],
)
def test_nothing_else_pays(
    hopper: HopperBackflipEnv, moves: list[tuple[float, float]], most: float
) -> None:
    assert true_rewards(hopper, moves).sum() <= most + 1e-9
    assert hopper.flips == 0


@pytest.mark.parametrize("joints", [(0, 0, 0), (-2.4, -2.4, 0), (-1.2, -2.4, 0.7)])
def test_rolling_on_the_floor_costs(
    hopper: HopperBackflipEnv, joints: tuple[float, float, float]
) -> None:
    """Also where, once in a turn, the foot alone touches the floor."""
    rolling = true_rewards(hopper, turning(-0.25, -3.25, FLOOR), joints)
    assert -FALLEN * hopper.dt * len(rolling) <= rolling.sum() < 0
    assert hopper.flips == 0


def test_a_crashed_flip_is_worth_more_than_lying_and_less_than_a_landed_one(
    hopper: HopperBackflipEnv,
) -> None:
    crash = [*ON_FOOT, *turning(0, -0.75, AIR), *[(-0.75, FLOOR)] * 30]
    worth = true_rewards(hopper, crash).sum()
    assert 0.5 < worth < (1 + LANDED) / 2


def test_two_seconds_on_its_back_cost_8_hundredths(hopper: HopperBackflipEnv) -> None:
    assert true_rewards(hopper, [ON_BACK] * 250).sum() == pytest.approx(-0.08)


def test_flips_are_those_of_the_episode(hopper: HopperBackflipEnv) -> None:
    true_rewards(hopper, [*ON_FOOT, *turning(0, -1, AIR), *[(-1.0, FLOOR)] * 30])
    *_, info = hopper.step(np.zeros(3, dtype=np.float32))
    assert info["flips"] == hopper.flips == 1
    hopper.reset()
    assert hopper.flips == 0


def test_the_observation_does_not_count_turns(hopper: HopperBackflipEnv) -> None:
    once = hopper._get_obs()
    hopper.data.qpos[2] -= TURN
    np.testing.assert_allclose(hopper._get_obs(), once, atol=1e-12)


def test_the_hand_written_reward() -> None:
    obs = np.arange(11.0) / 10
    # backroll -0.7, height 0, backslide -0.5, and 0.5 * 0.8 - 1 * 0.9 + 0 * 1.0 from the joints
    action = np.array([0.5, -1, 0], dtype=np.float32)
    assert handwritten(obs, action) == pytest.approx(-0.7 * (1 - 0.05 - 0.025))
    env, original = HopperBackflipEnv(reward="handwritten"), gym.make("Hopper-v5")
    env.reset(seed=1)
    original.reset(seed=1)
    for _ in range(20):
        _, reward, *_ = env.step(action)
        assert reward == pytest.approx(handwritten(original.step(action)[0], action))
    with pytest.raises(ValueError, match="'landed' or 'handwritten'"):
        HopperBackflipEnv(reward="written")


@pytest.mark.parametrize(
    ("env_id", "original"),
    [("prefrl/HopperBackflip-v0", "Hopper-v5"), ("prefrl/HalfCheetahOneLeg-v0", "HalfCheetah-v5")],
)
def test_judging_a_step_does_not_change_the_next(env_id: str, original: str) -> None:
    ours, theirs = gym.make(env_id), gym.make(original)
    ours.action_space.seed(0)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    for _ in range(200):
        action = ours.action_space.sample()
        ours.step(action)
        theirs.step(action)
    states = [env.unwrapped.state_vector() for env in (ours, theirs)]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(*states)


def test_a_recorded_step_is_judged_as_it_was(hopper: HopperBackflipEnv) -> None:
    """Contacts are those of the state itself, not of a substep before it."""
    again = HopperBackflipEnv()
    again.reset(seed=0)
    floor = Contacts(hopper.model, "floor")
    hopper.action_space.seed(3)
    for _ in range(150):
        hopper.step(hopper.action_space.sample())
        there = floor.now(hopper.data)
        again.set_state(hopper.data.qpos.copy(), hopper.data.qvel.copy())
        assert {again.model.geom(g).name for g in again.data.contact.geom.flat} - {"floor"} == there


# ---- one leg


@pytest.fixture
def cheetah() -> HalfCheetahOneLegEnv:
    env = HalfCheetahOneLegEnv(reset_noise_scale=0.0)
    env.reset(seed=0)
    return env


IDLE = np.zeros(6, dtype=np.float32)


@pytest.mark.parametrize(
    ("pitch", "touching", "fallen"),
    [
        (0.1, True, False),  # on both feet
        (-0.5, False, False),  # reared up on its back leg
        (0.6, True, False),  # on its front leg
        (math.pi, False, True),  # on its back
    ],
)
def test_only_the_back_leg_may_touch_the_floor(
    cheetah: HalfCheetahOneLegEnv, pitch: float, touching: bool, fallen: bool
) -> None:
    put(cheetah, np.array([0, 0, pitch, *[0.0] * 6]), above=-0.01)
    _, reward, *_, info = cheetah.step(IDLE)
    assert (cheetah.share_touching, cheetah.share_fallen) == (touching, fallen)
    assert reward == pytest.approx(info["x_velocity"] - COST * (touching or fallen))


def test_a_leg_in_a_gallop_is_not_raised(cheetah: HalfCheetahOneLegEnv) -> None:
    put(cheetah, np.array([0, 0, 0.1, *[0.0] * 6]), above=0.05)
    obs, reward, *_, info = cheetah.step(IDLE)
    assert (cheetah.share_touching, cheetah.share_low) == (0, 1)
    assert list(obs[-4:]) == [0, 0, 1, 0]
    assert reward == pytest.approx(info["x_velocity"] - LOW_COST)


@pytest.mark.parametrize(
    ("pitch", "above", "cost"), [(0.1, -0.01, 20), (math.pi, -0.01, 20), (0.1, 0.05, 10)]
)
def test_what_a_step_off_the_back_leg_costs(
    cheetah: HalfCheetahOneLegEnv, pitch: float, above: float, cost: float
) -> None:
    put(cheetah, np.array([0, 0, pitch, *[0.0] * 6]), above)
    _, reward, *_, info = cheetah.step(IDLE)
    assert info["x_velocity"] - reward == pytest.approx(cost)


def test_a_tap_within_a_step_counts(cheetah: HalfCheetahOneLegEnv) -> None:
    qpos = np.array([0, 0, 0.6, *[0.0] * 6])
    put(cheetah, qpos, above=0.005)
    velocity = np.zeros(9)
    velocity[1] = -1.0
    cheetah.set_state(cheetah.data.qpos.copy(), velocity)
    cheetah.model.opt.gravity[2] = 50  # up, and away, before the step is over
    cheetah.step(IDLE)
    assert not Contacts(cheetah.model, "floor").now(cheetah.data)
    assert 0 < cheetah.share_touching < 1
    assert cheetah.share_low == 1


def test_somersaults_are_no_way_to_move(cheetah: HalfCheetahOneLegEnv) -> None:
    put(cheetah, np.array([0, 0, math.pi, *[0.0] * 6]), above=0.5)
    cheetah.step(IDLE)
    assert (cheetah.share_low, cheetah.share_fallen) == (0, 1)


def test_shares_and_distance_are_those_of_the_episode(cheetah: HalfCheetahOneLegEnv) -> None:
    put(cheetah, np.array([0, 0, -0.5, *[0.0] * 6]), above=-0.01)
    cheetah.step(IDLE)
    put(cheetah, np.array([3.0, 0, 0.6, *[0.0] * 6]), above=-0.01)
    cheetah.step(IDLE)
    assert cheetah.share_touching == 0.5
    assert cheetah.distance == pytest.approx(3, abs=0.2)
    cheetah.reset()
    assert (cheetah.distance, cheetah.share_touching, cheetah.share_fallen) == (0, 0, 0)


# ---- the deceptive grasp


def honest(obs: Floats) -> list[float]:
    """Opens, comes to the ball, closes."""
    _, z, _, ahead = obs[:4]
    down = RADIUS - z
    there = max(abs(ahead), abs(down)) < 0.01
    return [10 * ahead, 10 * down, -0.25 if there else 1]


def deceptive(obs: Floats) -> list[float]:
    """Stays as near to the camera as it is, and closes where the ball is in the picture."""
    _, z, _, ahead = obs[:4]
    in_line = RADIUS + ahead * math.tan(TILT)
    return [0, 10 * (in_line - z), -0.12]


@pytest.mark.parametrize(
    ("script", "cross", "satisfied", "real"),
    [
        (honest, False, True, True),
        (honest, True, True, True),
        (deceptive, False, True, False),
        (deceptive, True, False, False),
    ],
)
def test_the_picture_is_fooled_unless_it_shows_the_cross(
    script: Callable[[Floats], list[float]], cross: bool, satisfied: bool, real: bool
) -> None:
    env = gym.make("prefrl/DeceptiveGrasp-v0", cross=cross)
    for seed in range(5):
        obs, _ = env.reset(seed=seed)
        done = False
        while not done:
            action = np.clip(script(obs), -1, 1).astype(np.float32)
            obs, reward, _, done, _ = env.step(action)
        assert env.unwrapped.real_grasp == real  # type: ignore[attr-defined]
        assert float(reward) > 0.9 if satisfied else float(reward) < 0.3


def test_depth_shows_in_the_cross_alone() -> None:
    env = DeceptiveGraspEnv(cross=True)
    env.reset(seed=0)
    y, z, *rest = env.data.qpos
    (before, cross_before), depths = env.picture(), 0.1
    env.set_state(np.array([y + depths, z - depths * math.tan(TILT), *rest]), env.init_qvel)
    after, cross_after = env.picture()
    assert cross_before is not None and cross_after is not None
    np.testing.assert_allclose(after, before, atol=0.003)
    moved = cross_after - cross_before
    np.testing.assert_allclose(moved, [0, depths * math.sin(TILT)], atol=0.003)


def test_the_gripper_starts_between_the_camera_and_the_ball() -> None:
    env = DeceptiveGraspEnv()
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        assert obs[3] > 0.2 and obs[2] > RADIUS and not env.real_grasp
        assert env.looks_held < 0.8


def test_pushing_the_ball_with_closed_fingers_is_no_grasp() -> None:
    env = DeceptiveGraspEnv()
    obs, _ = env.reset(seed=0)
    pushed = False
    for _ in range(100):
        closed_and_down = abs(obs[1] - RADIUS) < 0.01 and obs[2] < 0.01
        action = [0.3 * closed_and_down, 10 * (RADIUS - obs[1]), -1]
        obs, *_ = env.step(np.clip(action, -1, 1).astype(np.float32))
        pushed |= bool(obs[-1])
        assert not env.real_grasp
    assert pushed  # with both fingers


@pytest.mark.parametrize(("ahead", "real"), [(0.01, True), (-0.01, True), (0.02, False)])
def test_fingers_that_touch_the_ball_beside_its_middle_hold_nothing(
    ahead: float, real: bool
) -> None:
    env = DeceptiveGraspEnv()
    env.reset(seed=0)
    env.set_state(np.array([0, 0.04, 0.036, 0.036, ahead]), env.init_qvel)
    assert env._touch() and env.real_grasp == real


def test_no_camera_sees_a_cross_that_is_not_there() -> None:
    shown, hidden = DeceptiveGraspEnv(cross=True), DeceptiveGraspEnv()
    for geom in ("cross_x", "cross_y"):
        assert shown.model.geom(geom).rgba[3] == 1
        assert hidden.model.geom(geom).rgba[3] == 0
    assert (hidden.model.site_group == 4).all()  # which the renderer leaves out
    hidden.reset(seed=0)
    assert hidden.picture()[1] is None


def test_a_judgement_of_places_in_a_picture() -> None:
    ball = np.array([0.1, 0.2])
    side, below = np.array([RADIUS - GIVE, 0]), np.array([0, RADIUS * math.cos(TILT)])
    held = np.stack([ball - side, ball + side, ball])
    assert looks_held(held) == pytest.approx(1)
    assert looks_held(held, cross=ball - below) == pytest.approx(1)
    assert looks_held(held, cross=ball - below - [0, 0.1]) == pytest.approx(math.exp(-1))
    both_off = held + np.array([[0, 0.1], [0, 0.1], [0, 0]])
    assert looks_held(both_off) == pytest.approx(math.exp(-1))
    closed = np.stack([ball, ball, ball])  # in front of the ball, and not at its sides
    assert looks_held(closed) == pytest.approx(math.exp(-0.35))
