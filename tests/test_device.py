"""Networks compute where a run says, and its checkpoints are read anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from prefrl import environments
from prefrl.bench.arms import ABLATIONS, TAUGHT
from prefrl.config import PRESETS, RunConfig, from_mapping, load
from prefrl.environments import make_vec_env
from prefrl.metrics import read_metrics
from prefrl.process import choose_device
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import _near, _training
from prefrl.run import load_trained, newest_checkpoint, train
from prefrl.rundir import RunDir
from prefrl.types import PrefrlError

DOT = "prefrl/MovingDot-v0"
SHORT = {
    "labels": {
        "budget": 60, "first_share": 0.5, "ask_above": 0.0,
        "warmup_steps": 1024, "ask_every": 512, "pool_size": 100,
    },
    "reward": {"fit": "sync", "max_epochs": 4},
    "agent": {"kwargs": {"n_steps": 64, "batch_size": 64, "n_epochs": 2}},
}  # fmt: skip


METHODS = ABLATIONS | {
    "mistakes, doubted": TAUGHT["mistake, doubted"],
    "exploration first": {"agent": {"explore_steps": 1024}},
    "sampled steps": {"reward": {"sampled_steps": 5}},
    "fits beside the trainer": {"reward": {"fit": "async", "pseudo_labels": 0.95}},
}
OF_IMAGES = (
    "exploration first", "critic kept in step", "bonus for disagreement", "diverse queries",
    "crops and pseudo-labels", "implied answers", "mistakes, doubted", "sampled steps",
    "fits beside the trainer",
)  # fmt: skip
"""Methods that compute on pictures, or on their rewards."""


def short(device: str, task: str = "moving_dot") -> RunConfig:
    config = replace(load(PRESETS / f"{task}.toml"), steps=2048, device=device)
    return from_mapping(SHORT, config)


def test_small_networks_stay_on_the_cpu() -> None:
    assert choose_device("auto", images=False) == choose_device("cpu", images=True)
    assert choose_device("cpu", images=True).type == "cpu"


def test_images_go_where_the_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto", images=True).type == "cuda"
    assert choose_device("auto", images=False).type == "cpu"
    assert choose_device("cuda", images=False).type == "cuda"


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PrefrlError, match="torch sees no GPU here; take device = 'auto'"):
        choose_device("cuda", images=True)
    assert choose_device("auto", images=True).type == "cpu"


def test_images_are_stepped_in_processes_where_there_are_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environments.os, "cpu_count", lambda: 4)
    many = make_vec_env(DOT, 2, seed=3, vec="auto")
    assert isinstance(many, SubprocVecEnv)
    vectors = make_vec_env("CartPole-v1", 2, vec="auto")
    assert isinstance(vectors, DummyVecEnv)
    monkeypatch.setattr(environments.os, "cpu_count", lambda: 2)
    one = make_vec_env(DOT, 2, seed=3, vec="auto")
    assert isinstance(one, DummyVecEnv)
    rng = default_rng(0)
    assert np.array_equal(many.reset(), one.reset())
    for _ in range(150):  # over an episode's end
        actions = rng.integers(one.action_space.n, size=2)  # type: ignore[attr-defined]
        for found, expected in zip(many.step(actions)[:3], one.step(actions)[:3], strict=True):
            assert np.allclose(found, expected, rtol=1e-6)  # rewards: float64 and float32
    for venv in (many, vectors, one):
        venv.close()


def test_a_run_that_names_a_gpu_is_read_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir.create(tmp_path / "run", short("cpu"))
    agent, _ = train(short("cpu"), run)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    again, reward = load_trained(short("cuda"), newest_checkpoint(run))
    assert again.device.type == reward.device.type == "cpu"
    for old, new in zip(agent.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(old, new)
    run.unlock()


@pytest.mark.gpu
def test_a_gpu_predicts_what_the_cpu_does(ensemble_of: Callable[..., RewardEnsemble]) -> None:
    here, there = ensemble_of(), ensemble_of().to("cuda")
    obs = default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    actions = np.zeros((5, 7, 1), dtype=np.float32)
    assert there.device.type == "cuda"
    assert np.allclose(here.predict(obs, actions), there.predict(obs, actions), atol=1e-5)


@pytest.mark.gpu
def test_a_fit_leaves_the_gpus_random_numbers_alone(
    ensemble_of: Callable[..., RewardEnsemble],
) -> None:
    net = ensemble_of().to("cuda").net
    torch.manual_seed(0)
    before = torch.cuda.get_rng_state()
    drawn = []
    for _ in range(2):
        with _training(net, default_rng(0), torch.device("cuda", 0)):
            drawn.append(torch.rand(8, device="cuda"))
    assert torch.equal(*drawn), "dropout follows the seed"
    assert torch.equal(torch.cuda.get_rng_state(), before)


@pytest.mark.gpu
def test_inputs_without_room_on_the_gpu_stay_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs, device = torch.zeros(100), torch.device("cuda", 0)
    assert _near(inputs, device).device.type == "cuda"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (700, 700))
    assert _near(inputs, device).device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("room", [True, False])
def test_a_run_on_a_gpu_learns_and_is_read_without_one(
    room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not room:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    run = RunDir.create(tmp_path / "run", short("cuda"))
    agent, reward = train(short("cuda"), run)
    assert agent.device.type == reward.device.type == "cuda"
    assert read_metrics(run.metrics_path)[-1]["heldout_accuracy"] > 0.6
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    again, read = load_trained(short("cuda"), newest_checkpoint(run))
    assert again.device.type == read.device.type == "cpu"
    for old, new in zip(agent.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(old.cpu(), new)
    for name, value in reward.state_dict().items():
        assert torch.equal(value.cpu(), read.state_dict()[name])
    run.unlock()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:You are trying to run PPO on the GPU")  # SB3, of vectors
@pytest.mark.parametrize(
    ("task", "method"),
    [("pendulum", name) for name in METHODS] + [("moving_dot", name) for name in OF_IMAGES],
)
def test_every_method_computes_on_a_gpu(task: str, method: str, tmp_path: Path) -> None:
    config = from_mapping(METHODS[method], short("cuda", task))
    run = RunDir.create(tmp_path / "run", config)
    agent, reward = train(config, run)
    assert agent.device.type == reward.device.type == "cuda"
    assert reward.fitted
    assert np.isfinite(read_metrics(run.metrics_path)[-1]["heldout_nll"])
    assert all(parameter.isfinite().all() for parameter in agent.policy.parameters())
    run.unlock()
