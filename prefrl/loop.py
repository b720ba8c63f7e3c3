"""The loop: collect, ask, fit, relabel, update. It reads like a recipe, top to bottom."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from prefrl.labelers import Labeler
from prefrl.queries import Candidates, Strategy, disagreement, draw_pairs, select
from prefrl.recorder import Recorder
from prefrl.relabel import buffer_of
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitMetrics
from prefrl.reward.fitters import Fitter
from prefrl.schedules import Schedule
from prefrl.segments import SegmentPool
from prefrl.store import AlreadyAnswered, ComparisonStore
from prefrl.types import Array, Query, StartAnew


@dataclass(frozen=True)
class LoopSettings:
    """When to ask, and what; the meanings are those of LabelConfig and RunConfig."""

    total_steps: int
    budget: int
    first_batch: int
    schedule: Schedule
    strategy: Strategy
    ask_above: float = 0.1
    oversample: int = 10
    segment_length: int = 25
    pool_size: int = 1000
    ask_every: int = 8192
    warmup_steps: int = 8192
    warmup_hold: int = 1


@dataclass
class Progress:
    """Where a run stands; what a resumed run goes on from."""

    offered: int = 0
    """Labels that the schedule has offered."""
    asked: int = 0
    """Queries put to the labeler."""
    labels: int = 0
    """Answers in the store."""
    next_ask: int = 0
    """Environment steps at which the schedule is looked at again."""


@dataclass
class PreferenceLoop:
    """Trains an SB3 agent on what a labeler likes.

    Args:
      recorder: the agent's environments.
      agent: an SB3 agent with a relabelling buffer.
      reward: the ensemble that the buffer scores with.
      fitter: keeps the ensemble up to date with the store.
      labeler: answers queries.
      store: where queries and answers live.
      rng: draws segments and candidates.
      on_pass: told of every pass, with what it measured.
    """

    recorder: Recorder
    agent: BaseAlgorithm
    reward: RewardEnsemble
    fitter: Fitter
    labeler: Labeler
    store: ComparisonStore
    settings: LoopSettings
    rng: Generator
    on_pass: Callable[[Mapping[str, float]], None] = lambda row: None
    on_wait: Callable[[int], None] = lambda missing: None
    progress: Progress = field(default_factory=Progress)

    def run(self) -> None:
        """Everything: the first batch, then training until the steps are used up."""
        self._pool = SegmentPool(self.settings.pool_size)
        self._asked_features: list[Array] = []
        self._last_fit: FitMetrics | None = None
        self._clock = (time.monotonic(), self.recorder.steps_taken)
        self._cut_at = self.recorder.steps_taken
        self._count_what_is_there()
        left = self.settings.total_steps - self.recorder.steps_taken
        if left <= 0:
            return
        if self.reward.fitted:  # resumed: what was answered meanwhile counts from the start
            self._last_fit = self.fitter.start()
            self._remember([comparison.query for comparison in self.store.comparisons()])
        else:
            self.first_batch()
        left = self.settings.total_steps - self.recorder.steps_taken
        self.agent.learn(left, callback=_BetweenRollouts(self), reset_num_timesteps=False)
        self.between_rollouts(last=True)

    def first_batch(self) -> None:
        """Ask about a random policy's segments, uniformly and ungated, and fit."""
        act_at_random(
            self.recorder, self.settings.warmup_steps, self.rng, self.settings.warmup_hold
        )
        self._episodes()
        self._collect()
        if not len(self._pool):
            raise StartAnew(
                f"segments of {self.settings.segment_length} steps are longer than any episode "
                "so far: lower labels.segment_length (--segment-length)"
            )
        first = min(self.settings.first_batch, self.settings.budget)
        self.progress.offered = max(self.progress.offered, first)
        pairs = draw_pairs(len(self._pool), max(0, first - self.progress.asked), self.rng)
        asked = self._post(pairs, np.full(len(pairs), np.nan))
        self._wait_for(min(first, self.progress.asked))
        self._last_fit = self.fitter.start()
        if not self.reward.fitted:
            raise StartAnew(
                f"the first {first} answers decided too little to fit a reward to: raise "
                "--labels or labels.first_share"
            )
        self._remember(asked)
        self.progress.next_ask = self.recorder.steps_taken + self.settings.ask_every

    def between_rollouts(self, last: bool = False) -> None:
        """One pass, after the agent's update and before its next rollout."""
        if self.recorder.steps_taken < self.progress.next_ask and not last:
            return
        self.progress.next_ask = self.recorder.steps_taken + self.settings.ask_every
        row = self._episodes()
        self._collect()
        if not last:
            row |= self._ask()
        self._last_fit = self.fitter.update() or self._last_fit
        self.progress.labels = self.store.counts().answered
        self.on_pass(row | self._standing())

    def _collect(self) -> None:
        """Cut as many segments as the new steps hold side by side."""
        length = self.settings.segment_length
        new = (self.recorder.steps_taken - self._cut_at) // self.recorder.num_envs
        self._cut_at = self.recorder.steps_taken
        rows = min(max(new, length), self.recorder.recorded)
        n = max(2, rows * self.recorder.num_envs // length)
        self._pool.add(self.recorder.sample_segments(n, length, self.rng, rows))

    def _ask(self) -> dict[str, float]:
        """Put what the schedule offers, and the gate lets through, to the labeler."""
        s, progress = self.settings, self.progress
        due = s.schedule(self.recorder.steps_taken, s.total_steps, s.budget, s.first_batch)
        wanted = min(due, s.budget) - progress.offered
        if wanted <= 0 or len(self._pool) < 2:
            return {}
        progress.offered += wanted
        candidates, pairs = self._candidates(wanted * s.oversample)
        spread = disagreement(candidates.returns)
        gate = s.ask_above if self.reward.informed else 0.0
        chosen = select(candidates, s.strategy, wanted, gate, self.rng)
        self._post(pairs[chosen], spread[chosen])
        self._asked_features.extend(candidates.features[chosen])
        low, median, high = np.quantile(spread, [0.1, 0.5, 0.9])
        return {
            "candidates": len(pairs),
            "ask_above": gate,
            "gate_share": float((spread >= gate).mean()),
            "disagreement_p10": float(low),
            "disagreement_p50": float(median),
            "disagreement_p90": float(high),
            "disagreement_asked": float(spread[chosen].mean()) if len(chosen) else math.nan,
        }

    def _candidates(self, n: int) -> tuple[Candidates, Array]:
        pairs = draw_pairs(len(self._pool), n, self.rng)
        used, where = np.unique(pairs, return_inverse=True)
        segments = [self._pool[int(i)] for i in used]
        returns = self.reward.member_returns(segments)[:, where.reshape(pairs.shape)]
        features = self.reward.features(segments)[where.reshape(pairs.shape)]
        asked = np.array(self._asked_features).reshape(-1, features[0].size)
        return Candidates(returns, features.reshape(len(pairs), -1), asked), pairs

    def _remember(self, asked: Sequence[Query]) -> None:
        """What has been asked about, for strategies that keep their distance from it."""
        if asked:
            sides = [
                self.reward.features([getattr(q, side) for q in asked])
                for side in ("left", "right")
            ]
            self._asked_features.extend(np.concatenate(sides, axis=1))

    def _post(self, pairs: Array, spread: Array) -> list[Query]:
        """Queries into the store; a simulated teacher answers at once."""
        step = self.recorder.steps_taken
        queries = [
            Query(self._pool[int(left)], self._pool[int(right)], float(value), step)
            for (left, right), value in zip(pairs, spread, strict=True)
        ]
        self.progress.asked += len(queries)
        stored = self.store.add(queries)
        if self.labeler.immediate:
            answers = [(q.id, self.labeler.label(q)) for q in stored if q.id is not None]
            try:
                self.store.answer_all(answers, self.labeler.name)
            except AlreadyAnswered:  # a person was quicker with one of them
                self._answer_open()
        return stored

    def _answer_open(self) -> None:
        """Have a labeler who answers at once answer whatever nobody has a lease on."""
        name = self.labeler.name
        while self.labeler.immediate and (query := self.store.claim(name, lease_seconds=0)):
            assert query.id is not None
            with contextlib.suppress(AlreadyAnswered):  # no lease: a person may be quicker
                self.store.answer(query.id, self.labeler.label(query), name)

    def _count_what_is_there(self) -> None:
        """Take over what an earlier process left in the store."""
        self._answer_open()
        counts = self.store.counts()
        self.progress.labels = counts.answered
        self.progress.asked = counts.answered + counts.open + counts.leased
        self.progress.offered = max(self.progress.offered, self.progress.asked)

    def _wait_for(self, answers: int) -> None:
        """Return when the store holds so many answers; only ever waits for people."""
        while (missing := answers - self.store.counts().answered) > 0:
            self._answer_open()  # what a person held, and let go
            self.on_wait(missing)
            time.sleep(0.5)

    def _episodes(self) -> dict[str, float]:
        finished = self.recorder.take_finished()
        for true_return, length in finished:
            self.labeler.observe_episode(true_return, length)
        if not finished:
            return {}
        returns, lengths = zip(*finished, strict=True)
        mean_length = float(np.mean(lengths))
        predicted = getattr(buffer_of(self.agent), "predicted_reward", math.nan)
        return {"true_return": float(np.mean(returns)), "predicted_return": predicted * mean_length}

    def _standing(self) -> dict[str, float]:
        now, steps = time.monotonic(), self.recorder.steps_taken
        rate = (steps - self._clock[1]) / max(now - self._clock[0], 1e-9)
        self._clock = now, steps
        return {
            "step": steps,
            "labels": self.progress.labels,
            "offered": self.progress.offered,
            "labels_budget": self.settings.budget,
            "steps_per_second": rate,
        } | _numbers(self._last_fit)


class _BetweenRollouts(BaseCallback):
    """SB3's extension point for what happens between two rollouts."""

    def __init__(self, loop: PreferenceLoop) -> None:
        super().__init__()
        self._loop = loop

    def _on_rollout_start(self) -> None:
        self._loop.between_rollouts()

    def _on_step(self) -> bool:
        return True


def act_at_random(recorder: Recorder, steps: int, rng: Generator, hold: int = 1) -> None:
    """Fill the recorder with a random policy's steps.

    Args:
      hold: steps for which each environment's action stays the same, on average.
    """
    space = recorder.action_space
    space.seed(int(rng.integers(2**31)))
    recorder.reset()
    actions = [space.sample() for _ in range(recorder.num_envs)]
    for step in range(math.ceil(steps / recorder.num_envs)):
        for env in range(recorder.num_envs if step else 0):
            if hold == 1 or rng.random() * hold < 1:
                actions[env] = space.sample()
        recorder.step(np.stack(actions))


def _numbers(metrics: FitMetrics | None) -> dict[str, float]:
    return {name: float(value) for name, value in (metrics or {}).items()}  # type: ignore[arg-type]
