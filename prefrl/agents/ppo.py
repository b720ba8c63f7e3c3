"""PPO in fewer calls for small policies: SB3's own class, its update written out.

A minibatch of a small MLP takes Stable-Baselines3 and autograd several times as long as its
arithmetic. Here the gradients are written out; what is learned is what SB3's PPO learns, rounding
apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import (
    DiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.utils import explained_variance
from torch import Tensor, nn
from torch.distributions import Normal

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class _Activation(NamedTuple):
    """An activation in place, and its input's gradient given its output's and the output."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


_ACTIVATIONS: dict[type[nn.Module], _Activation] = {
    nn.Tanh: _Activation(torch.tanh_, torch.ops.aten.tanh_backward),
    nn.ReLU: _Activation(
        torch.relu_, lambda grad, output: torch.ops.aten.threshold_backward(grad, output, 0)
    ),
}


class _MLP(NamedTuple):
    """Linear layers, an activation after each but the last."""

    layers: Sequence[nn.Linear]
    activation: _Activation

    def outputs(self, inputs: Tensor) -> list[Tensor]:
        """The inputs (B, D), and the output of each layer after them."""
        found = [inputs]
        for layer in self.layers[:-1]:
            found.append(self.activation.forward(_linear(layer, found[-1])))
        return [*found, _linear(self.layers[-1], found[-1])]

    def backward(self, outputs: Sequence[Tensor], grad_output: Tensor) -> None:
        """Write the parameters' `grad`, given the loss's gradient by the last output."""
        for number in reversed(range(len(self.layers))):
            layer, inputs = self.layers[number], outputs[number]
            assert layer.weight.grad is not None and layer.bias.grad is not None
            torch.mm(grad_output.t(), inputs, out=layer.weight.grad)
            torch.sum(grad_output, 0, out=layer.bias.grad)
            if number:
                grad_output = self.activation.backward(grad_output @ layer.weight, inputs)


class _SharedStd(NamedTuple):
    """Standard deviations of the actions that all states share: `log_std` is (A,)."""

    log_std: nn.Parameter

    def log_std_at(self, latent: Tensor) -> Tensor:
        """Log standard deviations given the actor's last hidden layer (B, L): (A,)."""
        return self.log_std

    def backward(self, grad_output: Tensor, latent: Tensor, one_over_std: Tensor) -> Tensor:
        """The loss's gradient by `log_std`, given that by `log_std_at`, (B, A)."""
        return grad_output.sum(0)


class _StateDependentStd(NamedTuple):
    """Those of noise that is linear in the last hidden layer: `log_std` is (L, A).

    Source: generalized state-dependent exploration (gSDE), Raffin et al. 2021, arXiv 2005.05719.
    """

    log_std: nn.Parameter
    min_variance: float

    def log_std_at(self, latent: Tensor) -> Tensor:
        """Log standard deviations given the actor's last hidden layer (B, L): (B, A)."""
        variance = latent.square() @ self._variances()
        return 0.5 * (variance + self.min_variance).log()

    def backward(self, grad_output: Tensor, latent: Tensor, one_over_std: Tensor) -> Tensor:
        """The loss's gradient by `log_std`, given that by `log_std_at`, (B, A)."""
        return latent.square().t() @ (grad_output * one_over_std.square()) * self._variances()

    def _variances(self) -> Tensor:
        return (2 * self.log_std).exp()


class _GaussianMLPs(NamedTuple):
    """Actor and critic without a shared layer, and the actions' standard deviations."""

    actor: _MLP
    critic: _MLP
    std: _SharedStd | _StateDependentStd


def _log_prob(deviations: Tensor, log_std: Tensor) -> Tensor:
    """Log-probability of actions, by their distance in standard deviations, (B, A) -> (B,)."""
    constant = log_std.sum(-1) + _HALF_LOG_2PI * log_std.shape[-1]
    return -0.5 * deviations.square().sum(1) - constant


def gaussian_mlps(policy: ActorCriticPolicy) -> _GaussianMLPs | None:
    """The nets of a policy that consists of nothing else; None for any other policy."""
    std = _std(policy)
    activation = _ACTIVATIONS.get(policy.activation_fn)
    plain = (
        isinstance(policy.features_extractor, FlattenExtractor)
        and isinstance(policy.observation_space, spaces.Box)
        and policy.device.type == "cpu"
    )
    if std is None or activation is None or not plain:
        return None
    hidden = policy.mlp_extractor
    actor = _linear_layers([*hidden.policy_net, policy.action_net])
    critic = _linear_layers([*hidden.value_net, policy.value_net])
    nets = _GaussianMLPs(_MLP(actor, activation), _MLP(critic, activation), std)
    known = {id(p) for layer in [*actor, *critic] for p in layer.parameters()}
    known.add(id(std.log_std))
    return nets if known == {id(p) for p in policy.parameters()} else None


