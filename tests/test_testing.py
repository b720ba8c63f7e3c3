"""The contracts: everything that prefrl brings keeps them, and a broken addition is caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.random import Generator
from torch import Tensor, nn

import envs  # noqa: F401 - registers them
from prefrl.labelers import LABELERS, Labeler
from prefrl.queries import STRATEGIES, Candidates, by_score, uniform
from prefrl.quiet import quiet_mujoco
from prefrl.reward.nets import REWARD_NETS, MemberMLP
from prefrl.testing import (
    check_env,
    check_labeler,
    check_query_strategy,
    check_reward_net,
    made_up_segments,
)
from prefrl.types import Array, Preference, Query

quiet_mujoco()


@pytest.mark.parametrize("env_id", sorted(n for n in gym.registry if n.startswith("prefrl/")))
def test_our_environments(env_id: str) -> None:
    check_env(env_id)


@pytest.mark.parametrize("name", sorted(LABELERS))
def test_our_labelers(name: str) -> None:
    check_labeler(LABELERS[name])


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_our_strategies(name: str) -> None:
    check_query_strategy(STRATEGIES[name])


@pytest.mark.parametrize("name", sorted(REWARD_NETS))
def test_our_reward_nets(name: str) -> None:
    check_reward_net(REWARD_NETS[name], (1, 43, 43) if name == "conv" else (4,))


class Walk(gym.Env[Array, int]):
    """A walk on a line, right in every respect; what is broken in a test is a subclass."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-30, 30, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.at = 0, float(self.np_random.uniform())
        return self.obs(), {}

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.t += 1
        self.at += 2 * action - 1
        return self.obs(), self.reward(), self.ended(), False, {}

    def obs(self) -> Array:
        return np.array([self.at], dtype=np.float32)

    def reward(self) -> Any:
        return self.at

    def ended(self) -> Any:
        return self.t >= 20


def broken_walk(**methods: Any) -> Walk:
    return type("BrokenWalk", (Walk,), methods)()


def test_a_right_environment() -> None:
    check_env(Walk())
    check_env(broken_walk(render_state=lambda self: np.array([self.at, 1.0])))


def with_space(self: Walk) -> None:
    Walk.__init__(self)
    self.observation_space = spaces.Dict({"at": spaces.Box(-1, 1)})  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("env", "breach"),
    [
        ("prefrl/Hoper-v0", "did you mean 'prefrl/Hopper-v0'"),
        (broken_walk(__init__=with_space), "FlattenObservation"),
        (broken_walk(obs=lambda self: np.array([np.nan], np.float32)), "NaN .* at reset"),
        (broken_walk(obs=lambda self: np.array([self.t * 2.0], np.float32)), "outside its space"),
        (broken_walk(obs=lambda self: np.array([0.5])), "dtype float64"),
        (broken_walk(reward=lambda self: float("nan")), "gave the reward nan at step 1"),
        (broken_walk(reward=lambda self: np.zeros(1)), "it must be a finite number"),
        (broken_walk(ended=lambda self: 1 if self.t > 3 else 0), "terminated is 0, no bool"),
        (broken_walk(ended=lambda self: False, obs=lambda self: np.zeros(1, np.float32)), "max_e"),
        (broken_walk(render_state=lambda self: np.zeros(1 + self.t)), r"from \(1,\) to \(2,\)"),
        (broken_walk(reward=lambda self: float(np.random.random())), "self.np_random"),
    ],
)
def test_a_broken_environment(env: Walk | str, breach: str) -> None:
    with pytest.raises(AssertionError, match=breach):
        check_env(env)


class Careful:
    """A labeler, right in every respect: prefers the larger first observation."""

    name: Any = "careful"
    immediate: Any = True

    def __init__(self, rng: Generator) -> None:
        self.rng = rng

    def label(self, query: Query) -> Any:
        left, right = query.left.obs[0, 0], query.right.obs[0, 0]
        if left == right:
            return Preference.TIE
        return Preference.LEFT if left > right else Preference.RIGHT

    def observe_episode(self, true_return: float, length: int) -> None:
        pass


def broken_labeler(**members: Any) -> Callable[[Generator], Labeler]:
    return type("BrokenLabeler", (Careful,), members)


def shuffles_the_query(self: Careful, query: Query) -> Preference:
    query.left.obs[0] = 0
    return Preference.TIE


def by_global_chance(self: Careful, query: Query) -> Preference:
    np.random.random()
    return Careful.label(self, query)  # type: ignore[no-any-return]


def by_own_chance(self: Careful, query: Query) -> Preference:
    heads = np.random.default_rng().random() < 0.5
    return Preference.LEFT if heads else Preference.RIGHT


def never(self: Careful, query: Query) -> Preference:
    raise TypeError("people answer when they like")


def test_a_right_labeler() -> None:
    check_labeler(Careful)
    check_labeler(Careful, made_up_segments(10, length=1))
    check_labeler(broken_labeler(immediate=False, label=never))
    check_labeler(broken_labeler(immediate=False, label=never, asked=False))


