"""From a configuration to a run: builds every stage, hands them to the loop, keeps the folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from numpy.random import Generator, default_rng
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from prefrl import checkpoints
from prefrl.agents.exploration import rollouts_of
from prefrl.agents.player import renew_noise
from prefrl.agents.relabel import keep_in_step
from prefrl.agents.snapshot import AgentSnapshot
from prefrl.agents.spec import AgentSpec, agent_spec, is_finite
from prefrl.config import EnvConfig, LabelConfig, RewardConfig, RunConfig, first_batch
from prefrl.environments import import_module, make_env, max_episode_steps, resolve
from prefrl.keeper import Keeper
from prefrl.labelers import LABELERS, Labeler, is_asked
from prefrl.labelers.oracle import TEACHERS, SimulatedTeacher
from prefrl.labelers.perceptive import Perceptive
from prefrl.loop import LoopSettings, PreferenceLoop, Progress
from prefrl.names import choose
from prefrl.plugins import load_plugins
from prefrl.pools import draws
from prefrl.process import choose_device, set_up_process
from prefrl.queries import STRATEGIES
from prefrl.recorder import Recorder
from prefrl.reward.ensemble import RewardEnsemble
from prefrl.reward.fit import FitSettings
from prefrl.reward.fitters import BackgroundFitter, Fitter, InlineFitter
from prefrl.reward.nets import REWARD_NETS
from prefrl.rundir import RunDir
from prefrl.schedules import SCHEDULES, disagreement_weight, hyperbolic
from prefrl.store import ComparisonStore
from prefrl.streams import Stage, stream
from prefrl.types import MachineError, NewRunNeeded, PrefrlError

OnPass = Callable[[Mapping[str, float]], None]


def train(
    config: RunConfig,
    run: RunDir,
    on_pass: OnPass = lambda row: None,
    on_wait: Callable[[int, int], None] = lambda missing, first: None,
) -> tuple[BaseAlgorithm, RewardEnsemble]:
    """Train a run folder's agent, from its newest checkpoint where there is one.

    Args:
      run: locked by this process.
      on_pass: told of every pass of the loop.
      on_wait: told, while waiting for a person, how many of the first answers are missing, and of
        how many.
    Returns:
      The SB3 agent and the reward ensemble.
    """
    set_up_process(config.threads)
    set_random_seed(config.seed)
    check_names(config)
    env = build_env(config.env, config.seed, ring_steps(config))
    with closing(env), ComparisonStore(run.store_path) as store:
        reward = build_reward(config, env.observation_space, env.action_space)
        agent = build_agent(config, env, reward)
        initial = AgentSnapshot(agent)  # before the checkpoint: of the seed alone
        checkpoint = checkpoints.latest(run.checkpoints)
        state = checkpoints.load(checkpoint, agent, reward) if checkpoint else {}
        env.steps_taken = step = int(state.get("step", 0))
        if step:  # other episodes and actions than those after the seed alone
            agent.set_random_seed(int(stream(config.seed, Stage.AGENT, step).integers(2**31)))
        progress = Progress(**state.get("progress", {}))
        keeper = Keeper(run, agent, reward, env, progress, config.checkpoint_every, on_pass)
        with closing(build_fitter(config, run, reward, store, env)) as fitter, closing(keeper):
            loop = PreferenceLoop(
                recorder=env,
                agent=agent,
                reward=reward,
                fitter=fitter,
                labeler=build_labeler(
                    config.labels, stream(config.seed, Stage.LABELER, step), store
                ),
                store=store,
                settings=loop_settings(config),
                rng=stream(config.seed, Stage.LOOP, step),
                progress=progress,
                reset_agent=initial.restore,
                on_pass=keeper.on_pass,
                on_wait=on_wait,
            )
            _run(loop, keeper)
    return agent, reward


def _run(loop: PreferenceLoop, keeper: Keeper) -> None:
    """The loop, and a checkpoint at its end unless the end is the machine's fault."""
    try:
        loop.run()
        keeper.checkpoint()
    except (KeyboardInterrupt, PrefrlError, ValueError) as error:
        if not is_finite(loop.agent):
            raise NewRunNeeded(
                f"the agent's weights are no longer finite after {loop.recorder.steps_taken} "
                "steps: start a new run with a lower agent.kwargs.learning_rate"
            ) from error
        if not isinstance(error, MachineError | ValueError):  # a full disk takes none either
            keeper.checkpoint()
        raise


def newest_checkpoint(run: RunDir) -> Path:
    """What a run has learned so far.

    Raises:
      PrefrlError: nothing yet.
    """
    checkpoint = checkpoints.latest(run.checkpoints)
    if checkpoint is None:
        raise PrefrlError(f"{run.path} has no checkpoint yet: train it first")
    return checkpoint


