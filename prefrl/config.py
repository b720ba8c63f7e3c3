"""Settings of a run: frozen dataclasses, read from TOML and the command line.

Configuration stops at what builds a run (`run.py`, `api.py`) or works on a finished one
(`evaluate.py`, `answers.py`, `offline.py`, the report, the viewer; `render/play.py` and the
viewer's clips take the environment's settings alone). No stage of the loop sees these classes.
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
"""Side of a picture, in pixels."""


@dataclass(frozen=True)
class EnvConfig:
    """The environment and its copies."""

    id: str = ""
    """Gymnasium id of the environment."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of gymnasium.make."""
    module: str = ""
    """Module to import first, which may register environments, labelers and more."""
    n_envs: Annotated[int, Range(1)] = 8
    """Copies of the environment."""
    train_time_limit: Annotated[int, Range(0)] = 0
    """Steps after which training truncates an episode, so that an agent that has fallen starts over
    sooner. The critic's value stands for the rest (Pardo et al. 2018, arXiv 1712.00378); evaluation
    runs whole episodes. 0: the environment's own limit."""
    vec: Annotated[str, OneOf("auto", "dummy", "subproc", "envpool")] = "auto"
    """How copies are stepped. dummy: in the trainer's process; subproc: in a process each; auto:
    subproc for images on at least four cores, else dummy; all three give the same steps. envpool:
    EnvPool's version of the environment (Linux only), with another MuJoCo and other random
    numbers."""

    @property
    def train_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of gymnasium.make in training."""
        limit = {"max_episode_steps": self.train_time_limit} if self.train_time_limit else {}
        return self.kwargs | limit


@dataclass(frozen=True)
class LabelConfig:
    """Who answers, how many answers, and which queries are asked."""

    labeler: str = "oracle"
    """Who answers: a simulated teacher, "human", "store" or one of your own."""
    tie_below: Annotated[float, Range(0)] = 0.0
    """Differences in true return below this are ties to a simulated labeler; 0: it sees all."""
    budget: Annotated[int, Range(1)] = 700
    """Labels that the schedule offers over the whole run."""
    first_share: Annotated[float, Range(0, 1)] = 0.25
    """Share of the budget asked before training, about segments of a random policy or an explorer
    (agent.explore_steps)."""
    first_least: Annotated[int, Range(0)] = 10
    """Fewest labels asked before training, or the whole budget if it is smaller."""
    schedule: str = "hyperbolic"
    """How the budget is spread over the run: hyperbolic, constant or all-at-start."""
    half_rate_at: Annotated[float, Range(1e-6)] = 0.1
    """Share of the run after which the hyperbolic schedule's label rate has halved."""
    strategy: str = "disagreement"
    """How queries are chosen among the candidates, a name in prefrl.STRATEGIES."""
    ask_above: Annotated[float, Range(0, 0.5)] = 0.1
    """The gate: smallest disagreement, in [0, 0.5], at which a query is asked; 0 asks all."""
    oversample: Annotated[int, Range(1)] = 10
    """Candidate pairs drawn for each query."""
    segment_length: Annotated[int, Range(1)] = 25
    """Steps of a segment."""
    pool_size: Annotated[int, Range(2)] = 1000
    """Recent segments that candidates are drawn from."""
    on_policy_share: Annotated[float, Range(0, 1)] = 0.0
    """Share of candidates whose two segments both come from the newest batch; the others come from
    the whole pool (QPA, Hu et al. 2024)."""
    ask_every: Annotated[int, Range(1)] = 8192
    """Environment steps between two batches of queries."""
    warmup_steps: Annotated[int, Range(1)] = 8192
    """Environment steps of a random policy before the first batch of queries."""
    warmup_hold: Annotated[int, Range(1)] = 1
    """Steps for which the random policy holds each action, on average. Where a single action does
    little, as in a car, clips of actions that change at every step all look alike."""
    expire_after: Annotated[int, Range(0)] = 40_960
    """Environment steps after which a query that no person has answered expires and is replaced by
    one about the current agent; 0: never."""
    open_at_once: Annotated[int, Range(1)] = 100
    """Most queries that wait for people at once, except for the first batch."""
    reuse: Annotated[float, Range(0, 1)] = 0.0
    """Share of candidates whose left segment was asked about before, beside another one."""
    max_comparisons: Annotated[int, Range(0)] = 0
    """Train the reward on only the N most recent comparisons; 0: all."""