@pytest.mark.parametrize(
    ("labeler", "breach"),
    [
        (broken_labeler(name=""), "has a name"),
        (broken_labeler(immediate=None), "immediate is None"),
        (broken_labeler(asked=0), "asked is 0, no bool"),
        (broken_labeler(asked=False), "answers at once and is never asked"),
        (broken_labeler(label=lambda self, query: 1.0), "answered 1.0"),
        (broken_labeler(label=shuffles_the_query), "changed the query"),
        (broken_labeler(label=by_global_chance), "global random number generator"),
        (broken_labeler(label=by_own_chance), "differently with the same seed"),
        (broken_labeler(label=lambda self, query: Preference.LEFT), "prefers a side"),
    ],
)
def test_a_broken_labeler(labeler: Callable[[Generator], Labeler], breach: str) -> None:
    with pytest.raises(AssertionError, match=breach):
        check_labeler(labeler)


def one_too_many(candidates: Candidates, n: int, rng: Generator) -> Array:
    return uniform(candidates, n + 1, rng)


def the_best_only(candidates: Candidates, n: int, rng: Generator) -> Array:
    return np.zeros(min(n, candidates.returns.shape[1]), dtype=np.int64)


def scores_not_indices(candidates: Candidates, n: int, rng: Generator) -> Array:
    return np.sort(candidates.returns[0, :, 0])[:n]


def from_the_end(candidates: Candidates, n: int, rng: Generator) -> Array:
    return -1 - uniform(candidates, n, rng)


def sorts_in_place(candidates: Candidates, n: int, rng: Generator) -> Array:
    candidates.features.sort(axis=0)
    return uniform(candidates, n, rng)


def own_chance(candidates: Candidates, n: int, rng: Generator) -> Array:
    return uniform(candidates, n, np.random.default_rng())


def global_chance(candidates: Candidates, n: int, rng: Generator) -> Array:
    np.random.shuffle(np.arange(5))
    return uniform(candidates, n, rng)


@pytest.mark.parametrize(
    ("strategy", "breach"),
    [
        (one_too_many, "asked for 0 of 40 candidates, returned 1"),
        (the_best_only, "picked one twice"),
        (scores_not_indices, "vector of indices"),
        (from_the_end, "out of range"),
        (sorts_in_place, "changed the candidates"),
        (own_chance, "differently with the same seed"),
        (global_chance, "global random number generator"),
        (by_score(lambda returns: returns[0]), "vector of indices"),
    ],
)
def test_a_broken_strategy(strategy: Any, breach: str) -> None:
    with pytest.raises(AssertionError, match=breach):
        check_query_strategy(strategy)


class Broken(nn.Module):
    """A right net under a module that breaks one thing."""

    def __init__(
        self,
        obs: tuple[int, ...],
        act: int,
        members: int,
        hidden: Sequence[int],
        generator: Generator,
    ) -> None:
        super().__init__()
        self.inner = MemberMLP(obs, act, members, hidden, generator)
        self.members = members

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.broken(obs, action, self.inner(obs, action))

    def broken(self, obs: Tensor, action: Tensor, rewards: Tensor) -> Tensor:
        return rewards


class Column(Broken):
    def broken(self, obs: Tensor, action: Tensor, rewards: Tensor) -> Tensor:
        return rewards.unsqueeze(-1)


class NotFinite(Broken):
    def broken(self, obs: Tensor, action: Tensor, rewards: Tensor) -> Tensor:
        return rewards / 0


class MixesRows(Broken):
    def broken(self, obs: Tensor, action: Tensor, rewards: Tensor) -> Tensor:
        return rewards - rewards.mean(1, keepdim=True)


class MixesMembers(Broken):
    def broken(self, obs: Tensor, action: Tensor, rewards: Tensor) -> Tensor:
        return rewards + rewards.sum(0)


class SameForAll(Broken):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for parameter in self.parameters():
            parameter.data[:] = parameter.data[:1].clone()


class Idle(Broken):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.idle = nn.Parameter(torch.ones(3))


class HiddenState(Broken):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.shift = torch.randn(1, generator=args[-1])  # should be a buffer

    def broken(self, obs: Tensor, action: Tensor, rewards: Tensor) -> Tensor:
        return rewards + self.shift


class OneBatchOnly(Broken):
    def broken(self, obs: Tensor, action: Tensor, rewards: Tensor) -> Tensor:
        return rewards if obs.dim() == 2 else rewards * 2


class Tied(Broken):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.again = self.inner.layers[0].weight


def globally_drawn(*args: Any) -> nn.Module:
    torch.rand(1)
    return MemberMLP(*args)


def no_seed(*args: Any) -> nn.Module:
    return MemberMLP(*args[:-1], torch.Generator().manual_seed(0))


def own_seed(*args: Any) -> nn.Module:
    generator = torch.Generator()
    generator.seed()
    return MemberMLP(*args[:-1], generator)


@pytest.mark.parametrize(
    ("net", "breach"),
    [
        (Column, r"gave \(1, 8, 1\); it must be \(1, 8\)"),
        (NotFinite, "NaN or infinite"),
        (globally_drawn, "global random number generator"),
        (no_seed, "another generator seed gives the same weights"),
        (own_seed, "the same generator seed gives other weights"),
        (OneBatchOnly, "rewarded differently"),
        (MixesRows, "depends on the other rows"),
        (MixesMembers, "inputs of member 0 should change its rewards alone"),
        (SameForAll, "members 0 and .* the same weights"),
        (Idle, "idle takes no part"),
        (HiddenState, "not all of it"),
        (Tied, "cannot be saved"),
    ],
)
def test_a_broken_net(net: Any, breach: str) -> None:
    with pytest.raises(AssertionError, match=breach):
        check_reward_net(net)
    check_reward_net(Broken)  # without the breach it is right
