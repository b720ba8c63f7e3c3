"""What segments teach a reward about which nobody was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from numpy.random import Generator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prefrl.files import whole_file
from prefrl.reward.batches import in_part, returns_of
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.losses import bradley_terry_loss
from prefrl.types import Array, Segment

KEPT = 1000
"""Segments, the latest ones."""


class Unlabelled:
    """The latest segments, encoded.

    Args:
      encode: (obs, actions) -> (..., D).
    """

    def __init__(self, encode: Callable[[Array, Array], Tensor]) -> None:
        self._encode = encode
        self._inputs: Tensor | None = None

    @property
    def inputs(self) -> Tensor | None:
        """(K, T, D); None before there are any."""
        return self._inputs

    def add(self, segments: Sequence[Segment]) -> None:
        """Take in new ones; the oldest make room."""
        if not segments:
            return
        new = torch.stack([self._encode(s.obs, s.actions) for s in segments])
        known = new[:0] if self._inputs is None else self._inputs
        self._inputs = torch.cat([known, new])[-KEPT:].clone()

    def save(self, path: Path) -> None:
        """In one step: a reader sees the old file or the new one."""
        if self._inputs is not None:
            with whole_file(path) as part:
                save_file({"segments": self._inputs}, part)


def load_unlabelled(path: Path) -> Tensor | None:
    """What `Unlabelled.save` wrote; None where it has not."""
    return load_file(path)["segments"] if path.exists() else None


def pseudo_label_loss(
    ensemble: RewardEnsemble,
    segments: Tensor,
    n: int,
    confidence: float,
    crop: float,
    noise: float,
    rng: Generator,
) -> Tensor:
    """Members learn what they are sure of already, from other stretches of the same segments.

    Args:
      segments: encoded, (K, T, D).
      n: pairs for each member, at random.
      confidence: least probability that a member's calibrated choice must have to be its answer.
      crop: see `in_part`.
    Returns:
      Mean loss of a pair, summed over members; pairs without an answer count as 0.
    Source: Park et al. 2022 (SURF), arXiv 2203.10050, section 4.1.
    """
    pairs = torch.as_tensor(rng.integers(len(segments), size=(ensemble.n_members, n, 2)))
    whole = segments[pairs]  # (M, n, 2, T, D)
    with torch.no_grad(), _as_it_predicts(ensemble.net):
        left, right = returns_of(ensemble, whole).unbind(-1)
    difference = (left - right) / ensemble.temperature
    sure = torch.sigmoid(difference.abs()) >= confidence
    own = torch.arange(ensemble.n_members * n).reshape(ensemble.n_members, n)
    part, each = in_part(whole.flatten(0, 1), own, 0, crop, rng)
    returns = each * returns_of(ensemble, part)
    losses = bradley_terry_loss(returns[..., 0], returns[..., 1], (difference > 0).float(), noise)
    return (losses * sure).sum() / n


@contextmanager
def _as_it_predicts(net: nn.Module) -> Iterator[None]:
    """Without dropout, and with the batch norms' running statistics, amid a fit."""
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


def dynamics_loss(ensemble: RewardEnsemble, segments: Tensor, n: int, rng: Generator) -> Tensor:
    """Error with which each member's features predict the next observation.

    Args:
      segments: encoded, (K, T, D).
      n: segments for each member, of which it gets one step each.
    Returns:
      Mean squared error in units of the observations' spread, summed over members.
    Source: dynamics as an auxiliary task, Metcalf et al. 2024 (REED), arXiv 2402.17975, section 4;
    there features of it are predicted, here the change of the observation itself.
    """
    size = (ensemble.n_members, n)
    which = torch.as_tensor(rng.integers(len(segments), size=size))
    step = torch.as_tensor(rng.integers(segments.shape[1] - 1, size=size))
    now, after = segments[which, step], segments[which, step + 1]  # (M, n, D)
    return ensemble.dynamics_error(now, after).mean((1, 2)).sum()