@dataclass(frozen=True)
class RewardConfig:
    """The reward ensemble and how it is fitted."""

    net: str = "auto"
    """Architecture. mlp: observation and action; state-mlp: observation alone; conv: image; auto:
    conv for images, else mlp."""
    members: Annotated[int, Range(1)] = 3
    """Networks in the ensemble."""
    hidden: tuple[int, ...] = (64, 64)
    """Sizes of each member's hidden layers."""
    noise: Annotated[float, Range(0, 0.99)] = 0.1
    """Share of answers assumed to be uniformly random."""
    l2: Annotated[float, Range(0, 0.1)] = 1e-4
    """Initial L2 coefficient of each member, adapted to the loss on held-out answers; 0: never any
    ("no regularization" in Christiano et al. 2017, section 3.3)."""
    target: Annotated[str, OneOf("comparisons", "returns")] = "comparisons"
    """What members are fitted to. comparisons: the answers; returns: the true returns of compared
    segments by mean squared error, for simulated teachers only ("target" in Christiano et al. 2017,
    section 3.3). Accuracy and calibration are measured on the answers in both cases."""
    output_std: Annotated[float, Range(1e-6)] = 1.0
    """Standard deviation of each member's reward on the reference batch."""
    learning_rate: Annotated[float, Range(1e-9)] = 1e-3
    """Adam's learning rate."""
    batch_size: Annotated[int, Range(1)] = 64
    """Comparisons in a minibatch."""
    max_epochs: Annotated[int, Range(1)] = 40
    """Most passes over the comparisons in the first fit."""
    refit_epochs: Annotated[int, Range(1)] = 4
    """Most passes in each later fit, which continues from the previous one."""
    refit_part: Annotated[int, Range(0)] = 1000
    """Comparisons that a later fit uses once there are over 1.5 times as many: the new ones, and a
    fresh random sample of the others, so that the cost of an answer stays bounded. 0, or any
    labels.max_comparisons: all."""
    patience: Annotated[int, Range(1)] = 5
    """Passes without a better held-out loss after which a fit stops early."""
    crop: Annotated[float, Range(1e-6, 1)] = 1.0
    """Fit to random crops of each segment, at least this share of its steps, redrawn in every
    minibatch (SURF, Park et al. 2022); 1: to whole segments."""
    pseudo_labels: Annotated[float, Range(0, 1)] = 0.0
    """Train each member on unlabelled pairs whose winner it predicts with at least this
    probability, e.g. 0.95 (SURF, Park et al. 2022); 0: off."""
    dynamics: Annotated[float, Range(0)] = 0.0
    """Weight of an auxiliary loss: predicting the next observation from the networks' features
    (after REED, Metcalf et al. 2024); 0: off."""
    transitive: bool = False
    """Train on preferences that answers imply by transitivity as well; see labels.reuse (after
    LiRE, Choi et al. 2024)."""
    doubt: bool = False
    """Drop, or flip, answers that are very unlikely to members not trained on them, as people
    sometimes press the wrong key (after RIME, Cheng et al. 2024)."""
    restart: bool = False
    """Start each fit from new weights instead of the previous ones."""
    bonus: Annotated[float, Range(0)] = 0.0
    """Coefficient of the ensemble's standard deviation added to the reward from the second fit on,
    decaying to 0 at the end of training (RUNE, Liang et al. 2022)."""
    pessimism: Annotated[float, Range(0)] = 0.0
    """Coefficient of the ensemble's standard deviation subtracted from the reward, growing from 0
    to this at the end of training."""
    sampled_steps: Annotated[int, Range(0)] = 0
    """Random steps of each segment that a minibatch uses instead of all, which speeds up networks
    of images; 0: all."""
    fit: Annotated[str, OneOf("async", "sync")] = "async"
    """async: in a second process during training; sync: between rollouts, repeatably."""


@dataclass(frozen=True)
class AgentConfig:
    """The SB3 agent."""

    name: str = "ppo"
    """ppo, sb3-ppo, a2c, trpo, reinforce or sac."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the SB3 class."""
    normalize_obs: bool = True
    """Normalise the policy's observations by running statistics (never the reward's)."""
    normalize_return: bool = True
    """Scale rewards so that discounted returns have unit variance, like VecNormalize; ignored for
    agents with a replay buffer."""
    explore_steps: Annotated[int, Range(0)] = 0
    """Environment steps of exploration before the first queries, rewarded for states far from all
    others (PEBBLE, Lee et al. 2021). The first queries are about these steps; the agent is reset
    afterwards."""
    restart_at: Annotated[float, Range(0, 0.9)] = 0.0
    """Share of the steps after which the agent is reset once, keeping the reward and the answers,
    in case the first few answers got it stuck (primacy bias, Nikishin et al. 2022); 0: never."""
    critic_epochs: Annotated[int, Range(0)] = 0
    """Passes over the next rollout that retrain the critic after the reward has changed, before the
    actor learns from it."""


@dataclass(frozen=True)
class ViewerConfig:
    """The window in which people label."""

    instruction: str = ""
    """What to choose by; empty: the environment's own instruction."""
    size: Annotated[int, PICTURE_SIZE] = 480
    """Side of the pictures that MuJoCo draws, in pixels; other environments set their own size."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Keys of actions, instead of the usual ones: {tie = "t", left = ["a", "left"]}."""


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, as in its config.toml."""

    env: EnvConfig = field(default_factory=EnvConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    viewer: ViewerConfig = field(default_factory=ViewerConfig)
    steps: Annotated[int, Range(1)] = 600_000
    """Environment steps in total, the random policy's included."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # numpy takes no others
    """Seed of all randomness."""
    threads: Annotated[int, Range(1)] = 1
    """Torch threads of each process; with two, PPO on small MLPs is less than half as fast."""
    device: Annotated[str, OneOf("auto", "cpu", "cuda")] = "auto"
    """Where networks run. auto: on the GPU, if any, for images, else on the CPU, which is faster
    for small MLPs; cpu; cuda."""
    checkpoint_every: Annotated[int, Range(1)] = 50_000
    """Environment steps between checkpoints."""
    eval_episodes: Annotated[int, Range(1)] = 20
    """Episodes of an evaluation."""


