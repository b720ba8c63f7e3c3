"""Checkpoints are whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from prefrl import checkpoints
from prefrl.agents.spec import agent_spec
from prefrl.environments import make_env
from prefrl.keeper import Keeper
from prefrl.loop import Progress
from prefrl.recorder import act_at_random
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.rundir import RunDir
from prefrl.types import MachineError

KWARGS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 32, "batch_size": 32, "n_epochs": 1},
    "sac": {"learning_starts": 16, "batch_size": 8, "train_freq": 8, "buffer_size": 50},
}


def build(
    name: str = "ppo", seed: int = 0, hidden: int = 8
) -> tuple[BaseAlgorithm, RewardEnsemble]:
    """An agent on normalised observations, and an ensemble that knows its inputs."""
    recorder = make_env("Pendulum-v1", 2, seed=seed, ring_steps=64)
    generator = torch.Generator().manual_seed(seed)
    reward = RewardEnsemble(
        recorder.observation_space, recorder.action_space, 2, hidden=(4,), generator=generator
    )
    act_at_random(recorder, 32, np.random.default_rng(seed))
    inputs = reward.encode(*recorder.rollout(recorder.recorded))
    reward.set_inputs(inputs)
    reward.set_scale(inputs)
    spec = agent_spec(name, KWARGS[name] | {"policy_kwargs": {"net_arch": [hidden]}})
    venv = VecNormalize(recorder, norm_reward=False)
    return spec.on_preferences(venv, recorder, reward, seed, True), reward


@pytest.fixture(scope="module")
def trained() -> tuple[BaseAlgorithm, RewardEnsemble]:
    agent, reward = build()
    agent.learn(128)
    return agent, reward


@pytest.fixture(scope="module")
def trained_sac() -> tuple[BaseAlgorithm, RewardEnsemble]:
    agent, reward = build("sac")
    agent.learn(64)
    return agent, reward


def save_steps(folder: Path, trained: tuple[BaseAlgorithm, RewardEnsemble], *steps: int) -> None:
    for step in steps:
        checkpoints.save(folder, *trained, {"step": step})


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def found_step(folder: Path) -> int | None:
    checkpoint = checkpoints.latest(folder)
    return int(checkpoint.name) if checkpoint else None


OBS = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
ACTIONS = np.random.default_rng(1).uniform(-2, 2, (20, 1)).astype(np.float32)


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_what_is_loaded_is_what_was_saved(
    tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    agent, reward = request.getfixturevalue("trained" if name == "ppo" else "trained_sac")
    state = {"step": 160, "progress": {"offered": 7, "asked": 5}}
    checkpoint = checkpoints.save(tmp_path, agent, reward, state)
    assert checkpoint == checkpoints.latest(tmp_path)
    other, other_reward = build(name, seed=1)
    assert not np.allclose(
        other.predict(OBS, deterministic=True)[0], agent.predict(OBS, deterministic=True)[0]
    )
    assert checkpoints.load(checkpoint, other, other_reward).items() >= state.items()
    np.testing.assert_array_equal(
        other.predict(OBS, deterministic=True)[0], agent.predict(OBS, deterministic=True)[0]
    )
    np.testing.assert_array_equal(other_reward.predict(OBS, ACTIONS), reward.predict(OBS, ACTIONS))
    assert other.num_timesteps == agent.num_timesteps > 0
    ours, theirs = (a.get_vec_normalize_env() for a in (agent, other))
    assert isinstance(ours, VecNormalize)
    assert isinstance(theirs, VecNormalize)
    np.testing.assert_array_equal(theirs.normalize_obs(OBS), ours.normalize_obs(OBS))
    assert theirs.obs_rms.count == ours.obs_rms.count
    assert not np.allclose(ours.obs_rms.mean, 0)


def test_the_scale_of_returns_is_kept(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    agent, reward = trained
    checkpoint = checkpoints.save(tmp_path, agent, reward, {"step": 1})
    other, other_reward = build(seed=1)
    assert isinstance(agent, PPO)
    assert isinstance(other, PPO)
    ours, theirs = agent.rollout_buffer.scale, other.rollout_buffer.scale
    assert ours.rms.var != theirs.rms.var
    checkpoints.load(checkpoint, other, other_reward)
    assert (theirs.rms.mean, theirs.rms.var, theirs.rms.count) == (
        ours.rms.mean, ours.rms.var, ours.rms.count,
    )  # fmt: skip


def test_adam_goes_on_where_it_was(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    agent, reward = trained
    checkpoint = checkpoints.save(tmp_path, agent, reward, {"step": 1})
    other, other_reward = build(seed=1)
    checkpoints.load(checkpoint, other, other_reward)
    ours, theirs = (a.policy.optimizer.state_dict()["state"] for a in (agent, other))  # type: ignore[union-attr]
    assert ours.keys() == theirs.keys()
    for index in ours:
        torch.testing.assert_close(theirs[index]["exp_avg_sq"], ours[index]["exp_avg_sq"])
        assert ours[index]["exp_avg_sq"].abs().sum() > 0


def test_the_entropy_coefficient_is_kept_where_its_optimizer_holds_it(
    tmp_path: Path, trained_sac: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    agent, reward = trained_sac
    assert isinstance(agent, SAC) and agent.log_ent_coef is not None
    assert agent.log_ent_coef.item() != 0, "it has been learned a little"
    checkpoint = checkpoints.save(tmp_path, agent, reward, {"step": 1})
    other, other_reward = build("sac", seed=1)
    assert isinstance(other, SAC) and other.ent_coef_optimizer is not None
    checkpoints.load(checkpoint, other, other_reward)
    assert other.log_ent_coef is other.ent_coef_optimizer.param_groups[0]["params"][0]
    assert torch.equal(other.log_ent_coef, agent.log_ent_coef)


def test_replay_memory_is_kept(
    tmp_path: Path, trained_sac: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    agent, reward = trained_sac
    checkpoint = checkpoints.save(tmp_path, agent, reward, {"step": 1})
    other, other_reward = build("sac", seed=1)
    checkpoints.load(checkpoint, other, other_reward)
    assert isinstance(agent, SAC)
    assert isinstance(other, SAC)
    ours, theirs = agent.replay_buffer, other.replay_buffer
    assert ours is not None
    assert theirs is not None
    assert (theirs.pos, theirs.full) == (ours.pos, ours.full)
    for part in ("observations", "next_observations", "actions", "dones", "timeouts"):
        np.testing.assert_array_equal(getattr(theirs, part), getattr(ours, part))
    assert ours.observations.any()


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path / "none") is None
    assert checkpoints.latest(tmp_path) is None


def test_only_the_newest_stay(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    steps = [900, 1000, 20_000, 100_000, 3_000_000]  # sorted as numbers, not as text
    save_steps(tmp_path, trained, *steps)
    assert [int(name) for name in names(tmp_path)] == steps[-checkpoints.KEPT :]
    assert found_step(tmp_path) == 3_000_000


def test_the_same_step_twice_keeps_the_later(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    for number in (1, 2):
        checkpoints.save(tmp_path, *trained, {"step": 10, "number": number})
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert checkpoints.load(found, *trained)["number"] == 2
    assert len(names(tmp_path)) == 1


FILES = ["policy.pt", "reward.safetensors", "state.json", "observations.npz", "manifest.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble], file: str, damage: str
) -> None:
    save_steps(tmp_path, trained, 1, 2)
    path = tmp_path / f"{2:012d}" / file
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    assert found_step(tmp_path) == 1
    checkpoints.load(tmp_path / f"{1:012d}", *trained)


def test_replay_memory_that_was_cut_short_is_noticed_and_older_ones_go_on_without(
    tmp_path: Path, trained_sac: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    save_steps(tmp_path, trained_sac, 1, 2)
    assert not (tmp_path / f"{1:012d}" / "replay").exists(), "it is large"
    replay = tmp_path / f"{2:012d}" / "replay" / "actions.npy"
    replay.write_bytes(replay.read_bytes()[:-4])
    assert found_step(tmp_path) == 1
    other, other_reward = build("sac", seed=1)
    checkpoints.load(tmp_path / f"{1:012d}", other, other_reward)
    agent = trained_sac[0]
    np.testing.assert_array_equal(
        other.predict(OBS, deterministic=True)[0], agent.predict(OBS, deterministic=True)[0]
    )


def test_what_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a run that another user trained: moving it away would lose it."""
    save_steps(tmp_path, trained, 1)

    def forbidden(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoints, "_checksum", forbidden)
    with pytest.raises(MachineError, match=r"may not be read: change its permissions"):
        checkpoints.latest(tmp_path)