def _std(policy: ActorCriticPolicy) -> _SharedStd | _StateDependentStd | None:
    """None for actions of another distribution."""
    match policy.action_dist:
        case DiagGaussianDistribution():
            return _SharedStd(policy.log_std)
        case StateDependentNoiseDistribution(
            full_std=True, use_expln=False, learn_features=False, bijector=None, epsilon=epsilon
        ):
            return _StateDependentStd(policy.log_std, min_variance=epsilon)
    return None


def check_finite(mean_actions: Tensor, log_std: Tensor) -> None:
    """Raises ValueError where a number is not finite."""
    if not math.isfinite(float(mean_actions.detach().sum() + log_std.detach().sum())):
        raise ValueError(
            "the policy's actions are not finite numbers: lower the agent's learning rate"
        )


class Gaussian(DiagGaussianDistribution):
    """SB3's Gaussian, checked once: torch checks each number of it three times.

    That took a tenth of the time in which a small policy chooses its actions.
    """

    def proba_distribution(self, mean_actions: Tensor, log_std: Tensor) -> Gaussian:
        """Raises ValueError where a number is not finite."""
        check_finite(mean_actions, log_std)
        std = torch.ones_like(mean_actions) * log_std.exp()
        self.distribution = Normal(mean_actions, std, validate_args=False)
        return self


def check_once(policy: BasePolicy) -> None:
    """Give a policy whose actions are Gaussian, as SB3 has them, the Gaussian that checks once."""
    own: Any = policy
    if type(getattr(own, "action_dist", None)) is DiagGaussianDistribution:
        own.action_dist = Gaussian(own.action_dist.action_dim)


