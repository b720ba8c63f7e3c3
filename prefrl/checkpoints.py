"""Checkpoints: what a run needs to go on, whole or not at all.

A checkpoint is a folder that appears under its name only when all its files are written;
a manifest holds their checksums, so a truncated one is noticed and passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd

from prefrl.agents.snapshot import put_back, tensors_of
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.types import MachineError, PrefrlError

KEPT = 3
_MANIFEST = "manifest.json"
_REPLAY = ("observations", "next_observations", "actions", "dones", "timeouts")


def save(
    folder: Path, agent: BaseAlgorithm, reward: RewardEnsemble | None, state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint named after its step, and drop all but the newest ones.

    Args:
      folder: where a run's checkpoints are.
      state: plain numbers; must hold "step".
    Raises:
      MachineError: it cannot be written; earlier checkpoints stay.
    """
    name = f"{state['step']:012d}"
    part, whole = folder / f".{name}.part", folder / name
    for left in folder.glob(".*.part"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        _write(part, agent, reward, state)
        sums = {f.name: _checksum(f) for f in sorted(part.iterdir())}
        _write_text(part / _MANIFEST, json.dumps(sums, indent=1))
        _put_in_place(part, whole)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise MachineError(
            f"cannot write checkpoint {whole} ({error}): make room on the disk, then "
            "`prefrl train --resume` goes on from the one before"
        ) from error
    for old in _named(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    for old in _named(folder)[:-1]:  # replay memory is large: only the newest keeps it
        shutil.rmtree(old / "replay", ignore_errors=True)
    return whole


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint; None where there has been none.

    Raises:
      MachineError: there are checkpoints, and every one is damaged, or may not be read.
    """
    found = _named(folder)
    for checkpoint in reversed(found):
        if _is_whole(checkpoint):
            return checkpoint
    if found:
        raise MachineError(
            f"every checkpoint in {folder} is damaged: the answers in store.sqlite are safe; "
            "move the checkpoints away to train again from them"
        )
    return None


def latest_state(folder: Path) -> dict[str, Any]:
    """The numbers of the newest whole checkpoint; none where there has been none."""
    checkpoint = latest(folder)
    return state(checkpoint) if checkpoint else {}


def load(checkpoint: Path, agent: BaseAlgorithm, reward: RewardEnsemble | None) -> dict[str, Any]:
    """Put a checkpoint's contents into an agent and an ensemble of the same shape.

    Returns:
      The state that was saved.
    Raises:
      MachineError: it does not fit.
    """
    try:
        put_back(agent, _read(checkpoint / "policy.pt"), _read(checkpoint / "tensors.pt"))
        saved_state = state(checkpoint)
        if reward is not None and (checkpoint / "reward.safetensors").exists():
            reward.load(checkpoint / "reward.safetensors")
        for name, rms in _running(agent).items():
            _load_running(checkpoint / f"{name}.npz", rms)
        if isinstance(agent, OffPolicyAlgorithm) and (checkpoint / "replay").exists():
            _load_replay(checkpoint / "replay", agent.replay_buffer)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise MachineError(f"checkpoint {checkpoint} cannot be read: {error}") from error
    agent.num_timesteps = int(saved_state["agent_steps"])
    return saved_state


def state(checkpoint: Path) -> dict[str, Any]:
    """The numbers that were saved with it.

    Raises:
      MachineError: they cannot be read.
    """
    try:
        saved: dict[str, Any] = json.loads((checkpoint / "state.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise MachineError(f"checkpoint {checkpoint} cannot be read: {error}") from error
    return saved


def _read(path: Path) -> dict[str, Any]:
    """Tensors, on the CPU: a run that was trained on a GPU is read where there is none."""
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def _write(
    part: Path, agent: BaseAlgorithm, reward: RewardEnsemble | None, state: Mapping[str, Any]
) -> None:
    torch.save(agent.get_parameters(), part / "policy.pt")
    torch.save(tensors_of(agent), part / "tensors.pt")
    if reward is not None:
        reward.save(part / "reward.safetensors")
    for name, rms in _running(agent).items():
        np.savez(part / f"{name}.npz", mean=rms.mean, var=rms.var, count=rms.count)
    if isinstance(agent, OffPolicyAlgorithm) and agent.replay_buffer is not None:
        _save_replay(part / "replay", agent.replay_buffer)
    _write_text(part / "state.json", json.dumps({**state, "agent_steps": agent.num_timesteps}))


def _put_in_place(part: Path, whole: Path) -> None:
    """Rename; one that is there steps aside first, to where `latest` finds it after a kill."""
    aside = whole.with_name(f"{whole.name}.old")
    if whole.exists():
        shutil.rmtree(aside, ignore_errors=True)
        whole.replace(aside)
    part.replace(whole)
    shutil.rmtree(aside, ignore_errors=True)


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _running(agent: BaseAlgorithm) -> dict[str, RunningMeanStd]:
    """The running statistics that an agent learned with: of observations, and of returns."""
    found = {}
    stats = agent.get_vec_normalize_env()
    if stats is not None and isinstance(stats.obs_rms, RunningMeanStd):
        found["observations"] = stats.obs_rms
    scale = getattr(getattr(agent, "rollout_buffer", None), "scale", None)
    if scale is not None:
        found["returns"] = scale.rms
    return found


def _load_running(path: Path, rms: RunningMeanStd) -> None:
    with np.load(path) as saved:
        rms.mean, rms.var, rms.count = saved["mean"], saved["var"], float(saved["count"])


def _save_replay(folder: Path, buffer: ReplayBuffer) -> None:
    folder.mkdir()
    filled = buffer.buffer_size if buffer.full else buffer.pos
    for name in _REPLAY:
        np.save(folder / f"{name}.npy", getattr(buffer, name)[:filled])
    np.save(folder / "position.npy", np.array([buffer.pos, int(buffer.full)]))


def _load_replay(folder: Path, buffer: ReplayBuffer | None) -> None:
    if buffer is None:
        raise PrefrlError("the agent has no replay buffer")
    for name in _REPLAY:
        saved = np.load(folder / f"{name}.npy", mmap_mode="r")
        getattr(buffer, name)[: len(saved)] = saved
    position, full = np.load(folder / "position.npy")
    buffer.pos, buffer.full = int(position), bool(full)


def _named(folder: Path) -> list[Path]:
    """Oldest first; one that stepped aside is older than what took its place."""
    found = [p for p in folder.glob("[0-9]*") if p.is_dir()] if folder.exists() else []
    return sorted(found, key=lambda p: (p.stem, p.suffix == ""))


def _is_whole(checkpoint: Path) -> bool:
    try:
        sums = json.loads((checkpoint / _MANIFEST).read_text("utf-8"))
        if not (checkpoint / "replay").exists():
            sums.pop("replay", None)  # it went when a newer checkpoint came
        return all(_checksum(checkpoint / name) == known for name, known in sums.items())
    except PermissionError as error:
        raise MachineError(
            f"{error.filename} may not be read: change its permissions, or ask whoever trained "
            "the run to"
        ) from None
    except (OSError, ValueError):
        return False


def _checksum(path: Path) -> str:
    if path.is_dir():  # replay memory: its size tells a truncation without reading it all
        return ",".join(f"{f.name}:{f.stat().st_size}" for f in sorted(path.iterdir()))
    return hashlib.sha256(path.read_bytes()).hexdigest()
