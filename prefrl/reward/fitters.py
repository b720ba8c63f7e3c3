"""When and where the reward is fitted: between rollouts, or beside the trainer.

Both read answers from the comparison store and nothing else, and both are a `Fitter`.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from prefrl.process import deaf_to_ctrl_c, end_with_parent, set_up_process
from prefrl.reward.dataset import ComparisonData
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitMetrics, FitSettings, fit
from prefrl.reward.unlabelled import KEPT, Unlabelled, load_unlabelled
from prefrl.store import ComparisonStore
from prefrl.streams import Stage, stream
from prefrl.types import MachineError, PrefrlError, Segment

MIN_COMPARISONS = 2
_POLL_SECONDS = 0.1


class Fitter(Protocol):
    """Keeps an ensemble up to date with the answers in a store."""

    @property
    def fitted_to(self) -> int:
        """Id of the last comparison that the trainer's ensemble has been fitted to."""

    def start(self) -> FitMetrics | None:
        """Fit every answer given so far, in the trainer's process; called once, first.

        Returns:
          The metrics of the fit; None where the answers decide too little for one.
        """

    def update(self) -> FitMetrics | None:
        """Bring the trainer's ensemble up to date; never waits for anything.

        Returns:
          The metrics of the latest fit; None where there was no new one.
        """

    def see(self, segments: Sequence[Segment]) -> None:
        """Segments that may teach something though nobody is asked about them."""

    def close(self) -> None:
        """Stop what runs in the background."""


