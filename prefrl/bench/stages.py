"""Time of each stage of the loop: its methods are wrapped with a stopwatch while a study runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from time import perf_counter, process_time
from typing import Any

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from prefrl.agents.ppo import FastPolicy, FastPPO
from prefrl.agents.relabel import RelabelledRolloutBuffer
from prefrl.asking import Asker
from prefrl.recorder import Recorder
from prefrl.reward.fitters import InlineFitter
from prefrl.segments import SegmentPool
from prefrl.store import ComparisonStore

Methods = Sequence[tuple[type, str]]

STAGES: Mapping[str, Methods] = {
    "stepping": ((Recorder, "step_async"), (Recorder, "step_wait")),
    "normalising": ((VecNormalize, "step_wait"),),
    "inference": ((FastPolicy, "forward"), (ActorCriticPolicy, "predict_values")),
    "scoring": ((RelabelledRolloutBuffer, "compute_returns_and_advantage"),),
    "update": ((FastPPO, "train"),),
    "asking": (
        (Asker, "best"),
        (Asker, "uniformly"),
        (Recorder, "sample_segments"),
        (SegmentPool, "add"),
    ),
    "store": (
        (ComparisonStore, "add"),
        (ComparisonStore, "answer_all"),
        (ComparisonStore, "counts"),
        (ComparisonStore, "each_comparison"),
    ),
    "fitting": ((InlineFitter, "update"),),
}
"""Stages of a run with PPO, an oracle and fits between rollouts, and their methods."""


class Stopwatch:
    """Seconds of each stage, without those of the stages that it calls.

    Attributes:
      seconds: wall-clock time.
      cpu_seconds: time of this process on a core, without waits for the disk or a busy machine.
    """

    def __init__(self, stages: Mapping[str, Methods]) -> None:
        self.seconds = dict.fromkeys(stages, 0.0)
        self.cpu_seconds = dict.fromkeys(stages, 0.0)
        self._running: list[str] = []
        self._since = self._cpu_since = 0.0

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        self._turn()
        self._running.append(stage)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def _turn(self) -> None:
        """Add the time since the last turn to the stage that is running."""
        now, cpu = perf_counter(), process_time()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
            self.cpu_seconds[self._running[-1]] += cpu - self._cpu_since
        self._since, self._cpu_since = now, cpu

    def timed(self, method: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The method, timed; of a generator, the time in which it makes its items."""
        if inspect.isgeneratorfunction(method):

            @wraps(method)
            def each(*args: Any, **kwargs: Any) -> Iterator[Any]:
                items = method(*args, **kwargs)
                while True:
                    with self.during(stage):
                        item = next(items, items)
                    if item is items:
                        return
                    yield item

            return each

        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.during(stage):
                return method(*args, **kwargs)

        return call


@contextmanager
def timed(stages: Mapping[str, Methods] = STAGES) -> Iterator[Stopwatch]:
    """A stopwatch of the methods inside the block; they are restored afterwards."""
    watch = Stopwatch(stages)
    named = [(stage, *method) for stage, methods in stages.items() for method in methods]
    own = [(owner, name, vars(owner).get(name)) for _, owner, name in named]
    for stage, owner, name in named:
        setattr(owner, name, watch.timed(getattr(owner, name), stage))
    try:
        yield watch
    finally:
        for owner, name, method in own:
            if method is None:  # inherited
                delattr(owner, name)
            else:
                setattr(owner, name, method)
