"""Queries about a run that nobody trains now: its newest agent plays, and people are asked."""

from __future__ import annotations

from dataclasses import replace

from numpy.random import Generator
from stable_baselines3.common.utils import set_random_seed

from prefrl import checkpoints
from prefrl.asking import Asker
from prefrl.evaluate import policy_segments
from prefrl.queries import STRATEGIES
from prefrl.run import load_trained, newest_checkpoint
from prefrl.rundir import RunDir
from prefrl.segments import SegmentPool
from prefrl.store import ComparisonStore
from prefrl.types import PrefrlError


def ask_offline(run: RunDir, n: int, rng: Generator) -> int:
    """Put queries about a run's newest agent into its store, and take back those about older ones.

    They are the best by the run's strategy, as in training, of as many steps as lie between two
    batches there; the gate is left out, as somebody has come to answer. Sets torch's threads and
    all global seeds of this process.

    Args:
      run: not trained by any process meanwhile.
      n: how many.
      rng: draws environments, actions and candidates; the same one gives the same queries.
    Returns:
      How many were added.
    Raises:
      PrefrlError: the run has no checkpoint, or no episode of its agent holds a segment.
    """
    config = run.config()
    labels, length = config.labels, config.labels.segment_length
    checkpoint = newest_checkpoint(run)
    agent, reward = load_trained(config, checkpoint)
    step = int(checkpoints.state(checkpoint)["step"])
    set_random_seed(int(rng.integers(2**31)))  # the policy draws its actions from torch's
    rows = max(labels.ask_every // config.env.n_envs, 4 * length)
    cut = min(labels.pool_size, rows * config.env.n_envs // length)
    seed = int(rng.integers(2**31))
    pool = SegmentPool(labels.pool_size)
    played = policy_segments(agent, config, rng, cut, rows, seed=seed)
    pool.add([replace(segment, step=step) for segment in played])
    if len(pool) < 2:
        raise PrefrlError(
            f"no episode of the agent in {run.path} is as long as a segment ({length} steps): "
            f"train it on first (`prefrl train --resume {run.path}`)"
        )
    asker = Asker(pool, reward, STRATEGIES[labels.strategy], labels.oversample, rng)
    with ComparisonStore(run.store_path) as store:
        store.expire(before_step=step)
        asker.remember(comparison.query for comparison in store.each_comparison())
        queries, _ = asker.best(n, ask_above=0.0, step=step)
        return len(store.add(queries))
