"""Contracts: run your own environment, labeler, strategy or reward net against them.

    from prefrl.testing import check_labeler
    check_labeler(lambda rng: MyLabeler(rng))

Each is a plain function that returns nothing, or raises an AssertionError that names the
breach. They need no test framework and take well under a minute.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.random import Generator, default_rng
from safetensors.torch import save
from torch import Tensor, nn

from prefrl.environments import resolve
from prefrl.labelers import Labeler
from prefrl.queries import Candidates, Strategy
from prefrl.render_states import render_states
from prefrl.reward.nets import RewardNet
from prefrl.spaces import check_spaces
from prefrl.types import Array, Preference, PrefrlError, Query, Segment

LONGEST_EPISODE = 10_000
"""Steps within which an environment has to end an episode."""


def check_env(env: gym.Env[Any, Any] | str, seed: int = 0) -> None:
    """What training and evaluation rely on, over one episode of random actions.

    Args:
      env: an environment, as `gymnasium.make` returns it, or the id of a registered one.
    Raises:
      AssertionError: a space that cannot be learned on, an observation outside its space, a
        reward that is no finite number, an episode without end, or two runs of one seed
        that differ.
    """
    try:
        if isinstance(env, str):
            env = gym.make(resolve(env))
        check_spaces(str(env), env.observation_space, env.action_space)
    except PrefrlError as error:
        raise AssertionError(str(error)) from None
    env.action_space.seed(seed)
    actions = _one_episode(env, seed)
    first, again = (_replay(env, seed, actions[:100]) for _ in range(2))
    assert np.array_equal(first, again), (
        f"{env} differs between two runs of the same seed and actions: draw all randomness from "
        "self.np_random, and call super().reset(seed=seed)"
    )


def _one_episode(env: gym.Env[Any, Any], seed: int) -> list[Any]:
    """Checks every step of an episode; returns its actions."""
    obs, _ = env.reset(seed=seed)
    _check_obs(env, obs, "reset")
    shape = _render_shape(env)
    actions: list[Any] = []
    while len(actions) < LONGEST_EPISODE:
        actions.append(env.action_space.sample())
        obs, reward, terminated, truncated, _ = env.step(actions[-1])
        _check_obs(env, obs, f"step {len(actions)}")
        assert np.shape(np.asarray(reward)) == () and np.isfinite(float(reward)), (
            f"{env} gave the reward {reward!r} at step {len(actions)}: it must be a finite number "
            "(0 where there is no true reward)"
        )
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            assert isinstance(flag, bool | np.bool_), f"{env}: {name} is {flag!r}, no bool"
        assert _render_shape(env) == shape, (
            f"{env}: its render state changed its shape from {shape} to {_render_shape(env)}"
        )
        if terminated or truncated:
            return actions
    raise AssertionError(
        f"{env} ended no episode in {LONGEST_EPISODE:,} steps, so it cannot be evaluated: "
        "register it with max_episode_steps"
    )


def _check_obs(env: gym.Env[Any, Any], obs: Any, where: str) -> None:
    space = env.observation_space
    finite = not np.issubdtype(np.asarray(obs).dtype, np.floating) or np.isfinite(obs).all()
    assert finite, f"{env} returned a NaN or infinite observation at {where}: {obs}"
    assert space.contains(obs), (
        f"{env} returned an observation outside its space at {where}: {obs!r} "
        f"(dtype {np.asarray(obs).dtype}) is not in {space}"
    )


def _render_shape(env: gym.Env[Any, Any]) -> tuple[int, ...] | None:
    """Shape of what draws an environment's current step again, if it offers that."""
    states = render_states(env)
    return None if states is None else states.read().shape


def _replay(env: gym.Env[Any, Any], seed: int, actions: Sequence[Any]) -> Array:
    seen = [np.ravel(env.reset(seed=seed)[0])]
    for action in actions:
        obs, reward, *_ = env.step(action)
        seen += [np.ravel(obs), np.ravel(float(reward))]
    together: Array = np.concatenate(seen)
    return together


