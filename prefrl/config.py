"""What a run is made of: frozen dataclasses, read from TOML and the command line.

Configuration stops at the builder, `run.py`, and at `evaluate.py`, which builds the same
again: no stage ever sees one of these classes.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from prefrl.ranges import OneOf, Range, check_ranges
from prefrl.toml_tables import differences, replaced, short_hash
from prefrl.types import PrefrlError

PRESETS = Path(__file__).resolve().parent.parent / "runs" / "configs"
PICTURE_SIZE = Range(64, 2160)
"""Sides of a picture, in pixels."""


@dataclass(frozen=True)
class EnvConfig:
    """The environment and how many copies of it run."""

    id: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of gymnasium.make."""
    module: str = ""
    """A module to import first, so that it can register environments of its own."""
    n_envs: Annotated[int, Range(1)] = 8
    """Copies that run side by side."""
    train_time_limit: Annotated[int, Range(0)] = 0
    """Steps after which training cuts an episode, so that more of them begin: an agent that falls
    lies for the rest of each. What follows is worth what the critic says (Pardo et al. 2018, arXiv
    1712.00378), and evaluation has whole episodes. 0: the environment's own limit."""
    vec: Annotated[str, OneOf("auto", "dummy", "subproc", "envpool")] = "auto"
    """dummy: in the trainer's process; subproc: a process each; auto: subproc where observations
    are images and there are at least four cores, else dummy. The steps are the same. envpool:
    EnvPool's equal of the environment, on Linux; its MuJoCo is another version, and its random
    numbers are others."""

    @property
    def train_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of gymnasium.make where an agent is trained."""
        limit = {"max_episode_steps": self.train_time_limit} if self.train_time_limit else {}
        return self.kwargs | limit


@dataclass(frozen=True)
class LabelConfig:
    """Who answers, how many answers, and which queries are worth asking."""

    labeler: str = "oracle"
    tie_below: Annotated[float, Range(0)] = 0.0
    """Smallest difference in a segment's true return that a simulated labeler sees; 0 sees all."""
    budget: Annotated[int, Range(1)] = 700
    """Labels that the schedule offers over the whole run."""
    first_share: Annotated[float, Range(0, 1)] = 0.25
    """Share of the budget asked before training starts, about a random policy's segments, or an
    explorer's (`agent.explore_steps`)."""
    first_least: Annotated[int, Range(0)] = 10
    """Fewest labels asked before training, of a budget that has as many."""
    schedule: str = "hyperbolic"
    half_rate_at: Annotated[float, Range(1e-6)] = 0.1
    """Share of the run after which the hyperbolic schedule's label rate has halved."""
    strategy: str = "disagreement"
    ask_above: Annotated[float, Range(0, 0.5)] = 0.1
    """The gate: least disagreement, in [0, 0.5], at which a query is asked; 0 asks all."""
    oversample: Annotated[int, Range(1)] = 10
    """Candidates drawn for every query wanted."""
    segment_length: Annotated[int, Range(1)] = 25
    """Steps of a segment."""
    pool_size: Annotated[int, Range(2)] = 1000
    """Recent segments kept to draw candidates from."""
    on_policy_share: Annotated[float, Range(0, 1)] = 0.0
    """Share of the candidates of which both segments are of the newest batch; the others are of
    the whole pool (QPA, Hu et al. 2024)."""
    ask_every: Annotated[int, Range(1)] = 8192
    """Environment steps between two batches of queries."""
    warmup_steps: Annotated[int, Range(1)] = 8192
    """Environment steps of a random policy before the first batch."""
    warmup_hold: Annotated[int, Range(1)] = 1
    """Steps for which each of its actions is held, on average: those that change with every step
    add up to much the same in all clips where each does little, as in a car."""
    expire_after: Annotated[int, Range(0)] = 40_960
    """Environment steps after which what a person has not answered is no longer asked, and the
    agent of the day is asked about instead; 0: never."""
    open_at_once: Annotated[int, Range(1)] = 100
    """Most queries that wait for people, the first batch apart."""
    reuse: Annotated[float, Range(0, 1)] = 0.0
    """Share of the candidates of which the left segment was asked about before, with another."""
    max_comparisons: Annotated[int, Range(0)] = 0
    """Train the reward on the latest so many comparisons; 0 means all."""


