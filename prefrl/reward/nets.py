"""Reward networks with a leading member axis: all members in one matrix product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import leaky_relu


class MemberLinear(nn.Module):
    """M linear layers side by side, (M, B, in) -> (M, B, out)."""

    def __init__(self, members: int, n_in: int, n_out: int, generator: Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        weight = torch.rand(members, n_in, n_out, generator=generator) * 2 - 1
        bias = torch.rand(members, 1, n_out, generator=generator) * 2 - 1
        self.weight = nn.Parameter(weight * bound)
        self.bias = nn.Parameter(bias * bound)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.shape[-1] == 1:  # a product with one column is several times slower
            product: Tensor = torch.linalg.vecdot(x, self.weight.mT)
            return product.unsqueeze(-1) + self.bias
        return torch.baddbmm(self.bias, x, self.weight)


class MemberMLP(nn.Module):
    """The paper's predictor for MuJoCo: two hidden layers of 64, leaky ReLU 0.01.

    Source: Christiano et al. 2017, appendix A.1.
    """

    def __init__(
        self,
        obs_size: int,
        action_size: int,
        members: int,
        hidden: Sequence[int],
        generator: Generator,
    ) -> None:
        super().__init__()
        sizes = [obs_size + action_size, *hidden, 1]
        self._members = members
        self.layers = nn.ModuleList(
            MemberLinear(members, n_in, n_out, generator) for n_in, n_out in pairwise(sizes)
        )

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Rewards of vectors.

        Args:
          obs, action: (B, D), the same for all members, or (M, B, D).
        Returns:
          (M, B).
        """
        x = torch.cat([obs, action], dim=-1)
        if x.dim() == 2:
            x = x.expand(self._members, *x.shape)
        for layer in self.layers[:-1]:
            x = leaky_relu(layer(x), 0.01, inplace=True)
        rewards: Tensor = self.layers[-1](x).squeeze(-1)
        return rewards


class StateMLP(MemberMLP):
    """A reward of the observation alone, r(o).

    A policy that takes one action in each state gives the other nets no way to tell whether
    people like the state or the action; a reward that credits the action sends the agent on
    a detour, or for good.

    Source: state-only rewards, Fu et al. 2018 (AIRL), arXiv 1710.11248, section 5.
    """

    def __init__(
        self,
        obs_size: int,
        action_size: int,
        members: int,
        hidden: Sequence[int],
        generator: Generator,
    ) -> None:
        super().__init__(obs_size, 0, members, hidden, generator)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return super().forward(obs, action[..., :0])


RewardNet = Callable[[int, int, int, Sequence[int], Generator], nn.Module]

REWARD_NETS: dict[str, RewardNet] = {"mlp": MemberMLP, "state-mlp": StateMLP}
"""Builders by name: (obs_size, action_size, members, hidden, generator) -> module."""
