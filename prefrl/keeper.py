"""What a run leaves behind while it trains: metrics, TensorBoard, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger
from torch.utils.tensorboard import SummaryWriter

from prefrl import checkpoints
from prefrl.loop import Progress
from prefrl.metrics import append_metrics
from prefrl.recorder import Recorder
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.rundir import RunDir


class Keeper:
    """Writes down what the loop and the agent report, and checkpoints when one is due.

    Args:
      run: whose folder it writes to.
      agent, reward, recorder, progress: what checkpoints are of.
      checkpoint_every: environment steps between two checkpoints.
      on_pass: told of every pass, after it is written down.
    """

    def __init__(
        self,
        run: RunDir,
        agent: BaseAlgorithm,
        reward: RewardEnsemble,
        recorder: Recorder,
        progress: Progress,
        checkpoint_every: int,
        on_pass: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._run, self._every, self._tell = run, checkpoint_every, on_pass
        self._agent, self._reward, self._recorder = agent, reward, recorder
        self._progress = progress
        self._saved_at = recorder.steps_taken
        self._board = SummaryWriter(str(run.tensorboard), purge_step=self._saved_at)
        agent.set_logger(Logger(str(run.tensorboard), [_Scalars(self._board)]))

    def on_pass(self, row: Mapping[str, float]) -> None:
        append_metrics(self._run.metrics_path, dict(row))
        for name, value in row.items():
            self._board.add_scalar(f"prefrl/{name}", value, int(row["step"]))
        self._tell(row)
        if row["step"] - self._saved_at >= self._every:
            self.checkpoint()

    def checkpoint(self) -> None:
        if not self._reward.fitted:
            return  # before the first fit the store alone is enough to start again
        self._saved_at = self._recorder.steps_taken
        state = {"step": self._saved_at, "progress": asdict(self._progress)}
        checkpoints.save(self._run.checkpoints, self._agent, self._reward, state)
        self._board.flush()

    def close(self) -> None:
        self._board.close()


class _Scalars(KVWriter):
    """SB3's own losses, into the same TensorBoard files."""

    def __init__(self, board: SummaryWriter) -> None:
        self._board = board

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        for name, value in key_values.items():
            if "tensorboard" not in (key_excluded[name] or ()):
                self._board.add_scalar(name, float(value), step)

    def close(self) -> None:
        """The board outlives the agent's logger."""