def test_all_of_a_checkpoint_may_be_read_by_whom_the_umask_lets(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    save_steps(tmp_path, trained, 1)
    usual = tmp_path / "usual"
    usual.touch()
    modes = {p.name: p.stat().st_mode for p in (tmp_path / f"{1:012d}").iterdir() if p.is_file()}
    assert set(modes.values()) == {usual.stat().st_mode}, modes


def test_all_damaged_is_an_error_that_says_what_is_safe(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    save_steps(tmp_path, trained, 1, 2)
    for folder in tmp_path.iterdir():
        (folder / "policy.pt").write_bytes(b"")
    with pytest.raises(MachineError, match=r"every checkpoint in .* store.sqlite are safe"):
        checkpoints.latest(tmp_path)


def test_what_a_crash_leaves_behind_is_ignored(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    save_steps(tmp_path, trained, 1)
    part = tmp_path / f".{2:012d}.part"
    part.mkdir()
    (part / "policy.pt").write_bytes(b"half")
    (tmp_path / "fitted.safetensors").write_bytes(b"of the background fit")
    assert found_step(tmp_path) == 1
    save_steps(tmp_path, trained, 2)
    assert found_step(tmp_path) == 2
    assert not part.exists()
    assert (tmp_path / "fitted.safetensors").exists()


def test_a_kill_before_what_stepped_aside_is_gone(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_steps(tmp_path, trained, 1)
    agent, reward = trained
    remove = shutil.rmtree

    def killed(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.suffix == ".old" and path.exists():
            raise KeyboardInterrupt
        remove(path, *args, **kwargs)

    monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, agent, reward, {"step": 1, "later": True})
    monkeypatch.undo()
    newest = checkpoints.latest(tmp_path)
    assert newest is not None and checkpoints.state(newest)["later"]


def test_a_kill_amid_a_checkpoint_leaves_nothing_for_good(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    part = tmp_path / f".{7:012d}.part"
    part.mkdir()
    save_steps(tmp_path, trained, 9)
    assert names(tmp_path) == [f"{9:012d}"]


def test_a_crash_before_the_manifest_leaves_no_checkpoint(
    tmp_path: Path,
    trained: tuple[BaseAlgorithm, RewardEnsemble],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_steps(tmp_path, trained, 1)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "_checksum", killed)
    with pytest.raises(KeyboardInterrupt):
        save_steps(tmp_path, trained, 2)
    monkeypatch.undo()
    assert found_step(tmp_path) == 1
    save_steps(tmp_path, trained, 3)
    assert found_step(tmp_path) == 3


def test_a_full_disk_keeps_the_checkpoints_that_are_there(
    tmp_path: Path,
    trained: tuple[BaseAlgorithm, RewardEnsemble],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_steps(tmp_path, trained, 1, 2, 3)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RewardEnsemble, "save", full)
    with pytest.raises(MachineError, match=r"No space left on device.*make room"):
        save_steps(tmp_path, trained, 4)
    assert [int(name) for name in names(tmp_path)] == [1, 2, 3]


def test_a_checkpoint_of_another_shape_is_refused(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    checkpoint = checkpoints.save(tmp_path, *trained, {"step": 1})
    with pytest.raises(MachineError, match="cannot be read"):
        checkpoints.load(checkpoint, *build(hidden=16))


def test_the_reward_can_be_left_out(
    tmp_path: Path, trained: tuple[BaseAlgorithm, RewardEnsemble]
) -> None:
    checkpoint = checkpoints.save(tmp_path, trained[0], None, {"step": 1})
    other, reward = build(seed=1)
    before = reward.predict(OBS, ACTIONS)
    checkpoints.load(checkpoint, other, reward)
    np.testing.assert_array_equal(reward.predict(OBS, ACTIONS), before)


def test_a_checkpoint_is_due_so_many_steps_after_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(checkpoints, "save", lambda *parts: saved.append(parts[-1]["step"]))
    agent, reward = build()
    reward.fitted.fill_(True)
    recorder = make_env("Pendulum-v1", 2, seed=0)
    run = RunDir(tmp_path)
    keeper = Keeper(run, agent, reward, recorder, Progress(), 100, lambda row: None)
    for recorder.steps_taken in range(60, 401, 20):
        keeper.on_pass({"step": recorder.steps_taken})
    keeper.close()
    assert saved == [100, 200, 300, 400]
