"""The loop in Python: bring your own SB3 agent, get it back trained on preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from numpy.random import Generator
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import unwrap_vec_wrapper

from prefrl.agents.exploration import rollouts_of
from prefrl.agents.relabel import RelabelledReplayBuffer, RelabelledRolloutBuffer, buffer_of
from prefrl.agents.snapshot import AgentSnapshot
from prefrl.config import AgentConfig, EnvConfig, LabelConfig, RewardConfig, RunConfig, validate
from prefrl.labelers import LABELERS, Labeler
from prefrl.loop import PreferenceLoop
from prefrl.names import choose
from prefrl.plugins import load_plugins
from prefrl.process import set_up_process
from prefrl.recorder import Recorder
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitSettings
from prefrl.reward.fitters import InlineFitter
from prefrl.run import acquainted, load_trained, loop_settings, newest_checkpoint
from prefrl.rundir import RunDir
from prefrl.store import ComparisonStore
from prefrl.streams import Stage, stream
from prefrl.types import PrefrlError


def learn(
    agent: BaseAlgorithm,
    reward: RewardEnsemble,
    labeler: str | Labeler = "oracle",
    labels: int = 700,
    steps: int = 600_000,
    *,
    seed: int = 0,
    asking: LabelConfig | None = None,
    fit: FitSettings | None = None,
    store: str | Path | None = None,
    threads: int = 1,
    explore_steps: int = 0,
    restart_at: float = 0.0,
    bonus: float = 0.0,
    pessimism: float = 0.0,
    on_pass: Callable[[Mapping[str, float]], None] = lambda row: None,
    on_wait: Callable[[int, int], None] = lambda missing, first: None,
) -> None:
    """Train an SB3 agent on what a labeler likes; agent and reward are changed in place.

    Args:
      agent: built on a Recorder (bare or under VecNormalize) with a relabelling buffer that
        scores with `reward`.
      labeler: a name in LABELERS, or an object that answers queries.
      labels: budget over the whole run; of a second call too only with the `store` of the first.
      steps: environment steps in all, a random policy's first ones included.
      seed: of queries, bootstrap and minibatches; the agent has its own.
      asking: when to ask, what, and what a simulated labeler's eyes miss; its labeler and budget
        give way to the ones here.
      fit: how the reward is fitted, in this process, between rollouts.
      store: file or database URL that keeps the answers; a temporary one by default.
      threads: torch threads of this process from now on; small networks are several times
        slower on more than one.
      explore_steps, restart_at: as in AgentConfig.
      bonus, pessimism: as in RewardConfig.
      on_pass: told of every pass of the loop, with what it measured.
      on_wait: told, while waiting for a person, how many of the first answers are missing, and of
        how many.
    Raises:
      PrefrlError: an unknown name, numbers that cannot be used, an agent without a Recorder or
        whose buffer does not score with `reward`, nothing left to train, or a labeler who
        answers through a store that nobody knows or has no answers.
    """
    set_up_process(threads)
    recorder = _recorder_of(agent)
    _check_buffer(agent, reward, recorder)
    if steps <= recorder.steps_taken:
        raise PrefrlError(
            f"steps = {steps} are all of a run, and its environments have taken "
            f"{recorder.steps_taken} already: raise steps=, or build new env, reward and agent"
        )
    asking = replace(asking or LabelConfig(), budget=labels)
    env = EnvConfig(n_envs=recorder.num_envs)
    fit = fit or FitSettings()
    _check_fit(fit, reward)
    config = RunConfig(
        env,
        asking,
        RewardConfig(members=reward.n_members, bonus=bonus, pessimism=pessimism, **asdict(fit)),
        AgentConfig(explore_steps=explore_steps, restart_at=restart_at),
        steps=steps,
        seed=seed,
        threads=threads,
    )
    validate(config)
    if explore_steps:
        rollouts_of(agent, explore_steps)
    load_plugins()
    if isinstance(labeler, type):
        raise PrefrlError(
            f"labeler = {labeler.__name__} is a class: hand over an object, {labeler.__name__}(...)"
        )
    if isinstance(labeler, str):
        build: Callable[[Generator], Labeler] = choose(LABELERS, labeler, "labeler")
        labeler = build(stream(seed, Stage.LABELER))
    if not labeler.immediate and store is None:
        raise PrefrlError(
            f"a temporary store holds no answers, and nobody can find it to give any as "
            f"{labeler.name!r}: name a file or a database URL with store="
        )
    with TemporaryDirectory() as folder, ComparisonStore(store or Path(folder) / "s") as opened:
        PreferenceLoop(
            recorder=recorder,
            agent=agent,
            reward=reward,
            fitter=InlineFitter(reward, opened, fit, seed, asking.max_comparisons),
            labeler=acquainted(labeler, asking.tie_below, opened),
            store=opened,
            settings=loop_settings(config),
            rng=stream(seed, Stage.LOOP),
            reset_agent=AgentSnapshot(agent).restore,
            on_pass=on_pass,
            on_wait=on_wait,
        ).run()


def _check_fit(fit: FitSettings, reward: RewardEnsemble) -> None:
    if fit.dynamics and not reward.predicts_dynamics:
        raise PrefrlError(
            f"fit.dynamics = {fit.dynamics:g} needs an ensemble with a dynamics head: build it "
            "with RewardEnsemble(..., predicts_dynamics=True), or leave dynamics at 0"
        )


def _check_buffer(agent: BaseAlgorithm, reward: RewardEnsemble, recorder: Recorder) -> None:
    buffer = buffer_of(agent)
    if not isinstance(buffer, RelabelledRolloutBuffer | RelabelledReplayBuffer):
        raise PrefrlError(
            f"the agent's {type(buffer).__name__} does not score itself, and it would learn "
            "nothing: build it with rollout_buffer_class=prefrl.RelabelledRolloutBuffer, or "
            "replay_buffer_class=prefrl.RelabelledReplayBuffer"
        )
    if buffer.reward is not reward:
        raise PrefrlError(
            "the agent's buffer scores with another ensemble than the one to fit: hand the same "
            "one to the buffer and to learn()"
        )
    norm = agent.get_vec_normalize_env()
    if isinstance(buffer, RelabelledReplayBuffer) and norm is not None and norm.norm_reward:
        raise PrefrlError(
            "VecNormalize sees no rewards before the buffer scores them, and would scale these by "
            "next to nothing: wrap with VecNormalize(env, norm_reward=False)"
        )
    if isinstance(buffer, RelabelledRolloutBuffer) and buffer.buffer_size > recorder.ring_steps:
        raise PrefrlError(
            f"a rollout has {buffer.buffer_size} steps of each environment, and the recorder keeps "
            f"{recorder.ring_steps}: raise ring_steps= of Recorder or make_env"
        )


def _recorder_of(agent: BaseAlgorithm) -> Recorder:
    env = agent.get_env()
    recorder = None if env is None else unwrap_vec_wrapper(env, Recorder)
    if recorder is None:
        raise PrefrlError("the agent's environments are not recorded: wrap them in prefrl.Recorder")
    return recorder


def load_run(path: str | Path) -> tuple[BaseAlgorithm, RewardEnsemble]:
    """The SB3 agent and the reward ensemble of a run folder's newest checkpoint.

    Where the run normalised observations, the agent wants them so: hand it
    `agent.get_vec_normalize_env().normalize_obs(obs)`. The ensemble takes raw ones.

    Raises:
      PrefrlError: there is no run, or it has no checkpoint yet.
    """
    run = RunDir.open(Path(path))
    return load_trained(run.config(), newest_checkpoint(run))