def load_trained(config: RunConfig, checkpoint: Path) -> tuple[BaseAlgorithm, RewardEnsemble]:
    """The agent and the reward ensemble of a checkpoint of a run with this configuration.

    One that was trained on a GPU is read on the CPU where there is none.
    """
    set_up_process(config.threads)
    check_names(config)
    if config.device == "cuda":
        config = replace(config, device="auto")
    env = build_env(replace(config.env, vec="dummy"), config.seed, ring_steps(config))
    reward = build_reward(config, env.observation_space, env.action_space)
    agent = build_agent(config, env, reward)
    state = checkpoints.load(checkpoint, agent, reward)
    reward.disagreement_weight = disagreement_weight(
        int(state["step"]), config.steps, config.reward.bonus, config.reward.pessimism
    )
    env.close()
    renew_noise(agent, config.env.n_envs)
    return agent, reward


def check(config: RunConfig) -> None:
    """Refuse, before a run folder is made, what cannot train.

    Raises:
      PrefrlError: an unknown name, an environment or agent that cannot be built.
    """
    check_names(config)
    _check_pictures(config)
    here = config.env if config.env.vec == "envpool" else replace(config.env, vec="dummy")
    env = build_env(here, config.seed, ring_steps(config))
    build_agent(config, env, build_reward(config, env.observation_space, env.action_space))
    env.close()


def _check_pictures(config: RunConfig) -> None:
    """Refuse to ask people about clips that could not be drawn."""
    env = config.env
    if env.vec != "envpool" or draws(resolve(env.id)):
        return
    labeler = LABELERS[config.labels.labeler](default_rng(config.seed))
    if is_asked(labeler) and not labeler.immediate:
        raise PrefrlError(
            f"EnvPool keeps nothing that draws {env.id} again, and nobody can judge what cannot "
            f"be seen: use --vec auto, or a simulated labeler in place of {config.labels.labeler}"
        )


def check_names(config: RunConfig) -> None:
    """Refuse unknown names before anything is built, each with the nearest right one."""
    load_plugins()
    import_module(config.env.module)
    choose(LABELERS, config.labels.labeler, "labeler")
    if config.reward.target == "returns" and config.labels.labeler not in TEACHERS:
        raise PrefrlError(
            f"reward.target = 'returns' with labels.labeler = {config.labels.labeler!r}: only a "
            f"simulated teacher ({', '.join(TEACHERS)}) can tell true returns; choose one, or "
            "reward.target=comparisons"
        )
    choose(STRATEGIES, config.labels.strategy, "strategy")
    choose(SCHEDULES, config.labels.schedule, "schedule")
    choose(REWARD_NETS | {"auto": None}, config.reward.net, "reward net")
    agent_spec(config.agent.name, config.agent.kwargs)


def build_env(config: EnvConfig, seed: int, ring: int) -> Recorder:
    kwargs = config.train_kwargs
    return make_env(config.id, config.n_envs, seed, kwargs, config.module, config.vec, ring)


def ring_steps(config: RunConfig) -> int:
    """Steps of each environment that the recorder keeps: enough for a rollout and for queries."""
    labels, limit = config.labels, _longest_episode(config.env)
    if limit is not None and labels.segment_length > limit:
        raise PrefrlError(
            f"labels.segment_length = {labels.segment_length} is longer than the longest episode "
            f"of {config.env.id} ({limit} steps): lower it (--segment-length)"
        )
    rollout = int(config.agent.kwargs.get("n_steps", 2048))
    asked = max(labels.ask_every, labels.warmup_steps) // config.env.n_envs
    return max(4 * rollout if rollout <= 512 else rollout, asked, 4 * labels.segment_length)


def _longest_episode(env: EnvConfig) -> int | None:
    """Of training, in steps; None: nothing cuts one."""
    own = max_episode_steps(env.id, env.module, env.kwargs)
    if own is not None and env.train_time_limit > own:
        raise PrefrlError(
            f"env.train_time_limit = {env.train_time_limit} cuts nothing: an episode of {env.id} "
            f"has {own} steps at most; lower it, or leave it at 0"
        )
    return env.train_time_limit or own


def build_reward(
    config: RunConfig, observation: gym.Space[Any], action: gym.Space[Any]
) -> RewardEnsemble:
    reward = config.reward
    ensemble = RewardEnsemble(
        observation,
        action,
        n_members=reward.members,
        net=reward.net,
        hidden=reward.hidden,
        output_std=reward.output_std,
        generator=torch.Generator().manual_seed(config.seed),
        predicts_dynamics=reward.dynamics > 0,
        l2=reward.l2,
    )
    return ensemble.to(_device(config, observation))


