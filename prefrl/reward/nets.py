"""Reward networks with a leading member axis: all members side by side in one module."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import batch_norm, conv2d, leaky_relu

from prefrl.precision import bfloat16
from prefrl.types import PrefrlError


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
        obs_shape: tuple[int, ...],
        action_size: int,
        members: int,
        hidden: Sequence[int],
        generator: Generator,
    ) -> None:
        super().__init__()
        if len(obs_shape) != 1:
            raise PrefrlError(
                f"observations are images {obs_shape}, and the reward net takes vectors: choose "
                "reward.net=conv"
            )
        sizes = [obs_shape[0] + action_size, *hidden, 1]
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
        return self.rewards(self.features(obs, action))

    def rewards(self, features: Tensor) -> Tensor:
        """What the last layer makes of what it sees, linearly, (M, B, H) -> (M, B)."""
        rewards: Tensor = self.layers[-1](features).squeeze(-1)
        return rewards

    def features(self, obs: Tensor, action: Tensor) -> Tensor:
        """What the last layer sees, (M, B, H)."""
        x = torch.cat([obs, action], dim=-1)
        if x.dim() == 2:
            x = x.expand(self._members, *x.shape)
        for layer in self.layers[:-1]:
            x = leaky_relu(layer(x), 0.01, inplace=True)
        return x


class StateMLP(MemberMLP):
    """A reward of the observation alone, r(o).

    A policy that takes one action in each state gives the other nets no way to tell whether
    people like the state or the action; a reward that credits the action sends the agent on
    a detour, or for good.

    Source: state-only rewards, Fu et al. 2018 (AIRL), arXiv 1710.11248, section 5.
    """

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        action_size: int,
        members: int,
        hidden: Sequence[int],
        generator: Generator,
    ) -> None:
        super().__init__(obs_shape, 0, members, hidden, generator)

    def features(self, obs: Tensor, action: Tensor) -> Tensor:
        return super().features(obs, action[..., :0])


class MemberConv(nn.Module):
    """M convolutions with batch norm, leaky ReLU 0.01 and dropout 0.5 side by side.

    (M, B, C, H, W) -> (M, B, C', H', W').
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, members: int, n_in: int, n_out: int, kernel: int, stride: int, generator: Generator
    ) -> None:
        super().__init__()
        weight = torch.rand(members, n_out, n_in, kernel, kernel, generator=generator) * 2 - 1
        self.weight = nn.Parameter(weight / math.sqrt(n_in * kernel**2))
        self.scale = nn.Parameter(torch.ones(members, n_out))
        self.bias = nn.Parameter(torch.zeros(members, n_out))
        self.register_buffer("running_mean", torch.zeros(members, n_out))
        self.register_buffer("running_var", torch.ones(members, n_out))
        self._stride = stride

    def forward(self, x: Tensor) -> Tensor:
        # One after the other: a convolution with a group for each member took twice as long.
        return torch.stack([self._member(m, own) for m, own in enumerate(x)])

    def _member(self, m: int, x: Tensor) -> Tensor:
        x = conv2d(x, self.weight[m], stride=self._stride)
        stats = self.running_mean[m], self.running_var[m]
        x = batch_norm(x, *stats, self.scale[m], self.bias[m], training=self.training)
        x = leaky_relu(x, 0.01, inplace=True)
        return drop_half(x) if self.training else x


def drop_half(x: Tensor) -> Tensor:
    """Dropout 0.5. One bit decides; torch's own draws a float for each, for a third of a fit."""
    bits = torch.empty(math.ceil(x.numel() / 8), dtype=torch.int64, device=x.device).random_()
    keep = bits.view(torch.uint8)[: x.numel()] & 1
    return x * (2 * keep).view(x.shape).to(x.dtype)


class MemberConvNet(nn.Module):
    """The paper's predictor for Atari: four convolutions and a hidden layer of 64.

    A reward of the picture alone.

    Source: Christiano et al. 2017, appendix A.2.
    """

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        action_size: int,
        members: int,
        hidden: Sequence[int],
        generator: Generator,
    ) -> None:
        super().__init__()
        if len(obs_shape) != 3:
            raise PrefrlError(
                f"observations are vectors {obs_shape}, and reward.net=conv takes images: choose "
                "reward.net=mlp"
            )
        self._members = members
        channels, height, width = obs_shape
        convs = []
        for kernel, stride in ((7, 3), (5, 2), (3, 1), (3, 1)):
            convs.append(MemberConv(members, channels, 16, kernel, stride, generator))
            channels = 16
            height, width = ((size - kernel) // stride + 1 for size in (height, width))
            if min(height, width) < 1:
                raise PrefrlError(
                    f"images {obs_shape} are too small for reward.net=conv: enlarge them, they "
                    "must be at least 43 by 43 pixels"
                )
        self.convs = nn.Sequential(*convs)
        sizes = [channels * height * width, *hidden, 1]
        self.layers = nn.ModuleList(
            MemberLinear(members, n_in, n_out, generator) for n_in, n_out in pairwise(sizes)
        )

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Rewards of images.

        Args:
          obs: scaled to [0, 1], (B, C, H, W), the same for all members, or (M, B, C, H, W).
          action: not looked at.
        Returns:
          (M, B).
        """
        x = obs if obs.dim() == 5 else obs.expand(self._members, *obs.shape)
        with bfloat16(x):
            x = self.convs(x)
        x = x.float().flatten(2)
        for layer in self.layers[:-1]:
            x = leaky_relu(layer(x), 0.01, inplace=True)
        rewards: Tensor = self.layers[-1](x).squeeze(-1)
        return rewards

    @torch.no_grad()
    def scale_rewards(self, factors: Tensor) -> None:
        """Multiply each member's rewards by a factor of its own, (M,)."""
        for parameter in self.layers[-1].parameters():
            parameter.mul_(factors.view(-1, 1, 1))


RewardNet = Callable[[tuple[int, ...], int, int, Sequence[int], Generator], nn.Module]

REWARD_NETS: dict[str, RewardNet] = {
    "mlp": MemberMLP,
    "state-mlp": StateMLP,
    "conv": MemberConvNet,
}
"""Builders by name: (obs_shape, action_size, members, hidden, generator) -> module."""