class InlineFitter:
    """Fits in the trainer's process: seeded, repeatable.

    Args:
      ensemble: the trainer's own.
      store: where the answers are.
      seed: of bootstrap and minibatches.
      latest: number of the newest comparisons to fit; 0 means all.
      fitted_to: id of the last comparison that the ensemble has been fitted to.
      seen: returns encoded segments that nobody is asked about; by default those of `see`.
      stage: whose random numbers minibatches are drawn by.
      step: at which the run goes on.
    """

    def __init__(
        self,
        ensemble: RewardEnsemble,
        store: ComparisonStore,
        settings: FitSettings,
        seed: int,
        latest: int = 0,
        fitted_to: int = 0,
        seen: Callable[[], Tensor | None] | None = None,
        stage: Stage = Stage.FIT,
        step: int = 0,
    ) -> None:
        self._ensemble, self._store = ensemble, store
        # The newest ones are a bound of their own.
        self._settings = replace(settings, refit_part=0) if latest else settings
        self._data = ComparisonData(ensemble, seed, latest)
        self._rng = stream(seed, stage, step)
        self._unlabelled = Unlabelled(ensemble.encode)
        self._seen = seen or (lambda: self._unlabelled.inputs)
        if fitted_to:
            self._data.add(c for c in store.each_comparison() if c.id <= fitted_to)

    @property
    def fitted_to(self) -> int:
        return self._data.last_id

    def start(self) -> FitMetrics | None:
        return self.update()

    def update(self) -> FitMetrics | None:
        before = self._data.last_id
        new = self._data.add(self._store.each_comparison(after=before))
        if self._data.last_id == before or len(self._data) < MIN_COMPARISONS:
            return None
        seen = self._unlabelled_ones() if self._settings.learns_unlabelled else None
        return fit(self._ensemble, self._data, self._settings, self._rng, seen, new)

    def _unlabelled_ones(self) -> Tensor:
        """Segments that nobody is asked about; where none were seen, those of the comparisons."""
        seen = self._seen()
        return self._data.inputs[-KEPT // 2 :].flatten(0, 1) if seen is None else seen

    def see(self, segments: Sequence[Segment]) -> None:
        if self._settings.learns_unlabelled:
            self._unlabelled.add(segments)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class _Job:
    """What the process of a `BackgroundFitter` is told; its attributes are documented there."""

    build: Callable[[], RewardEnsemble]
    store_where: str | Path
    weights: Path
    settings: FitSettings
    seed: int
    latest: int
    threads: int
    step: int


class BackgroundFitter:
    """Fits in a process of its own and hands over weights through a file.

    The first fit is the trainer's: there is nothing to train on before it, and the process
    goes on from its weights. So the inputs are scaled on the whole first batch, however
    slowly people answer it.

    Args:
      ensemble: the trainer's; the process builds its twin by `build`.
      build: makes an ensemble of the same shape; must be picklable.
      store: where the answers are.
      store_where: the same, as a path or URL: the process opens its own connection.
      weights: file that each fit is written to.
      settings: how to fit.
      seed: of bootstrap and minibatches.
      latest: number of the newest comparisons to fit; 0 means all.
      threads: torch threads of the process.
      step: at which the run goes on.
    """

    def __init__(
        self,
        ensemble: RewardEnsemble,
        build: Callable[[], RewardEnsemble],
        store: ComparisonStore,
        store_where: str | Path,
        weights: Path,
        settings: FitSettings,
        seed: int,
        latest: int = 0,
        threads: int = 1,
        step: int = 0,
    ) -> None:
        self._ensemble, self._store, self._weights = ensemble, store, weights
        self._job = _Job(build, store_where, weights, settings, seed, latest, threads, step)
        self._unlabelled = Unlabelled(ensemble.encode)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._seen = -1
        self._fitted_to = 0

    @property
    def fitted_to(self) -> int:
        return self._fitted_to

    def start(self) -> FitMetrics | None:
        job = self._job
        first = InlineFitter(
            self._ensemble,
            self._store,
            job.settings,
            job.seed,
            job.latest,
            seen=lambda: self._unlabelled.inputs,
            step=job.step,
        )
        metrics = first.start()
        if not self._ensemble.fitted:
            return None
        self._fitted_to = first.fitted_to
        self._ensemble.save(self._weights, **_notes(metrics, self._fitted_to))
        self._seen = self._weights.stat().st_mtime_ns
        self._process = multiprocessing.get_context("spawn").Process(
            target=_run_fits,
            args=(job, self._fitted_to),
            name="prefrl-reward-fit",
            daemon=True,
        )
        with deaf_to_ctrl_c():
            self._process.start()
        return metrics

    def update(self) -> FitMetrics | None:
        self._check_alive()
        try:
            written = self._weights.stat().st_mtime_ns
            if written == self._seen:
                return None
            with safe_open(self._weights, "pt") as file:
                notes = file.metadata()
        except (FileNotFoundError, SafetensorError):
            return None
        self._ensemble.load(self._weights)
        self._seen = written
        self._fitted_to = int(notes["fitted_to"])
        metrics: FitMetrics | None = json.loads(notes["metrics"])
        return metrics

    def see(self, segments: Sequence[Segment]) -> None:
        if self._job.settings.learns_unlabelled:
            self._unlabelled.add(segments)
            self._unlabelled.save(_unlabelled(self._weights))

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.join(timeout=5)

    def _check_alive(self) -> None:
        if self._process is not None and not self._process.is_alive():
            raise MachineError(
                f"the reward fit stopped with exit status {self._process.exitcode}: see its "
                "message above; `--resume` goes on from the last checkpoint, "
                "`--set reward.fit=sync` fits without a second process"
            )


def _unlabelled(weights: Path) -> Path:
    """Beside the weights, what goes the other way."""
    return weights.with_name("unlabelled.safetensors")


def _notes(metrics: FitMetrics | None, fitted_to: int) -> dict[str, str]:
    """What goes with the weights into their file."""
    return {"metrics": json.dumps(metrics), "fitted_to": str(fitted_to)}


def _run_fits(job: _Job, fitted_to: int) -> None:
    """Body of the process: fits whenever there are new answers, and ends with the trainer."""
    end_with_parent()
    set_up_process(job.threads)
    try:
        ensemble = job.build()
        ensemble.load(job.weights)
        with ComparisonStore(job.store_where) as store:
            fitter = InlineFitter(
                ensemble,
                store,
                job.settings,
                job.seed,
                job.latest,
                fitted_to,
                seen=partial(load_unlabelled, _unlabelled(job.weights)),
                stage=Stage.BACKGROUND_FIT,
                step=job.step,
            )
            while True:
                metrics = fitter.update()
                if metrics is None:
                    time.sleep(_POLL_SECONDS)
                else:
                    ensemble.save(job.weights, **_notes(metrics, fitter.fitted_to))
    except (PrefrlError, OSError, SafetensorError) as error:
        print(f"prefrl: reward fit: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