@dataclass(frozen=True)
class RewardConfig:
    """The reward ensemble and how it is fitted."""

    net: str = "auto"
    """mlp: of observation and action; state-mlp: of the observation alone; conv: of an image;
    auto: conv for images, else mlp."""
    members: Annotated[int, Range(1)] = 3
    hidden: tuple[int, ...] = (64, 64)
    noise: Annotated[float, Range(0, 0.99)] = 0.1
    """Share of answers taken to be uniformly random."""
    l2: Annotated[float, Range(0, 0.1)] = 1e-4
    """Where the L2 coefficient of each member begins, which then follows held-out answers; 0: none
    at all, ever ("no regularization" in Christiano et al. 2017, section 3.3)."""
    target: Annotated[str, OneOf("comparisons", "returns")] = "comparisons"
    """comparisons: members are fitted to the answers; returns: to the true return of each segment
    of a comparison, by mean squared error, which simulated teachers alone can tell ("target" in
    Christiano et al. 2017, section 3.3). Either way accuracy and calibration are of the answers."""
    output_std: Annotated[float, Range(1e-6)] = 1.0
    """Standard deviation of each member's reward on the reference batch."""
    learning_rate: Annotated[float, Range(1e-9)] = 1e-3
    batch_size: Annotated[int, Range(1)] = 64
    max_epochs: Annotated[int, Range(1)] = 40
    """Most passes over the comparisons in the first fit."""
    refit_epochs: Annotated[int, Range(1)] = 4
    """Most passes in each later fit, which goes on from the one before."""
    refit_part: Annotated[int, Range(0)] = 1000
    """Comparisons that a later fit looks at where there are over 1.5 times as many: new ones, and
    others drawn anew each time, so that an answer never costs more than after the first thousand.
    0: all; so it is, too, where labels.max_comparisons says how many."""
    patience: Annotated[int, Range(1)] = 5
    """Passes without a better held-out loss after which a fit stops."""
    crop: Annotated[float, Range(1e-6, 1)] = 1.0
    """Fit to stretches of each segment of at least this share of its steps, drawn anew in every
    minibatch (SURF, Park et al. 2022); 1: to the whole."""
    pseudo_labels: Annotated[float, Range(0, 1)] = 0.0
    """Pairs that nobody was asked about, and of which a member is at least so sure, teach it as
    answers do: 0.95, say (SURF, Park et al. 2022); 0: none do."""
    dynamics: Annotated[float, Range(0)] = 0.0
    """Weight of foretelling the next observation, which the nets' features learn besides (after
    REED, Metcalf et al. 2024); 0: they do not."""
    transitive: bool = False
    """Learn, too, what answers imply about pairs that nobody was asked about; see labels.reuse
    (after LiRE, Choi et al. 2024)."""
    doubt: bool = False
    """Answers that members find very unlikely which have not learned from them are left out of a
    fit, or turned round: people press the wrong key (after RIME, Cheng et al. 2024)."""
    restart: bool = False
    """Fit from new weights each time, not on from the last fit's."""
    bonus: Annotated[float, Range(0)] = 0.0
    """Times the members' standard deviation, paid from the second fit on and less and less until
    the end of training, for being where they disagree (RUNE, Liang et al. 2022)."""
    pessimism: Annotated[float, Range(0)] = 0.0
    """Times the members' standard deviation, taken off at the end of training and less before."""
    sampled_steps: Annotated[int, Range(0)] = 0
    """Steps of each segment that a minibatch looks at, drawn at random, in the place of them all:
    as many updates of a net of images in a part of the time. 0: all."""
    fit: Annotated[str, OneOf("async", "sync")] = "async"
    """async: a process of its own beside the trainer; sync: between rollouts, repeatable."""