def check_labeler(
    build: Callable[[Generator], Labeler], segments: Sequence[Segment] | None = None
) -> None:
    """What the loop relies on in a labeler, over 200 pairs, each asked both ways round.

    Args:
      build: makes the labeler from a random number generator, as in LABELERS.
      segments: of equal length, what the labeler can judge; made up unless given.
    Raises:
      AssertionError: no name, flags that are none, an answer that is no Preference, a changed
        query, a seed that does not repeat, a draw from a global generator, or a taste for one
        side.
    """
    labeler = build(default_rng(0))
    name = getattr(labeler, "name", None)
    assert isinstance(name, str) and name, f"a labeler has a name; this one's is {name!r}"
    immediate = getattr(labeler, "immediate", None)
    assert isinstance(immediate, bool), f"{name}.immediate is {immediate!r}, no bool"
    asked = getattr(labeler, "asked", True)
    assert isinstance(asked, bool), f"{name}.asked is {asked!r}, no bool"
    assert asked or not immediate, (
        f"{name} answers at once and is never asked: leave out asked = False, or immediate = True"
    )
    labeler.observe_episode(100.0, 200)
    if not immediate:
        return  # its answers come through the store: label() is never called
    queries = _queries(segments or made_up_segments(40), 200, default_rng(1))
    with _global_randomness_untouched(f"labeler {name}"):
        answers, again = (_answers(build(default_rng(0)), queries) for _ in range(2))
    assert answers == again, (
        f"{name} answers differently with the same seed: draw from the generator it is built with"
    )
    left, right = answers.count(Preference.LEFT), answers.count(Preference.RIGHT)
    assert abs(left - right) <= 5 * np.sqrt(left + right), (  # five sigma of a fair coin
        f"{name} prefers a side: asked both ways round, it chose left {left} times and right "
        f"{right} times"
    )


def made_up_segments(n: int, length: int = 10, seed: int = 0) -> list[Segment]:
    """Random segments: observations of 3 numbers, actions of 1, rewards that depend on both."""
    rng = default_rng(seed)
    obs = rng.normal(size=(n, length, 3)).astype(np.float32)
    actions = rng.uniform(-1, 1, size=(n, length, 1)).astype(np.float32)
    return [Segment(o, a, o[:, 0] + 0.1 * a[:, 0]) for o, a in zip(obs, actions, strict=True)]


def _queries(segments: Sequence[Segment], n: int, rng: Generator) -> list[Query]:
    """Pairs of different segments, each both ways round, and one segment against itself."""
    queries = [Query(segments[0], segments[0])]
    for _ in range(n):
        left, right = (segments[i] for i in rng.choice(len(segments), size=2, replace=False))
        queries += [Query(left, right), Query(right, left)]
    return queries


def _answers(labeler: Labeler, queries: Sequence[Query]) -> list[Preference]:
    answers = []
    labeler.observe_episode(100.0, 200)
    for query in queries:
        before = _content(query)
        answer = labeler.label(query)
        assert isinstance(answer, Preference), (
            f"{labeler.name} answered {answer!r}: it must be a prefrl.Preference"
        )
        assert _content(query) == before, f"{labeler.name} changed the query it was asked"
        answers.append(answer)
    return answers


def _content(query: Query) -> list[bytes]:
    arrays = [(s.obs, s.actions, s.true_rewards) for s in (query.left, query.right)]
    return [array.tobytes() for side in arrays for array in side]


def check_query_strategy(strategy: Strategy) -> None:
    """What the loop relies on in a strategy: which candidates it picks, and how many.

    Args:
      strategy: takes Candidates, a number and a generator; returns indices, best first.
    Raises:
      AssertionError: the wrong number of indices, indices twice or out of range, changed
        candidates, a seed that does not repeat, or a draw from a global generator.
    """
    name = getattr(strategy, "__name__", str(strategy))
    with _global_randomness_untouched(f"strategy {name}"):
        for members, n_candidates, n_asked, scale in (
            (3, 40, 5, 1.0),
            (3, 40, 0, 1e4),  # sure of everything, and nothing asked yet
            (1, 7, 2, 1.0),
            (3, 1, 0, 0.0),
            (3, 0, 3, 1.0),  # the gate let nothing through
        ):
            rng = default_rng(2)
            candidates = Candidates(
                returns=scale * rng.normal(size=(members, n_candidates, 2)),
                features=rng.normal(size=(n_candidates, 6)),
                asked=rng.normal(size=(n_asked, 6)),
            )
            for n in (0, 1, 5, n_candidates + 1):
                _check_pick(name, strategy, candidates, n)