def from_mapping(mapping: Mapping[str, Any], base: RunConfig | None = None) -> RunConfig:
    """A configuration from nested tables; missing keys are taken from `base`, or the defaults.

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
      PrefrlError: there is no folder of presets, as an installed package has none.
    """
    if not PRESETS.is_dir():
        raise PrefrlError(
            f"there are no presets in {PRESETS}: install prefrl from a clone of its repository, "
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
    """Short hash of the settings that differ from the defaults; equal for equal settings."""
    usual = to_mapping(RunConfig())
    return short_hash(differences(to_mapping(config), usual))


def validate(config: RunConfig) -> None:
    """Refuse a value outside its range, or two values that contradict each other.

    Raises:
      PrefrlError: names the value and the remedy.
    """
    check_ranges(config)
    _check_reward(config.reward, config.labels)
    _check_steps(config)
    if first_batch(config.labels) < 2:
        raised = "--labels or labels.first_least" if config.labels.budget > 1 else "--labels"
        raise PrefrlError(
            f"a budget of {config.labels.budget} labels is below the first batch, which needs at "
            f"least 2: raise {raised}"
        )


def _check_reward(reward: RewardConfig, labels: LabelConfig) -> None:
    if not any(reward.hidden) or min(reward.hidden) < 1:
        raise PrefrlError(
            f"reward.hidden = {list(reward.hidden)}: it must list layer sizes of at least 1"
        )
    from_scratch = {
        "reward.restart = true": reward.restart,
        "labels.schedule = 'all-at-start'": labels.schedule == "all-at-start",
        "labels.labeler = 'store'": labels.labeler == "store",
    }
    for setting in (s for s, true in from_scratch.items() if true and reward.pseudo_labels):
        raise PrefrlError(
            f"reward.pseudo_labels = {reward.pseudo_labels:g}: pseudo-labels need the previous "
            f"fit's members, but {setting} refits from scratch: leave one of them out"
        )
    of_answers = ("pseudo_labels", "transitive", "doubt")
    for name in (n for n in of_answers if getattr(reward, n) and reward.target == "returns"):
        raise PrefrlError(
            f"reward.{name} = {getattr(reward, name)} is about answers, which "
            "reward.target = 'returns' does not use: leave one of them out"
        )
    if reward.crop < 1 and reward.sampled_steps and not reward.pseudo_labels:
        raise PrefrlError(
            f"reward.crop = {reward.crop:g} has no effect with reward.sampled_steps = "
            f"{reward.sampled_steps}, which draws single steps: leave one of them out"
        )
    if reward.dynamics and labels.segment_length < 2:
        raise PrefrlError(
            f"reward.dynamics = {reward.dynamics:g} predicts a segment's next step, and "
            f"labels.segment_length = {labels.segment_length} has none: raise it, or leave "
            "reward.dynamics at 0"
        )
    if reward.members == 1 and (reward.bonus or reward.pessimism):
        name = "bonus" if reward.bonus else "pessimism"
        raise PrefrlError(
            f"reward.{name} = {getattr(reward, name):g} weights the members' disagreement, and "
            f"reward.members = 1 has none: raise reward.members, or set reward.{name} to 0"
        )
    if reward.sampled_steps > labels.segment_length:
        raise PrefrlError(
            f"reward.sampled_steps = {reward.sampled_steps} is more than a segment has "
            f"({labels.segment_length} steps): lower it, or leave it at 0"
        )
    if reward.members == 1 and labels.ask_above > 0:
        raise PrefrlError(
            "reward.members = 1 never disagrees, so the gate would ask nothing: raise it, or ask "
            "everything with --ask-above 0"
        )


def _check_steps(config: RunConfig) -> None:
    labels, explored = config.labels, config.agent.explore_steps
    of_each = labels.warmup_steps // config.env.n_envs
    if of_each < labels.segment_length:
        raise PrefrlError(
            f"labels.warmup_steps = {labels.warmup_steps} in {config.env.n_envs} environments "
            f"leave {of_each} steps each, too few for a segment of {labels.segment_length}: raise "
            "labels.warmup_steps or lower --segment-length"
        )
    if labels.warmup_steps + explored >= config.steps:
        before = f"labels.warmup_steps = {labels.warmup_steps}"
        if explored:
            before += f" and agent.explore_steps = {explored}"
        raise PrefrlError(
            f"steps = {config.steps} leave nothing after {before}: raise --steps or lower "
            f"{'them' if explored else 'labels.warmup_steps'}"
        )


def first_batch(labels: LabelConfig) -> int:
    """Number of labels asked before training starts."""
    if labels.schedule == "all-at-start":
        return labels.budget
    return min(labels.budget, max(labels.first_least, round(labels.budget * labels.first_share)))