def _rebuild_reward(
    config: RunConfig, observation: gym.Space[Any], action: gym.Space[Any]
) -> RewardEnsemble:
    """The same in another process, which has not loaded a user's own nets yet."""
    check_names(config)
    return build_reward(config, observation, action)


def build_labeler(labels: LabelConfig, rng: Generator, store: ComparisonStore) -> Labeler:
    return acquainted(LABELERS[labels.labeler](rng), labels.tie_below, store)


def acquainted(labeler: Labeler, tie_below: float, store: ComparisonStore) -> Labeler:
    """A labeler who knows what was asked before, and does not see small differences."""
    if isinstance(labeler, SimulatedTeacher):
        labeler.recall(c.query for c in store.each_comparison())
    if tie_below == 0 or not labeler.immediate:  # people see what they see
        return labeler
    return Perceptive(labeler, tie_below, (c.query for c in store.each_comparison()))


def build_agent(config: RunConfig, env: Recorder, reward: RewardEnsemble) -> BaseAlgorithm:
    spec = build_spec(config, env.observation_space)
    venv = normalised(env, spec, config.agent.normalize_obs)
    agent = spec.on_preferences(venv, env, reward, config.seed, config.agent.normalize_return)
    if config.agent.critic_epochs:
        keep_in_step(agent, config.agent.critic_epochs, stream(config.seed, Stage.CRITIC))
    if config.agent.explore_steps:
        rollouts_of(agent, config.agent.explore_steps)
    return agent


def build_spec(config: RunConfig, observation: gym.Space[Any]) -> AgentSpec:
    """The agent of a configuration; a device of its own in its keyword arguments goes first."""
    device = str(_device(config, observation))
    return agent_spec(config.agent.name, {"device": device} | config.agent.kwargs)


def _device(config: RunConfig, observation: gym.Space[Any]) -> torch.device:
    return choose_device(config.device, is_image_space(observation))


def normalised(env: VecEnv, spec: AgentSpec, obs: bool, reward: bool = False) -> VecEnv:
    """The environments as the agent sees them; one-hot states and images are left as they are."""
    space = env.observation_space
    obs = obs and isinstance(space, gym.spaces.Box) and not is_image_space(space)
    if not (obs or reward):
        return env
    return VecNormalize(env, norm_obs=obs, norm_reward=reward, gamma=spec.gamma)


def fit_settings(reward: RewardConfig) -> FitSettings:
    """How long and how fast to fit."""
    return FitSettings(**{field.name: getattr(reward, field.name) for field in fields(FitSettings)})


def build_fitter(
    config: RunConfig, run: RunDir, reward: RewardEnsemble, store: ComparisonStore, env: Recorder
) -> Fitter:
    settings = fit_settings(config.reward)
    latest = config.labels.max_comparisons
    if config.reward.fit == "sync":
        return InlineFitter(reward, store, settings, config.seed, latest, step=env.steps_taken)
    build = partial(_rebuild_reward, config, env.observation_space, env.action_space)
    return BackgroundFitter(
        reward,
        build,
        store,
        run.store_path,
        run.fitted_reward,
        settings,
        config.seed,
        latest,
        config.threads,
        env.steps_taken,
    )


def loop_settings(config: RunConfig) -> LoopSettings:
    """When to ask, what, and what the members' disagreement is worth.

    Raises:
      PrefrlError: an unknown schedule or strategy.
    """
    labels, agent, reward = config.labels, config.agent, config.reward
    schedule = choose(SCHEDULES, labels.schedule, "schedule")
    if schedule is hyperbolic:
        schedule = partial(hyperbolic, half_rate_at=labels.half_rate_at)
    return LoopSettings(
        total_steps=config.steps,
        budget=labels.budget,
        first_batch=first_batch(labels),
        schedule=schedule,
        strategy=choose(STRATEGIES, labels.strategy, "strategy"),
        ask_above=labels.ask_above,
        oversample=labels.oversample,
        segment_length=labels.segment_length,
        pool_size=labels.pool_size,
        on_policy_share=labels.on_policy_share,
        reuse=labels.reuse,
        explore_steps=agent.explore_steps,
        restart_at=agent.restart_at,
        bonus=reward.bonus,
        pessimism=reward.pessimism,
        ask_every=labels.ask_every,
        warmup_steps=labels.warmup_steps,
        warmup_hold=labels.warmup_hold,
        expire_after=labels.expire_after,
        open_at_once=labels.open_at_once,
    )