def _check_pick(name: str, strategy: Strategy, candidates: Candidates, n: int) -> None:
    there = candidates.returns.shape[1]
    arrays = (candidates.returns, candidates.features, candidates.asked)
    before = [a.copy() for a in arrays]
    what = f"{name}, asked for {n} of {there} candidates,"
    picked = np.asarray(strategy(candidates, n, default_rng(3)))
    assert picked.ndim == 1 and np.issubdtype(picked.dtype, np.integer), (
        f"{what} returned shape {picked.shape} of {picked.dtype}: it must be a vector of indices"
    )
    assert len(picked) == min(n, there), (
        f"{what} returned {len(picked)}: it must be {min(n, there)} (not asking is the gate's job)"
    )
    assert len(set(picked.tolist())) == len(picked), f"{what} picked one twice: {picked}"
    assert set(picked.tolist()) <= set(range(there)), f"{what} picked one out of range: {picked}"
    same = all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
    assert same, f"{what} changed the candidates: work on a copy"
    again = strategy(candidates, n, default_rng(3))
    assert np.array_equal(picked, again), (
        f"{what} picks differently with the same seed: draw from the generator it is given"
    )


def check_reward_net(build: RewardNet, obs_shape: tuple[int, ...] = (4,)) -> None:
    """What the ensemble relies on in a reward net: M independent members in one module.

    Args:
      build: (obs_shape, action_size, members, hidden, generator) -> module, as in REWARD_NETS.
      obs_shape: of the observations it takes, (D,) or (C, H, W).
    Raises:
      AssertionError: a wrong shape, members that share or equal one another, rows that mix,
        a parameter without a gradient, weights that a seed does not repeat, or that
        safetensors cannot keep.
    """
    for members in (1, 3):
        _check_net(build, members, obs_shape)


def _check_net(
    build: RewardNet, members: int, obs_shape: tuple[int, ...], action_size: int = 2
) -> None:
    def built(seed: int) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        return build(obs_shape, action_size, members, (16, 16), generator).eval()

    with _global_randomness_untouched("reward net"):
        net, twin, other = built(0), built(0), built(1)
    draw = torch.Generator().manual_seed(2)
    obs, action = (torch.randn(8, *size, generator=draw) for size in (obs_shape, (action_size,)))
    rewards: Tensor = net(obs, action)
    assert rewards.shape == (members, 8), (
        f"reward net: {members} members on 8 rows gave {tuple(rewards.shape)}; "
        f"it must be ({members}, 8)"
    )
    assert rewards.isfinite().all(), "reward net: a reward is NaN or infinite"
    assert torch.equal(rewards, twin(obs, action)), (
        "reward net: the same generator seed gives other weights: initialise from the generator"
    )
    assert not torch.equal(rewards, other(obs, action)), (
        "reward net: another generator seed gives the same weights: initialise from the generator"
    )
    _check_members(net, obs, action, rewards)
    for name, parameter in net.named_parameters():
        (gradient,) = torch.autograd.grad(net(obs, action).sum(), parameter, allow_unused=True)
        assert gradient is not None, f"reward net: parameter {name} takes no part in the reward"
    try:
        save({key: value.contiguous() for key, value in net.state_dict().items()})
    except RuntimeError as error:
        raise AssertionError(f"reward net: its weights cannot be saved: {error}") from None
    other.load_state_dict(net.state_dict())
    assert torch.equal(rewards, other(obs, action)), (
        "reward net: its state_dict is not all of it: register what is missing as a buffer"
    )


@torch.no_grad()
def _check_members(net: nn.Module, obs: Tensor, action: Tensor, rewards: Tensor) -> None:
    """Each member's reward of a row is its own, and the row's own."""
    members = len(rewards)
    own_obs, own_action = (x.expand(members, *x.shape).clone() for x in (obs, action))
    assert torch.allclose(rewards, net(own_obs, own_action), atol=1e-5), (
        "reward net: a batch for all members, (B, D), and the same batch for each, (M, B, D), "
        "are rewarded differently"
    )
    assert torch.allclose(rewards[:, :1], net(obs[:1], action[:1]), atol=1e-5), (
        "reward net: a row's reward depends on the other rows of its batch"
    )
    for member in range(members):
        moved = own_obs.clone()
        moved[member] += 1
        changed = (net(moved, own_action) - rewards).abs().amax(1) > 1e-5
        assert changed.tolist() == [m == member for m in range(members)], (
            f"reward net: the inputs of member {member} should change its rewards alone; "
            f"changed: {changed.tolist()}"
        )
    twins = [m for m in range(1, members) if torch.allclose(rewards[0], rewards[m], atol=1e-6)]
    assert not twins, f"reward net: members 0 and {twins} start with the same weights"


@contextmanager
def _global_randomness_untouched(what: str) -> Iterator[None]:
    def state() -> tuple[object, ...]:
        _, keys, *place = np.random.get_state(legacy=True)
        torchs = torch.get_rng_state().numpy().tobytes()
        return np.asarray(keys).tobytes(), place, random.getstate(), torchs

    before = state()
    yield
    assert state() == before, (
        f"{what} draws from a global random number generator: draw from the one it is given"
    )