class FastPolicy(ActorCriticPolicy):
    """SB3's policy for vectors; Gaussian ones of MLPs choose their actions in fewer calls."""

    @cached_property
    def _nets(self) -> _GaussianMLPs | None:
        return gaussian_mlps(self)

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (B, *A), values (B, 1) and log-probabilities (B,) of observations (B, *O).

        Raises:
          ValueError: the actions are not finite numbers.
        """
        if self._nets is None:
            return super().forward(obs, deterministic)
        inputs = obs.flatten(1).float()
        *_, latent, mean = self._nets.actor.outputs(inputs)
        check_finite(mean, self.log_std)
        log_std = self._nets.std.log_std_at(latent)
        if deterministic:
            deviations = torch.zeros_like(mean)
        elif isinstance(self.action_dist, StateDependentNoiseDistribution):
            deviations = self.action_dist.get_noise(latent) * torch.exp(-log_std)
        else:
            deviations = torch.randn_like(mean)
        actions = torch.addcmul(mean, deviations, log_std.exp())
        values = self._nets.critic.outputs(inputs)[-1]
        shape: Any = self.action_space.shape
        return actions.reshape(-1, *shape), values, _log_prob(deviations, log_std)


class FastPPO(PPO):
    """PPO; Gaussian policies of MLPs are updated without autograd.

    Others (images, discrete observations or actions, a GPU), and a clipped value or a limit on the
    divergence, are updated by SB3.

    Source: Schulman et al. 2017, arXiv 1707.06347, equations 7 and 9.
    """

    policy: ActorCriticPolicy

    def train(self) -> None:
        """Update the policy with what the rollout buffer holds."""
        nets = gaussian_mlps(self.policy)
        if nets is None or self.clip_range_vf is not None or self.target_kl is not None:
            super().train()
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range: Callable[[float], float] = self.clip_range  # type: ignore[assignment]
        clip = clip_range(self._current_progress_remaining)
        gradient = _one_gradient(self.policy.parameters())
        seen: list[_Seen] = []
        with torch.no_grad():
            for _ in range(self.n_epochs):
                (rollout,) = self.rollout_buffer.get()  # all of it, shuffled
                for parts in zip(*(torch.split(x, self.batch_size) for x in rollout), strict=True):
                    seen.append(self._step(nets, gradient, RolloutBufferSamples(*parts), clip))
        self._n_updates += self.n_epochs
        self._record(seen, nets.std.log_std, clip)

    def _step(
        self, nets: _GaussianMLPs, gradient: Tensor, batch: RolloutBufferSamples, clip: float
    ) -> _Seen:
        """One step of the optimizer down the gradient of one minibatch."""
        obs, n = batch.observations.flatten(1).float(), len(batch.observations)
        actor, critic = nets.actor.outputs(obs), nets.critic.outputs(obs)
        *_, latent, mean = actor
        log_std = nets.std.log_std_at(latent)
        one_over_std = torch.exp(-log_std)
        deviations = (batch.actions - mean) * one_over_std
        log_ratio = _log_prob(deviations, log_std) - batch.old_log_prob
        ratio = log_ratio.exp()
        advantages = self._normalised(batch.advantages)
        gain = advantages * ratio
        objective = torch.min(gain, advantages * ratio.clamp(1 - clip, 1 + clip))
        errors = critic[-1] - batch.returns.unsqueeze(1)

        # Gradients of the loss, from the end to the parameters.
        by_log_prob = torch.where(gain == objective, gain, 0.0).unsqueeze(1) / -n
        by_mean = by_log_prob * deviations  # in standard deviations
        nets.actor.backward(actor, by_mean * one_over_std)
        nets.critic.backward(critic, errors * (2 * self.vf_coef / n))
        by_log_std = by_mean * deviations - by_log_prob - self.ent_coef / n
        std = nets.std
        assert std.log_std.grad is not None
        std.log_std.grad.copy_(std.backward(by_log_std, latent, one_over_std))
        norm = torch.linalg.vector_norm(gradient)
        gradient.mul_((self.max_grad_norm / (norm + 1e-6)).clamp_(max=1.0))
        entropy = log_std.sum(-1).mean().reshape(1) + (0.5 + _HALF_LOG_2PI) * mean.shape[1]
        self.policy.optimizer.step()
        return _Seen(objective, log_ratio, errors, entropy)

    def _normalised(self, advantages: Tensor) -> Tensor:
        if not self.normalize_advantage or len(advantages) < 2:
            return advantages
        std, mean = torch.std_mean(advantages)
        return (advantages - mean) / (std + 1e-8)

    def _record(self, seen: Sequence[_Seen], log_std: Tensor, clip: float) -> None:
        """What SB3 writes down: means over what the minibatches held, "loss" of the last one."""
        objective, log_ratio, errors, entropy = (
            torch.cat(kind) for kind in zip(*seen, strict=True)
        )
        ratio = log_ratio.exp()
        last_pass = slice(-(len(log_ratio) // self.n_epochs), None)
        buffer, end = self.rollout_buffer, seen[-1]
        loss = self.vf_coef * end.errors.square().mean() - end.objective.mean()
        for name, value in (
            ("entropy_loss", -entropy.mean()),
            ("policy_gradient_loss", -objective.mean()),
            ("value_loss", errors.square().mean()),
            ("approx_kl", (ratio - 1 - log_ratio)[last_pass].mean()),
            ("clip_fraction", ((ratio - 1).abs() > clip).float().mean()),
            ("loss", loss - self.ent_coef * end.entropy),
            (
                "explained_variance",
                explained_variance(buffer.values.ravel(), buffer.returns.ravel()),
            ),
            ("std", log_std.detach().exp().mean()),
            ("clip_range", clip),
        ):
            self.logger.record(f"train/{name}", float(value))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


class _Seen(NamedTuple):
    """Of one minibatch: what is reported afterwards.

    Attributes:
      objective, log_ratio: (B,).
      errors: of the values, (B, 1).
      entropy: of the policy, (1,).
    """

    objective: Tensor
    log_ratio: Tensor
    errors: Tensor
    entropy: Tensor


def _linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
    return torch.addmm(layer.bias, inputs, layer.weight.t())


def _linear_layers(modules: Iterable[nn.Module]) -> list[nn.Linear]:
    return [module for module in modules if isinstance(module, nn.Linear)]


def _one_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """One vector, whose parts are the parameters' gradients: its norm is that of them all."""
    parameters = list(parameters)
    gradient = torch.zeros(sum(p.numel() for p in parameters))
    for part, parameter in zip(
        torch.split(gradient, [p.numel() for p in parameters]), parameters, strict=True
    ):
        parameter.grad = part.view_as(parameter)
    return gradient