@dataclass(frozen=True)
class AgentConfig:
    """The SB3 agent."""

    name: str = "ppo"
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the SB3 class."""
    normalize_obs: bool = True
    """Running normalisation of what the policy sees (never of what the reward sees)."""
    normalize_return: bool = True
    """Scale rewards so that discounted returns have unit variance, like VecNormalize;
    agents that learn from a replay buffer never do."""

    explore_steps: Annotated[int, Range(0)] = 0
    """Environment steps, before the first queries, in which it is paid for states far from all
    others (PEBBLE, Lee et al. 2021); the queries are about these. It begins anew then."""
    restart_at: Annotated[float, Range(0, 0.9)] = 0.0
    """Share of the steps after which it begins anew, once, with the reward and the answers that
    are there by then; 0: never. What it learned from the first few answers can hold it where no
    further one helps (the primacy bias, Nikishin et al. 2022)."""
    critic_epochs: Annotated[int, Range(0)] = 0
    """Passes over the next rollout in which its critic is taught a reward that has changed,
    before the actor learns from it."""


@dataclass(frozen=True)
class ViewerConfig:
    """The window in which people label."""

    instruction: str = ""
    """What to choose by; empty: what the environment says."""
    size: Annotated[int, PICTURE_SIZE] = 480
    """Side of a picture that MuJoCo draws, in pixels; others have a size of their own."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Keys of actions in place of the usual ones: {tie = "t", left = ["a", "left"]}."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run folder's config.toml holds."""

    env: EnvConfig = field(default_factory=EnvConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    viewer: ViewerConfig = field(default_factory=ViewerConfig)
    steps: Annotated[int, Range(1)] = 600_000
    """Environment steps in all, the random policy's included."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # numpy takes no others
    threads: Annotated[int, Range(1)] = 1
    """Torch threads of each process: two made PPO on small MLPs less than half as fast."""
    device: Annotated[str, OneOf("auto", "cpu", "cuda")] = "auto"
    """Where networks compute. auto: on a GPU where there is one and observations are images, else
    on the CPU, which is faster for small MLPs; cpu; cuda."""
    checkpoint_every: Annotated[int, Range(1)] = 50_000
    """Environment steps between two checkpoints."""
    eval_episodes: Annotated[int, Range(1)] = 20


def from_mapping(mapping: Mapping[str, Any], base: RunConfig | None = None) -> RunConfig:
    """A configuration from nested tables; what they leave out comes from `base`.

    Raises:
      PrefrlError: an unknown key or a value of the wrong type, with the remedy.
    """
    config = replaced(base or RunConfig(), mapping)
    validate(config)
    return config


def load(path: Path, base: RunConfig | None = None) -> RunConfig:
    """A configuration from a TOML file.

    Raises:
      PrefrlError: it cannot be read, or has an unknown key or a value that cannot be used.
    """
    tables = read_toml(path)
    try:
        return from_mapping(tables, base)
    except PrefrlError as error:
        raise PrefrlError(f"{path}: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a configuration file, whatever their keys.

    Raises:
      PrefrlError: it cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PrefrlError(f"no configuration file {path}: check the path") from None
    except OSError as error:
        raise PrefrlError(f"cannot read a configuration from {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PrefrlError(f"{path} is not valid TOML: {error}") from None


def presets() -> dict[str, Path]:
    """TOML presets by environment id.

    Raises:
      PrefrlError: they are not there: an installed package does not bring them.
    """
    if not PRESETS.is_dir():
        raise PrefrlError(
            f"the presets are not in {PRESETS}: install prefrl from a clone of its repository, "
            "with `pip install -e .`, or name a file with --config"
        )
    found = {}
    for path in sorted(PRESETS.glob("*.toml")):
        env_id = tomllib.loads(path.read_text(encoding="utf-8")).get("env", {}).get("id")
        if env_id:
            found[env_id] = path
    return found


def to_mapping(config: RunConfig) -> dict[str, Any]:
    """Nested plain tables, as TOML holds them."""
    mapping: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return mapping


def settings_key(config: RunConfig) -> str:
    """What differs from the defaults, as a short hash: equal where two runs are alike."""
    usual = to_mapping(RunConfig())
    return short_hash(differences(to_mapping(config), usual))


def validate(config: RunConfig) -> None:
    """Refuse what no run can use: a value outside its range, or two that contradict each other.

    Raises:
      PrefrlError: names the value and the remedy.
    """
    check_ranges(config)
    _check_reward(config.reward, config.labels)
    _check_steps(config)
    if first_batch(config.labels) < 2:
        raise PrefrlError(
            f"a budget of {config.labels.budget} labels is below the first batch, which needs at "
            f"least 2: raise --labels{' or labels.first_least' * (config.labels.budget > 1)}"
        )


def _check_reward(reward: RewardConfig, labels: LabelConfig) -> None:
    if not any(reward.hidden) or min(reward.hidden) < 1:
        raise PrefrlError(
            f"reward.hidden = {list(reward.hidden)}: layer sizes of at least 1 are wanted"
        )
    once = {
        "reward.restart": reward.restart,
        "labels.schedule": labels.schedule == "all-at-start",
        "labels.labeler": labels.labeler == "store",
    }
    for name in (n for n, true in once.items() if true and reward.pseudo_labels):
        raise PrefrlError(
            f"reward.pseudo_labels = {reward.pseudo_labels:g} are of members that a fit goes on "
            f"from, and with {name} as it is each fit begins anew: leave one of them out"
        )
    of_answers = ("pseudo_labels", "transitive", "doubt")
    for name in (n for n in of_answers if getattr(reward, n) and reward.target == "returns"):
        raise PrefrlError(
            f"reward.{name} = {getattr(reward, name)} is about answers, from which "
            "reward.target = 'returns' learns nothing: leave one of them as it is"
        )
    if reward.crop < 1 and reward.sampled_steps and not reward.pseudo_labels:
        raise PrefrlError(
            f"reward.crop = {reward.crop:g} crops nothing where reward.sampled_steps = "
            f"{reward.sampled_steps} draws a segment's steps: leave one of them as it is"
        )
    if reward.dynamics and labels.segment_length < 2:
        raise PrefrlError(
            f"reward.dynamics = {reward.dynamics:g} foretells a segment's next step, and "
            f"labels.segment_length = {labels.segment_length} has none: raise it, or leave "
            "reward.dynamics at 0"
        )
    if reward.members == 1 and (reward.bonus or reward.pessimism):
        name = "bonus" if reward.bonus else "pessimism"
        raise PrefrlError(
            f"reward.{name} = {getattr(reward, name):g} counts what members disagree on, and "
            "reward.members = 1 never does: raise it, or set the other to 0"
        )
    if reward.sampled_steps > labels.segment_length:
        raise PrefrlError(
            f"reward.sampled_steps = {reward.sampled_steps} of segments of "
            f"{labels.segment_length} steps are all: lower it, or leave it at 0"
        )
    if reward.members == 1 and labels.ask_above > 0:
        raise PrefrlError(
            "reward.members = 1 never disagrees, and the gate would ask nothing: raise it, or ask "
            "all with --ask-above 0"
        )


def _check_steps(config: RunConfig) -> None:
    labels, explored = config.labels, config.agent.explore_steps
    of_each = labels.warmup_steps // config.env.n_envs
    if of_each < labels.segment_length:
        raise PrefrlError(
            f"labels.warmup_steps = {labels.warmup_steps} in {config.env.n_envs} environments "
            f"leave {of_each} steps each, no segment of {labels.segment_length}: raise "
            "labels.warmup_steps or lower --segment-length"
        )
    if labels.warmup_steps + explored >= config.steps:
        raise PrefrlError(
            f"steps = {config.steps} leave nothing after labels.warmup_steps = "
            f"{labels.warmup_steps}{f' and agent.explore_steps = {explored}' * bool(explored)}: "
            f"raise --steps or lower {'them' if explored else 'labels.warmup_steps'}"
        )


def first_batch(labels: LabelConfig) -> int:
    """Labels asked before training starts."""
    if labels.schedule == "all-at-start":
        return labels.budget
    return min(labels.budget, max(labels.first_least, round(labels.budget * labels.first_share)))
