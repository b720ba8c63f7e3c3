"""The reward ensemble: members that agree where they have been told, and differ elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Generator, Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from prefrl.files import whole_file
from prefrl.names import choose
from prefrl.precision import to_working_type
from prefrl.reward.nets import REWARD_NETS, MemberLinear, MemberMLP
from prefrl.spaces import check_spaces, flat, net_shape, to_vectors, vector_size
from prefrl.types import Array, MachineError, PrefrlError, Segment

_CHUNK, _CHUNK_VALUES = 2048, 2**22  # rows scored at once: larger batches fall out of the cache
_SUMMARY_STEPS = 8  # steps of a segment that stand for it where pairs are compared
_SUMMARY_PIXELS = 6  # height and width of a picture that stands for a larger one


class RewardEnsemble(nn.Module):
    """Reward predictors r_m(o, a), their mean the agent's reward.

    Source: Christiano et al. 2017, section 2.2.3.

    Of images the reward is of the observation alone, r_m(o), as in the paper.

    It computes on the device that `.to(...)` puts it on, and takes what it is asked about from
    anywhere.

    Args:
      observation_space, action_space: Box or Discrete; images are (C, H, W) of uint8.
      n_members: predictors.
      net: a name in REWARD_NETS, or "auto": "conv" for images, else "mlp".
      hidden: sizes of the hidden layers.
      output_std: standard deviation of each member's reward on the reference batch.
      generator: draws the initial weights.
      predicts_dynamics: its features also predict the next observation, see `dynamics_error`.
      l2: where each member's L2 coefficient begins; 0 never becomes more.
    """

    input_mean: Tensor
    input_std: Tensor
    reward_mean: Tensor
    reward_std: Tensor
    temperature: Tensor
    fitted: Tensor
    informed: Tensor
    guessing: Tensor
    l2: Tensor
    dynamics_head: nn.Module

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        n_members: int = 3,
        net: str = "auto",
        hidden: Sequence[int] = (64, 64),
        output_std: float = 1.0,
        generator: Generator | None = None,
        predicts_dynamics: bool = False,
        l2: float = 1e-4,
    ) -> None:
        super().__init__()
        check_spaces("the environment", observation_space, action_space)
        self.observation_space = observation_space
        self.action_space = action_space
        self.n_members = n_members
        self.output_std = output_std
        self._first_l2 = l2
        self._obs_shape = net_shape(observation_space)
        self._obs_size = math.prod(self._obs_shape)
        self._images = len(self._obs_shape) > 1
        action_size = 0 if self._images else vector_size(action_space)
        self.predicts_dynamics = predicts_dynamics
        kind = ("conv" if self._images else "mlp") if net == "auto" else net
        build = choose(REWARD_NETS, kind, "reward net")
        generator = generator or Generator().manual_seed(0)
        self.net = build(self._obs_shape, action_size, n_members, hidden, generator)
        if predicts_dynamics:
            if not hasattr(self.net, "features"):
                raise PrefrlError(
                    f"reward net {kind} has no features of vectors, and cannot predict dynamics: "
                    "take mlp or state-mlp, or leave reward.dynamics (predicts_dynamics) at its "
                    "default"
                )
            known = hidden[-1] + action_size
            self.dynamics_head = MemberLinear(n_members, known, self._obs_size, generator)
        scales = 1 if self._images else self._obs_size + action_size
        self.register_buffer("input_mean", torch.zeros(scales))
        self.register_buffer("input_std", torch.zeros(scales))
        self.register_buffer("reward_mean", torch.zeros(n_members, 1))
        self.register_buffer("reward_std", torch.ones(n_members, 1))
        self.register_buffer("temperature", torch.ones(()))
        # Whether a fit came to its end: one that was interrupted starts again.
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        # Whether it predicts held-out answers well enough: before that, members that agree may
        # agree on P = 1/2, and the gate has to stay open.
        self.register_buffer("informed", torch.zeros((), dtype=torch.bool))
        # Whether held-out answers, enough of them, say that it is not worth following.
        self.register_buffer("guessing", torch.zeros((), dtype=torch.bool))
        self.register_buffer("l2", torch.full((n_members,), l2))
        self._first = {
            name: value.clone()
            for name, value in self.state_dict().items()
            if name.startswith(("net.", "dynamics_head."))
        }
        self.updates = 0
        """Counts fits and loads."""
        self.disagreement_weight = 0.0
        """Weight of the members' standard deviation in `predict`."""
        self.eval()

    @property
    def device(self) -> torch.device:
        return self.input_std.device

    def encode(self, obs: Array, actions: Array) -> Tensor:
        """Raw observations and actions as the rows the net is fed, before scaling.

        Args:
          obs, actions: (..., *shape).
        Returns:
          (..., D), on the CPU; of images the pixels alone, as bytes.
        """
        if self._images:
            return flat(self.observation_space, torch.as_tensor(obs))
        o = to_vectors(self.observation_space, torch.as_tensor(obs))
        a = to_vectors(self.action_space, torch.as_tensor(actions))
        return torch.cat([o, a], dim=-1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Each member's own reward, in the units of its loss.

        Args:
          inputs: encoded, (B, D), or (M, B, D) with a batch for each member.
        Returns:
          (M, B), on the ensemble's device.
        """
        rewards: Tensor = self.net(*self._scaled(inputs))
        return rewards

    def returns(self, segments: Tensor) -> Tensor:
        """Each member's own undiscounted return, in the units of its loss.

        A last layer that is linear sees the mean of a segment's steps: when it saw each of them, it
        took a third of a step of a fit.

        Args:
          segments: encoded, (M, N, T, D).
        Returns:
          (M, N), on the ensemble's device.
        """
        members, n, steps, _ = segments.shape
        inputs = segments.flatten(1, 2)
        if not (isinstance(self.net, MemberMLP) and type(self.net).forward is MemberMLP.forward):
            rewards: Tensor = self(inputs)
            return rewards.view(members, n, steps).sum(-1)
        features = self.net.features(*self._scaled(inputs))
        features = features.view(members, n, steps, features.shape[-1])
        return steps * self.net.rewards(features.mean(2))

    def _scaled(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the net takes: observations in their shape, and actions."""
        inputs = inputs.to(self.device)
        if self._images:
            x = to_working_type(inputs)
            x = x / self.input_std.to(x.dtype)
        else:
            x = (inputs - self.input_mean) / self.input_std
        obs, action = x[..., : self._obs_size], x[..., self._obs_size :]
        return obs.reshape(*obs.shape[:-1], *self._obs_shape), action

    def dynamics_error(self, now: Tensor, after: Tensor) -> Tensor:
        """Squared error of each member's prediction of the next change of the observation.

        Args:
          now, after: encoded, consecutive steps, (M, B, D).
        Returns:
          (M, B, O), in units of each number's spread.
        """
        (obs, action), (next_obs, _) = self._scaled(now), self._scaled(after)
        net: Any = self.net
        features = net.features(obs, action)
        change = self.dynamics_head(torch.cat([features, action], dim=-1))
        errors: Tensor = (change - (next_obs - obs)).square()
        return errors

    @property
    def knows_inputs(self) -> bool:
        return bool((self.input_std > 0).all())

    @torch.no_grad()
    def set_inputs(self, inputs: Tensor) -> None:
        """Fix the input scaling, once, on the first comparisons.

        It never moves afterwards: a net that sees drifting inputs forgets what it learned. A
        number that moves by 1e-3 or less counts in its own unit, as does one that stands still:
        scaled by so little, it would drown all others once it moves.
        """
        if self._images:
            self.input_std.fill_(255)  # pixels become numbers from 0 to 1
            return
        rows = inputs.reshape(-1, inputs.shape[-1])
        self.input_mean.copy_(rows.mean(0))
        std = rows.std(0)
        self.input_std.copy_(torch.where(std > 1e-3, std, torch.ones_like(std)))

    def reset_weights(self) -> None:
        """Reset what was fitted, but not the scaling of the inputs."""
        self.load_state_dict(self._first, strict=False)
        self.l2.fill_(self._first_l2)
        self.fitted.fill_(False)

    @torch.no_grad()
    def set_scale(self, inputs: Tensor) -> None:
        """Give each member mean 0 and its standard deviation on a reference batch.

        Args:
          inputs: encoded reference steps, (..., D).
        Source: Christiano et al. 2017, section 2.2.1 and 2.2.3.
        """
        rewards = self._score(inputs.reshape(-1, inputs.shape[-1]))
        self.reward_mean.copy_(rewards.mean(1, keepdim=True))
        self.reward_std.copy_(rewards.std(1, keepdim=True).clamp_min(1e-8) / self.output_std)
        self.updates += 1

    @torch.no_grad()
    def predict(self, obs: Array, actions: Array) -> Array:
        """The agent's reward: the mean of the members' normalised rewards; 0 while guessing.

        Plus `disagreement_weight` times their standard deviation.

        Args:
          obs, actions: raw, (..., *shape).
        Returns:
          (...), float32.
        """
        inputs = self.encode(obs, actions)
        if self.guessing:
            return np.zeros(inputs.shape[:-1], dtype=np.float32)
        rewards = self._score(inputs.reshape(-1, inputs.shape[-1]))
        normalised = (rewards - self.reward_mean) / self.reward_std
        mean = normalised.mean(0)
        if self.disagreement_weight:
            mean = mean + self.disagreement_weight * normalised.std(0, correction=0)
        rewards_: Array = mean.reshape(inputs.shape[:-1]).numpy(force=True)
        return rewards_

    @torch.no_grad()
    def member_returns(self, segments: Sequence[Segment]) -> Array:
        """Calibrated segment returns: P(left > right) is the sigmoid of a difference.

        Returns:
          (M, N), undiscounted sums of reward divided by the fitted temperature.
        """
        obs = np.stack([s.obs for s in segments])
        actions = np.stack([s.actions for s in segments])
        inputs = self.encode(obs, actions)  # (N, T, D)
        rewards = self._score(inputs.reshape(-1, inputs.shape[-1]))
        returns = rewards.reshape(self.n_members, *inputs.shape[:2]).sum(-1)
        calibrated: Array = (returns / self.temperature).numpy(force=True)
        return calibrated

    @torch.no_grad()
    def segment_summaries(self, segments: Sequence[Segment]) -> Array:
        """Vectors that describe segments where pairs are compared: scaled inputs at a few steps.

        Returns:
          (N, F).
        """
        steps = np.linspace(0, len(segments[0]) - 1, _SUMMARY_STEPS).astype(int)
        obs = np.stack([s.obs[steps] for s in segments])
        actions = np.stack([s.actions[steps] for s in segments])
        inputs = (self.encode(obs, actions).to(self.device) - self.input_mean) / self.input_std
        if self._images:
            pictures = inputs.reshape(-1, *self._obs_shape)
            inputs = adaptive_avg_pool2d(pictures, _SUMMARY_PIXELS)
        summaries: Array = inputs.reshape(len(segments), -1).numpy(force=True)
        return summaries

    def _score(self, inputs: Tensor) -> Tensor:
        if not self.knows_inputs:  # nothing learned yet: nothing is better than anything else
            return torch.zeros(self.n_members, len(inputs), device=self.device)
        rows = max(1, min(_CHUNK, _CHUNK_VALUES // inputs.shape[-1]))
        return torch.cat([self(chunk) for chunk in torch.split(inputs, rows)], dim=1)

    def save(self, path: str | Path, **notes: str) -> None:
        """Weights as safetensors, in one step: a reader sees the old file or the new one."""
        with whole_file(Path(path)) as part:
            # By Python's own means: safetensors writes files that nobody else may read.
            part.write_bytes(save({k: v.contiguous() for k, v in self.state_dict().items()}, notes))

    def load(self, path: str | Path) -> None:
        """Weights from `save`.

        Raises:
          MachineError: the file is damaged or belongs to another ensemble.
        """
        try:
            self.load_state_dict(load_file(path))
            self.updates += 1
        except (SafetensorError, RuntimeError, OSError) as error:
            raise MachineError(f"{path} holds no reward ensemble of this shape: {error}") from None
