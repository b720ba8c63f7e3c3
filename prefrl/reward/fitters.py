"""When and where the reward is fitted: between rollouts, or beside the trainer.

Both read answers from the comparison store and nothing else, and both offer the trainer
one method, `update`.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

from numpy.random import default_rng
from safetensors import SafetensorError, safe_open

from prefrl.process import deaf_to_ctrl_c, end_with_parent, set_up_process
from prefrl.reward.dataset import ComparisonData
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitMetrics, FitSettings, fit
from prefrl.store import ComparisonStore
from prefrl.types import MachineError, PrefrlError

MIN_COMPARISONS = 2
_POLL_SECONDS = 0.1


class Fitter(Protocol):
    """Keeps an ensemble up to date with the answers in a store."""

    def update(self, wait: bool = False) -> FitMetrics | None:
        """Bring the trainer's ensemble up to date.

        Args:
          wait: return only when every answer given so far has been fitted.
        Returns:
          The metrics of the latest fit; None where there was no new one.
        """

    def close(self) -> None:
        """Stop what runs in the background."""


class InlineFitter:
    """Fits in the trainer's process: seeded, repeatable.

    Args:
      ensemble: the trainer's own.
      store: where the answers are.
      seed: of bootstrap and minibatches.
      latest: fit the newest so many comparisons; 0 means all.
    """

    def __init__(
        self,
        ensemble: RewardEnsemble,
        store: ComparisonStore,
        settings: FitSettings,
        seed: int,
        latest: int = 0,
    ) -> None:
        self._ensemble, self._store, self._settings = ensemble, store, settings
        self._data = ComparisonData(ensemble, seed, latest)
        self._rng = default_rng([seed, 1])

    def update(self, wait: bool = False) -> FitMetrics | None:
        new = self._store.comparisons(after=self._data.last_id)
        self._data.add(new)
        if not new or len(self._data) < MIN_COMPARISONS:
            return None
        return fit(self._ensemble, self._data, self._settings, self._rng)

    def close(self) -> None:
        pass


class BackgroundFitter:
    """Fits in a process of its own and hands over weights through a file.

    Args:
      ensemble: the trainer's; the process builds its twin by `build`.
      build: makes an ensemble of the same shape; must be picklable.
      store: where the answers are.
      store_where: the same, as a path or URL: the process opens its own connection.
      weights: file that the process writes after each fit.
      threads: torch threads of the process.
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
    ) -> None:
        self._ensemble, self._weights = ensemble, weights
        self._inline = InlineFitter(ensemble, store, settings, seed, latest)
        self._seen = -1
        if ensemble.knows_inputs:  # resumed: the process starts from what is known
            ensemble.save(weights, metrics=json.dumps(None))
        else:
            weights.unlink(missing_ok=True)
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(
            target=_run_fits,
            args=(build, store_where, weights, settings, seed, latest, threads),
            name="prefrl-reward-fit",
            daemon=True,
        )
        with deaf_to_ctrl_c():
            self._process.start()

    def update(self, wait: bool = False) -> FitMetrics | None:
        self._check_alive()
        if wait:  # here: the process takes seconds to start, and comes to the same first fit
            return self._inline.update()
        return self._load()

    def close(self) -> None:
        self._process.terminate()
        self._process.join(timeout=5)

    def _load(self) -> FitMetrics | None:
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
        metrics: FitMetrics | None = json.loads(notes["metrics"])
        return metrics

    def _check_alive(self) -> None:
        if not self._process.is_alive():
            raise MachineError(
                f"the reward fit stopped with exit status {self._process.exitcode}: see its "
                "message above; `--resume` goes on from the last checkpoint, "
                "`--set reward.fit=sync` fits without a second process"
            )


def _run_fits(
    build: Callable[[], RewardEnsemble],
    store_where: str | Path,
    weights: Path,
    settings: FitSettings,
    seed: int,
    latest: int,
    threads: int,
) -> None:
    """Body of the process; it ends with the trainer."""
    end_with_parent()
    set_up_process(threads)
    try:
        _fit_forever(build(), store_where, weights, settings, seed, latest)
    except (PrefrlError, OSError, SafetensorError) as error:
        print(f"prefrl: reward fit: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _fit_forever(
    ensemble: RewardEnsemble,
    store_where: str | Path,
    weights: Path,
    settings: FitSettings,
    seed: int,
    latest: int,
) -> NoReturn:
    """Fit whenever there are new answers."""
    if weights.exists():
        ensemble.load(weights)
    data, rng = ComparisonData(ensemble, seed, latest), default_rng([seed, 1])
    with ComparisonStore(store_where) as store:
        while True:
            new = store.comparisons(after=data.last_id)
            if not new:
                time.sleep(_POLL_SECONDS)
                continue
            data.add(new)
            enough = len(data) >= MIN_COMPARISONS
            metrics = fit(ensemble, data, settings, rng) if enough else None
            ensemble.save(weights, metrics=json.dumps(metrics))
