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

from prefrl.agents.exploration import explore
from prefrl.agents.relabel import buffer_of
from prefrl.asking import Asker
from prefrl.labelers import Labeler, is_asked
from prefrl.labelers.oracle import LATE_EPISODES
from prefrl.queries import Strategy
from prefrl.recorder import Recorder, act_at_random
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitMetrics
from prefrl.reward.fitters import Fitter
from prefrl.schedules import Schedule, disagreement_weight
from prefrl.segments import SegmentPool
from prefrl.store import AlreadyAnswered, ComparisonStore
from prefrl.types import NewRunNeeded, Preference, PrefrlError, Query


@dataclass(frozen=True)
class LoopSettings:
    """When to ask, and what; the meanings are those of LabelConfig and RunConfig."""

    total_steps: int
    budget: int
    first_batch: int
    schedule: Schedule
    strategy: Strategy
    ask_above: float
    oversample: int
    segment_length: int
    pool_size: int
    on_policy_share: float
    reuse: float
    explore_steps: int
    restart_at: float
    bonus: float
    pessimism: float
    ask_every: int
    warmup_steps: int
    warmup_hold: int
    expire_after: int
    open_at_once: int


@dataclass
class Progress:
    """Where a run stands; what a resumed run goes on from.

    A query that expires takes back that it was asked and offered, so that the schedule offers
    another in its place; answered late all the same, it counts again. What was offered and not
    asked is what the gate held back, and stays so.
    """

    offered: int = 0
    """Labels that the schedule has offered, without what expired."""
    asked: int = 0
    """Queries put to the labeler, without what expired: answered, or still waiting."""
    labels: int = 0
    """Answers in the store."""
    expired: int = 0
    """Queries in the store that expired unanswered."""
    fitted_to: int = 0
    """Number of the last comparison that the reward has been fitted to."""
    next_ask: int = 0
    """Environment steps at which the schedule is looked at again."""
    restarted: bool = False
    """Whether the agent was reset."""
    late_episodes: list[tuple[float, int]] = field(default_factory=list)
    """True return and length of the last ones, of which labelers are told."""


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
      reset_agent: resets the agent's weights to the initial ones.
      on_pass: told of every pass, with what it measured.
      on_wait: told how many of the first answers are missing, and of how many.
    """

    recorder: Recorder
    agent: BaseAlgorithm
    reward: RewardEnsemble
    fitter: Fitter
    labeler: Labeler
    store: ComparisonStore
    settings: LoopSettings
    rng: Generator
    reset_agent: Callable[[], None] = lambda: None
    on_pass: Callable[[Mapping[str, float]], None] = lambda row: None
    on_wait: Callable[[int, int], None] = lambda missing, first: None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        s = self.settings
        self._pool = SegmentPool(s.pool_size)
        self._asker = Asker(
            self._pool, self.reward, s.strategy, s.oversample, self.rng, s.on_policy_share, s.reuse
        )
        self._last_fit: FitMetrics | None = None
        self._clock = (time.monotonic(), self.recorder.steps_taken)
        self._cut_at = self.recorder.steps_taken

    def run(self) -> None:
        """Everything: the first answers, then training until the steps are used up."""
        for true_return, length in self.progress.late_episodes:
            self.labeler.observe_episode(true_return, length)
        self._answer_open()
        self._count()
        if self.settings.total_steps <= self.recorder.steps_taken:
            return
        if self.reward.fitted or not is_asked(self.labeler):
            self._earlier_answers()
        else:
            self._first_batch()
        left = self.settings.total_steps - self.recorder.steps_taken
        between = _BeforeRollouts(self._between_rollouts)
        self.agent.learn(left, callback=between, reset_num_timesteps=False)
        self._between_rollouts(last=True)

    def _earlier_answers(self) -> None:
        """Fit to the answers that are in the store already; nothing is asked."""
        self._fit()
        if not self.reward.fitted:
            raise PrefrlError(
                f"the {self.progress.labels} answers in {self.store.where} decide too little to "
                "fit a reward to: give more (`prefrl label`), or begin a new run with another's "
                "(--answers)"
            )
        self._asker.remember(comparison.query for comparison in self.store.each_comparison())
        self._weigh_disagreement()
        soon = self.recorder.steps_taken + self.settings.ask_every
        self.progress.next_ask = self.progress.next_ask or soon

    def _first_batch(self) -> None:
        """Ask about a random policy's segments, or an explorer's, uniformly and ungated, and fit.

        What the recorder still holds is asked about: of a long exploration its end alone.

        Answers that are there before, from another run or an earlier start, are part of it.
        """
        s = self.settings
        act_at_random(self.recorder, s.warmup_steps, self.rng, s.warmup_hold)
        if s.explore_steps:
            explore(self.agent, s.explore_steps, self.rng)
        self._episodes()
        self._collect()
        if len(self._pool) < 2:
            raise NewRunNeeded(
                f"no two segments of {s.segment_length} steps are in the episodes so far: lower "
                "labels.segment_length (--segment-length)"
            )
        first = min(self.settings.first_batch, self.settings.budget)
        there = self.progress.labels
        self.progress.offered = max(self.progress.offered, first)
        missing = max(0, first - self.progress.asked)
        asked = self._post(self._asker.uniformly(missing, self.recorder.steps_taken))
        self._wait_for(min(first, self.progress.asked))
        self._fit()
        if not self.reward.fitted:
            raise NewRunNeeded(
                f"the first {first} answers decided too little to fit a reward to: raise "
                "--labels or labels.first_least"
            )
        self._asker.remember((c.query for c in self.store.each_comparison()) if there else asked)
        self.progress.next_ask = self.recorder.steps_taken + self.settings.ask_every

    def _between_rollouts(self, last: bool = False) -> None:
        """One pass, after the agent's update and before its next rollout."""
        if self.recorder.steps_taken < self.progress.next_ask and not last:
            return
        self.progress.next_ask = self.recorder.steps_taken + self.settings.ask_every
        row = self._episodes()
        self._collect()
        if not last and is_asked(self.labeler):
            self._expire()
            row |= self._ask()
        self._last_fit = self.fitter.update() or self._last_fit
        self._weigh_disagreement()
        self.progress.fitted_to = self.fitter.fitted_to
        if not last:
            self._restart()
        self._count()
        self.on_pass(row | self._standing())

    def _weigh_disagreement(self) -> None:
        """Set the weight of the members' disagreement by how far the run has come."""
        s = self.settings
        self.reward.disagreement_weight = disagreement_weight(
            self.recorder.steps_taken, s.total_steps, s.bonus, s.pessimism
        )

    def _restart(self) -> None:
        """Reset the agent, once, where the settings say so.

        Source: resets against the primacy bias, Nikishin et al. 2022, arXiv 2205.07802, section 4.
        """
        at, progress = self.settings.restart_at * self.settings.total_steps, self.progress
        if at and not progress.restarted and self.recorder.steps_taken >= at:
            self.reset_agent()
            progress.restarted = True

    def _collect(self) -> None:
        """Cut as many segments as the new steps hold side by side."""
        length = self.settings.segment_length
        new = (self.recorder.steps_taken - self._cut_at) // self.recorder.num_envs
        self._cut_at = self.recorder.steps_taken
        rows = min(max(new, length), self.recorder.recorded)
        n = min(max(2, rows * self.recorder.num_envs // length), self.settings.pool_size)
        segments = self.recorder.sample_segments(n, length, self.rng, rows)
        self._pool.add(segments)
        self.fitter.see(segments)

    def _expire(self) -> None:
        """Expire queries that people left unanswered for long: the agent has changed since.

        Then count: what they have answered meanwhile makes room for more.
        """
        if self.labeler.immediate:
            return
        after = self.settings.expire_after
        if after:
            self.store.expire(self.recorder.steps_taken - after)
        self._count()

    def _ask(self) -> dict[str, float]:
        """Put what the schedule offers, and the gate lets through, to the labeler."""
        s, progress, step = self.settings, self.progress, self.recorder.steps_taken
        due = s.schedule(step, s.total_steps, s.budget, s.first_batch)
        wanted = min(due, s.budget) - progress.offered
        if not self.labeler.immediate:  # a longer queue would expire before it is answered
            wanted = min(wanted, s.open_at_once - (progress.asked - progress.labels))
        if wanted <= 0 or len(self._pool) < 2:
            return {}
        progress.offered += wanted
        gate = s.ask_above if self.reward.informed else 0.0
        queries, row = self._asker.best(wanted, gate, step)
        self._post(queries)
        return row

    def _post(self, queries: Sequence[Query]) -> list[Query]:
        """Put queries into the store; a simulated labeler answers at once."""
        self.progress.asked += len(queries)
        stored = self.store.add(queries)
        if self.labeler.immediate:
            answers = [(q.id, self._answer(q)) for q in stored if q.id is not None]
            try:
                self.store.answer_all(answers, self.labeler.name)
            except AlreadyAnswered:  # a person was quicker with one of them
                self._answer_open()
        return stored

    def _answer(self, query: Query) -> Preference:
        answer: object = self.labeler.label(query)
        if not isinstance(answer, Preference):
            raise PrefrlError(
                f"labeler {self.labeler.name!r} answered {answer!r}: it must be a prefrl.Preference"
            )
        return answer

    def _answer_open(self) -> None:
        """Have a labeler who answers at once answer whatever nobody has a lease on."""
        name = self.labeler.name
        while self.labeler.immediate and (query := self.store.claim(name, lease_seconds=0)):
            assert query.id is not None
            with contextlib.suppress(AlreadyAnswered):  # no lease: a person may be quicker
                self.store.answer(query.id, self._answer(query), name)

    def _count(self) -> None:
        """Bring the progress up to date with the store: people answer at any time."""
        counts, progress = self.store.counts(), self.progress
        progress.labels = counts.answered
        progress.asked = counts.answered + counts.open + counts.leased
        progress.offered -= counts.expired - progress.expired
        progress.offered = max(progress.offered, progress.asked)
        progress.expired = counts.expired

    def _fit(self) -> None:
        """The first fit of this process, to every answer that is there."""
        self._last_fit = self.fitter.start()
        self.progress.fitted_to = self.fitter.fitted_to

    def _wait_for(self, answers: int) -> None:
        """Wait until the store holds that many answers; only ever waits for people."""
        while (missing := answers - self.store.counts().answered) > 0:
            self._answer_open()  # what a person held, and let go
            self.on_wait(missing, answers)
            time.sleep(0.5)
        if not self.labeler.immediate:
            self.on_wait(0, answers)

    def _episodes(self) -> dict[str, float]:
        finished = self.recorder.take_finished()
        for true_return, length in finished:
            self.labeler.observe_episode(true_return, length)
        if not finished:
            return {}
        late = [*self.progress.late_episodes, *finished]
        self.progress.late_episodes = late[-LATE_EPISODES:]
        returns, lengths = zip(*finished, strict=True)
        mean_length = float(np.mean(lengths))
        predicted = getattr(buffer_of(self.agent), "predicted_reward", math.nan)
        return {
            "episodes": len(finished),
            "true_return": float(np.mean(returns)),
            "predicted_return": predicted * mean_length,
        }

    def _standing(self) -> dict[str, float]:
        now, steps = time.monotonic(), self.recorder.steps_taken
        rate = (steps - self._clock[1]) / max(now - self._clock[0], 1e-9)
        self._clock = now, steps
        asked = is_asked(self.labeler)
        standing: dict[str, float] = {
            "step": steps,
            "labels": self.progress.labels,
            "offered": self.progress.offered,
            "labels_budget": self.settings.budget if asked else self.progress.labels,
            "steps_per_second": rate,
        }
        if asked and not self.labeler.immediate:
            standing["expired"] = self.progress.expired
        return standing | _numbers(self._last_fit)


class _BeforeRollouts(BaseCallback):
    """SB3's extension point for what happens before each rollout."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call

    def _on_rollout_start(self) -> None:
        self._call()

    def _on_step(self) -> bool:
        return True


def _numbers(metrics: FitMetrics | None) -> dict[str, float]:
    return {name: float(value) for name, value in (metrics or {}).items()}  # type: ignore[arg-type]
