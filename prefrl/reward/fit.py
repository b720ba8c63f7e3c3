"""Fitting the ensemble to comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, TypedDict

import torch
from numpy.random import Generator
from torch import Tensor

from prefrl.reward import doubts
from prefrl.reward.batches import (
    in_part,
    indices,
    minibatches,
    predicted_differences,
    predicted_returns,
    returns_of,
    rows,
)
from prefrl.reward.calibration import HeldOut, judge
from prefrl.reward.dataset import ComparisonData
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.losses import bradley_terry_loss, masked_loss, masked_mean
from prefrl.reward.transitive import implied_by_drawn, transitive_loss
from prefrl.reward.unlabelled import dynamics_loss, pseudo_label_loss
from prefrl.types import Array

OVERFIT_HIGH, OVERFIT_LOW = 1.5, 1.1
"""Held-out loss after an epoch over the training loss during it: over the first L2 rises, under the
second it falls, to bring it between them (Christiano et al. 2017, section 2.2.3)."""
_TRAIN_SAMPLE = 256  # of each member's own comparisons, on which its training loss is reported
_BEGIN_SAMPLE = 32  # of each member's comparisons, on which an untrained net is scaled
_L2_STEP, _MIN_L2, _MAX_L2 = 1.5, 1e-6, 1e-1
WORTH_PARTING = 1.5
"""Times `refit_part` comparisons, up to which a refit looks at all of them."""


class FitMetrics(TypedDict):
    """What a fit reports: means over members, of held-out pairs where it says so.

    Attributes:
      comparisons: those it looked at.
      decided: share of their answers that are no ties.
    """

    comparisons: int
    decided: float
    heldout_accuracy: float
    heldout_nll: float
    train_nll: float
    temperature: float
    epochs: int
    guessing: bool


@dataclass(frozen=True)
class FitSettings:
    """How long and how fast to fit; the meanings are those of RewardConfig."""

    noise: float = 0.1
    learning_rate: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 40
    refit_epochs: int = 4
    refit_part: int = 1000
    patience: int = 5
    sampled_steps: int = 0
    crop: float = 1.0
    pseudo_labels: float = 0.0
    dynamics: float = 0.0
    transitive: bool = False
    doubt: bool = False
    restart: bool = False
    target: str = "comparisons"

    @property
    def learns_unlabelled(self) -> bool:
        """Whether segments that nobody was asked about teach anything."""
        return self.pseudo_labels > 0 or self.dynamics > 0


def fit(
    ensemble: RewardEnsemble,
    data: ComparisonData,
    settings: FitSettings,
    rng: Generator,
    unlabelled: Tensor | None = None,
    new: int = 0,
) -> FitMetrics:
    """Fit every member to its own bootstrap of the comparisons, from where it stands.

    An epoch ends with the held-out loss, which steers the L2 coefficient of each member and
    stops the fit; the best epoch is kept. Afterwards the temperature is calibrated and the
    members are normalised, both on what the comparisons hold. Where true returns are learned, the
    held-out loss is their mean squared error; what is reported is of the answers all the same.

    A fit that goes on from the one before looks at a part of many comparisons, drawn each
    time, so that one more answer costs as much after ten thousand as after one thousand.

    A fit that is interrupted leaves the ensemble as it was.

    Args:
      unlabelled: encoded segments for the settings that learn from such, (K, T, D).
      new: how many of the newest comparisons no fit has looked at.
    Source: Christiano et al. 2017, section 2.2.3.
    """
    looked_at = _looked_at(ensemble, data, settings, rng, new)
    with _whole_or_not_at_all(ensemble):
        return _fit(ensemble, looked_at, data.reference, settings, rng, unlabelled)


def _fit(
    ensemble: RewardEnsemble,
    data: ComparisonData,
    reference: Tensor,
    settings: FitSettings,
    rng: Generator,
    unlabelled: Tensor | None,
) -> FitMetrics:
    doubted = settings.doubt and bool(ensemble.informed)
    task, follows = _task_of(ensemble, data, settings, doubted)
    if settings.restart:  # not before its last fit has judged the answers
        ensemble.reset_weights()
    beside = _Beside(unlabelled, follows)
    differences, epochs = _epochs(ensemble, task, settings, rng, beside)
    ensemble.set_scale(reference)
    believed = task.held_out(differences)
    ensemble.temperature.fill_(believed.temperature)
    answers = _given(ensemble, data, settings) if doubted else believed
    verdict = judge(answers, float(ensemble.temperature))
    ensemble.informed.fill_(verdict.informed)
    ensemble.guessing.fill_(verdict.guessing)
    ensemble.fitted.fill_(True)
    sample = task.drawn[:, :: math.ceil(task.drawn.shape[1] / _TRAIN_SAMPLE)]
    calibrated = predicted_differences(ensemble, task.inputs, sample) / ensemble.temperature
    return FitMetrics(
        comparisons=len(task.p_left),
        decided=float((data.p_left != 0.5).float().mean()),
        heldout_accuracy=verdict.accuracy,
        heldout_nll=verdict.nll,
        train_nll=float(masked_loss(calibrated, task.p_left, task.weights > 0, sample).nanmean()),
        temperature=float(ensemble.temperature),
        epochs=epochs,
        guessing=verdict.guessing,
    )


class _Beside(NamedTuple):
    """What teaches besides the answers.

    Attributes:
      unlabelled: encoded segments, (K, T, D).
      implied: of each member, pairs that follow from its answers.
    """

    unlabelled: Tensor | None
    implied: list[Array]

    def loss(
        self,
        ensemble: RewardEnsemble,
        inputs: Tensor,
        n: int,
        settings: FitSettings,
        rng: Generator,
    ) -> Tensor | float:
        """Summed over members, of n pairs or segments of each kind for each of them."""
        s, unlabelled = settings, self.unlabelled
        loss = transitive_loss(ensemble, inputs, self.implied, n, s.noise, rng)
        if unlabelled is not None and s.pseudo_labels and ensemble.fitted:
            loss = loss + pseudo_label_loss(
                ensemble, unlabelled, n, s.pseudo_labels, s.crop, s.noise, rng
            )
        if unlabelled is not None and s.dynamics:
            loss = loss + s.dynamics * dynamics_loss(ensemble, unlabelled, n, rng)
        return loss


class _Task(NamedTuple):
    """Comparisons, and which of them each member learns from.

    Attributes:
      inputs, p_left: of all comparisons, (N, 2, T, D) and (N,).
      weights: how often each member drew each of them, (M, N).
      drawn, heldout: indices of those that it drew, and of those that it did not, (M, K).
      true_returns: of both segments, scaled, (N, 2), where these are learned and not the answers.
    """

    inputs: Tensor
    p_left: Tensor
    weights: Tensor
    drawn: Tensor
    heldout: Tensor
    true_returns: Tensor | None

    def held_out(self, differences: Tensor) -> HeldOut:
        """What was held out, with what members predict for it, (M, K); on the CPU."""
        every = differences, self.p_left, self.weights == 0, self.heldout
        return HeldOut(*(tensor.cpu() for tensor in every))

    def losses(self, predicted: Tensor, index: Tensor, noise: float) -> Tensor:
        """How wrong predicted returns (M, B, 2) of the comparisons at `index` (M, B) are, (M, B).

        Source: squared errors of returns, Christiano et al. 2017, section 3.3, "target".
        """
        if self.true_returns is not None:
            return (predicted - self.true_returns[index]).square().mean(-1)
        left, right = predicted.unbind(-1)
        return bradley_terry_loss(left, right, self.p_left[index], noise)


def _looked_at(
    ensemble: RewardEnsemble, data: ComparisonData, settings: FitSettings, rng: Generator, new: int
) -> ComparisonData:
    """All comparisons, or a part of them where it goes on from an earlier fit to many."""
    part = settings.refit_part
    from_the_start = settings.restart or not ensemble.fitted
    if from_the_start or not part or len(data) <= WORTH_PARTING * part:
        return data
    return data.part(part, new, rng)


def _given(ensemble: RewardEnsemble, data: ComparisonData, settings: FitSettings) -> HeldOut:
    """Held-out answers as they were given, the doubted ones too, and what is predicted of them.

    Of those that members believe, they would be right by their own judgement.
    """
    task, _ = _task_of(ensemble, data, replace(settings, transitive=False), doubted=False)
    return task.held_out(predicted_differences(ensemble, task.inputs, task.heldout))


def _task_of(
    ensemble: RewardEnsemble, data: ComparisonData, settings: FitSettings, doubted: bool
) -> tuple[_Task, list[Array]]:
    """What the members are to learn, and what follows from it for each of them.

    Args:
      doubted: answers that they find very unlikely are left out, or flipped.
    """
    inputs, p_left = _near(data.inputs, ensemble.device), data.p_left.to(ensemble.device)
    if not ensemble.knows_inputs:
        ensemble.set_inputs(inputs)
    weights = torch.as_tensor(data.bootstrap_weights(ensemble.n_members)).T.to(p_left)
    kept = torch.ones_like(p_left, dtype=torch.bool)
    if doubted:
        every = torch.arange(len(p_left), device=p_left.device).expand_as(weights)
        calibrated = predicted_differences(ensemble, inputs, every) / ensemble.temperature
        p_left, kept = doubts.believed(calibrated, weights == 0, p_left)
        inputs, p_left, weights = rows(inputs, kept), p_left[kept], weights[:, kept]
    follows: list[Array] = []
    if settings.transitive:
        follows = implied_by_drawn(data.sides[_numpy(kept)], _numpy(p_left), _numpy(weights))
    drawn, heldout = indices(weights > 0), indices(weights == 0)
    true_returns = None
    if settings.target == "returns":
        true_returns = data.standard_returns.to(p_left.device)[kept]
    return _Task(inputs, p_left, weights, drawn, heldout, true_returns), follows


def _epochs(
    ensemble: RewardEnsemble,
    task: _Task,
    settings: FitSettings,
    rng: Generator,
    beside: _Beside,
) -> tuple[Tensor, int]:
    """Train until the held-out loss falls no more; the best epoch's weights are kept.

    Returns:
      What these predict for `task.heldout`, left minus right returns, (M, K); and the epochs.
    """
    inputs, weights, drawn, heldout = task.inputs, task.weights, task.drawn, task.heldout
    if not ensemble.fitted:
        _begin_within_reach(ensemble, inputs, drawn, rng)
    max_epochs = settings.refit_epochs if ensemble.fitted else settings.max_epochs
    optimizer = torch.optim.Adam(ensemble.parameters(), settings.learning_rate, fused=True)
    best_loss, best_net, stale, epochs = math.inf, _copy(ensemble.net), 0, 0
    best_differences = torch.zeros(heldout.shape, device=weights.device)  # it knows nothing yet
    for epochs in range(1, max_epochs + 1):  # noqa: B007 - returned below
        total = torch.zeros(len(weights), device=weights.device)
        with _training(ensemble.net, rng, weights.device):
            for index in minibatches(drawn, weights, settings.batch_size, rng):
                batch, each = in_part(inputs, index, settings.sampled_steps, settings.crop, rng)
                more = beside.loss(ensemble, inputs, index.shape[1], settings, rng)
                predicted = each * returns_of(ensemble, batch)
                weight = weights.gather(1, index)
                losses = task.losses(predicted, index, settings.noise) * weight
                mean = losses.sum(1) / weight.sum(1).clamp_min(1)
                _step(ensemble, optimizer, mean.sum() + more)
                total += losses.detach().sum(1)
        train = total / weights.sum(1)
        after = predicted_returns(ensemble, inputs, heldout)
        held = masked_mean(task.losses(after, heldout, settings.noise), weights == 0, heldout)
        _adapt_l2(ensemble.l2, held, train)
        # A handful of answers may leave a member none to be judged by but its own.
        heldout_loss = float(torch.where(held.isnan(), train, held).mean())
        if heldout_loss < best_loss - 1e-4:
            best_loss, best_net, stale = heldout_loss, _copy(ensemble.net), 0
            best_differences = after[..., 0] - after[..., 1]
        else:
            stale += 1
            if stale >= settings.patience:
                break
    ensemble.net.load_state_dict(best_net)
    return best_differences, epochs


def _begin_within_reach(
    ensemble: RewardEnsemble, inputs: Tensor, drawn: Tensor, rng: Generator
) -> None:
    """Scale an untrained net of images down until segments differ by 1.

    Those that differ by 10 and more, as 25 steps of it can, have no gradient left in a loss that
    takes some answers for random: 856 answers about Enduro were learned no better than guessed.
    """
    scale_rewards = getattr(ensemble.net, "scale_rewards", None)
    if scale_rewards is None:
        return
    sample = rows(inputs, drawn[:, :_BEGIN_SAMPLE])
    with torch.no_grad(), _training(ensemble.net, rng, drawn.device):
        returns = returns_of(ensemble, sample)
    spread = (returns[..., 0] - returns[..., 1]).std(1)
    scale_rewards(1 / spread.nan_to_num(1.0).clamp_min(1.0))


def _near(inputs: Tensor, device: torch.device) -> Tensor:
    """The inputs on a GPU that has room for them and as much again; else each batch goes there."""
    if device.type != "cuda":
        return inputs
    free, _ = torch.cuda.mem_get_info(device)
    return inputs.to(device) if 2 * inputs.nbytes < free else inputs


@contextmanager
def _whole_or_not_at_all(ensemble: RewardEnsemble) -> Iterator[None]:
    before = _copy(ensemble)
    try:
        yield
    except BaseException:  # Ctrl-C among them, after which a checkpoint is saved
        ensemble.load_state_dict(before)
        raise


@contextmanager
def _training(net: torch.nn.Module, rng: Generator, device: torch.device) -> Iterator[None]:
    """Batch norm and dropout as in training; dropout takes torch's own numbers, drawn from rng."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.spawn(1)[0].integers(2**63)))
        net.train()
        try:
            yield
        finally:
            net.eval()


def _step(ensemble: RewardEnsemble, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of gradient descent, each member's L2 with it."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in ensemble.parameters():
        if parameter.grad is not None and parameter.dim() >= 3:  # not those of batch norm
            l2 = ensemble.l2.view(-1, *[1] * (parameter.dim() - 1))
            parameter.grad.addcmul_(l2, parameter.detach())
    optimizer.step()


def _adapt_l2(l2: Tensor, heldout: Tensor, train: Tensor) -> None:
    ratio = heldout / train
    l2[ratio > OVERFIT_HIGH] *= _L2_STEP
    l2[ratio < OVERFIT_LOW] /= _L2_STEP
    l2[l2 > 0] = l2[l2 > 0].clamp(_MIN_L2, _MAX_L2)  # none at all stays none


def _numpy(values: Tensor) -> Array:
    array: Array = values.numpy(force=True)
    return array


def _copy(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}
