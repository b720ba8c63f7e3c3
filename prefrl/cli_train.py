"""`prefrl train`: configures a run from a preset, a file and arguments; starts or resumes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from prefrl import commands
from prefrl.config import AgentConfig, RunConfig, from_mapping, load, presets, to_mapping
from prefrl.rundir import RunDir, new_run_path
from prefrl.toml_tables import flat, merged, parse_override
from prefrl.types import PrefrlError

Unset = arg(help_behavior_hint="(default: none)")
_USUAL = RunConfig()


def _usual(value: object) -> Any:
    return arg(help_behavior_hint=f"(default: {value}, or the preset's)")


@dataclass(frozen=True)
class Train:
    """Train an agent on preferences. Settings not given come from the environment's preset."""

    env: Annotated[Positional[str], arg(metavar="[ENV]", help_behavior_hint="(default: none)")] = ""
    """A Gymnasium id; `prefrl envs` lists those with presets."""
    config: Annotated[Path | None, Unset] = None
    """A TOML file to use instead of the preset."""
    resume: Annotated[Path | None, Unset] = None
    """Continue the run in this folder."""
    run: Annotated[Path | None, arg(help_behavior_hint="(default: a new one in runs/)")] = None
    """Folder for the new run."""
    labeler: Annotated[str | None, _usual(_USUAL.labels.labeler)] = None
    """oracle: always right; stochastic: more often right the larger the difference; mistake: wrong
    one time in ten; myopic: weights later steps more; skip: does not compare two poor clips; equal:
    calls small differences ties; shuffled: answers at random; human: people, through the run's
    store; store: only answers given earlier, nobody is asked; or one of your own."""
    answers: Annotated[Path | None, Unset] = None
    """A run folder, or a store's file, whose answers are copied into the new run."""
    labels: Annotated[int | None, _usual(_USUAL.labels.budget)] = None
    """Label budget over the whole run."""
    schedule: Annotated[str | None, _usual(_USUAL.labels.schedule)] = None
    """hyperbolic, constant or all-at-start."""
    strategy: Annotated[str | None, _usual(_USUAL.labels.strategy)] = None
    """How queries are chosen: disagreement, entropy, mutual-information, uniform, k-center, or
    k-center-disagreement, -entropy and -mutual-information."""
    ask_above: Annotated[float | None, _usual(_USUAL.labels.ask_above)] = None
    """The gate: smallest disagreement, 0 to 0.5, at which a query is asked."""
    segment_length: Annotated[int | None, _usual(_USUAL.labels.segment_length)] = None
    """Steps of a segment."""
    agent: Annotated[str | None, _usual(_USUAL.agent.name)] = None
    """ppo, sb3-ppo (the same, slower), a2c, trpo, reinforce or sac. A preset's agent settings are
    for its own agent; others start from SB3's defaults."""
    steps: Annotated[int | None, _usual(_USUAL.steps)] = None
    """Environment steps in all."""
    fit: Annotated[str | None, _usual(_USUAL.reward.fit)] = None
    """async: the reward is fitted in a second process; sync: in this one, repeatably."""
    n_envs: Annotated[int | None, _usual(_USUAL.env.n_envs)] = None
    """Copies of the environment."""
    vec: Annotated[str | None, _usual(_USUAL.env.vec)] = None
    """How the copies are stepped: auto, dummy, subproc, or envpool (Linux only)."""
    env_module: Annotated[str | None, Unset] = None
    """A module to import first, which may register environments, labelers and more."""
    seed: Annotated[int | None, _usual(_USUAL.seed)] = None
    """Seed of all randomness."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Any other key of the configuration: --set reward.members=5."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self, console: Console) -> None:
        if self.resume:
            self._go_on(self.resume, console)
        else:
            self._begin(console)

    def _go_on(self, folder: Path, console: Console) -> None:
        if self.env or self.config or self.run:
            raise PrefrlError(
                f"--resume {folder} already names the environment and the folder: leave out "
                "ENV, --config and --run"
            )
        if self.answers:
            raise PrefrlError(
                f"--resume {folder} has answers of its own: leave out --answers, which is for "
                "new runs"
            )
        with RunDir.open(folder) as run:
            run.lock()
            config = from_mapping(self._overrides(), run.config())
            _must_match(run.config(), config)
            from prefrl.answers import check_used
            from prefrl.checkpoints import latest_state

            commands.check(config)
            state = latest_state(run.checkpoints)
            taken = int(state.get("step", 0))
            _must_not_fall_short(run, config, taken)
            check_used(config, run, state)
            run.write_config(config)
            if taken >= config.steps:
                console.print(
                    f"all {config.steps:,} steps are used, and the run is evaluated again: "
                    f"--steps {config.steps * 3 // 2} trains it further",
                    soft_wrap=True,
                    highlight=False,
                )
            commands.train(config, run, console)

    def _begin(self, console: Console) -> None:
        config = self._new_config()
        path = self.run or new_run_path(Path("runs"), config.env.id, config.seed)
        from prefrl.answers import answers_from

        commands.check(config)  # before a folder is made for it
        with answers_from(self.answers, path, config) as answers:
            run = RunDir.create(path, config, answers)
        with run:
            commands.train(config, run, console)

    def _new_config(self) -> RunConfig:
        base = self._base()
        if self.agent not in (None, base.agent.name):
            base = replace(base, agent=_settings_of(base.agent, self.agent))
        config = from_mapping(self._overrides(), base)
        if not config.env.id:
            raise PrefrlError(
                f"{self.config or '--set env.id='} names no environment: add id under [env], or "
                "--set env.id=..."
            )
        return config

    def _base(self) -> RunConfig:
        if self.config:
            if self.env:
                raise PrefrlError(
                    f"--config {self.config} names its own environment: leave out {self.env}, or "
                    f"change it with --set env.id={self.env}"
                )
            return load(self.config)
        if not self.env:
            raise PrefrlError(
                "nothing to train: name an ENV (`prefrl envs`), a --config or a --resume RUN"
            )
        path = presets().get(self.env.removeprefix("envs:"))
        return load(path) if path else from_mapping(_general(self.env))

    def _overrides(self) -> dict[str, Any]:
        given = {
            ("env", "module"): self.env_module,
            ("env", "n_envs"): self.n_envs,
            ("env", "vec"): self.vec,
            ("labels", "labeler"): self.labeler,
            ("labels", "budget"): self.labels,
            ("labels", "schedule"): self.schedule,
            ("labels", "strategy"): self.strategy,
            ("labels", "ask_above"): self.ask_above,
            ("labels", "segment_length"): self.segment_length,
            ("reward", "fit"): self.fit,
            ("agent", "name"): self.agent,
        }
        tables: dict[str, Any] = {}
        for (section, key), value in given.items():
            if value is not None:
                tables.setdefault(section, {})[key] = value
        for name in ("steps", "seed"):
            if (value := getattr(self, name)) is not None:
                tables[name] = value
        for text in self.set:
            tables = merged(tables, parse_override(text))
        return tables


def _general(env_id: str) -> dict[str, Any]:
    """Settings for an environment without a preset."""
    return {"env": {"id": env_id}, "agent": {"kwargs": {"n_steps": 256}}}


def _settings_of(preset: AgentConfig, name: str) -> AgentConfig:
    """Settings that an agent starts from: the preset's only if it is for this agent.

    The two PPOs are the same algorithm and share their presets.
    """
    same = {preset.name, name} <= {"ppo", "sb3-ppo"}
    return preset if same else AgentConfig()


def _must_not_fall_short(run: RunDir, config: RunConfig, taken: int) -> None:
    """Refuse fewer steps or labels than a run has used, which its record would contradict."""
    from prefrl.store import ComparisonStore

    old = run.config()
    if config.steps != old.steps and config.steps <= taken:
        raise PrefrlError(
            f"{run.path} has taken {taken:,} steps: --steps {config.steps} leaves none, raise it"
        )
    if config.labels.budget != old.labels.budget:
        with ComparisonStore(run.store_path) as store:
            answered = store.counts().answered
        if config.labels.budget < answered:
            raise PrefrlError(
                f"{run.path} has {answered} answers: --labels {config.labels.budget} is fewer, "
                "raise it"
            )


_FIXED = ("env.", "agent.", "reward.", "seed", "labels.segment_length")
"""Keys, and beginnings of keys, that a resumed run keeps."""
_FREE = ("env.vec", "reward.fit")
"""Exceptions from these: how a run is computed, not what."""


def _must_match(old: RunConfig, new: RunConfig) -> None:
    """Refuse to resume a run with settings that must stay as they are."""
    before, after = flat(to_mapping(old)), flat(to_mapping(new))
    for key in before | after:  # a table may have lost keys, or gained some
        was, is_now = before.get(key), after.get(key)
        if key.startswith(_FIXED) and key not in _FREE and was != is_now:
            raise PrefrlError(
                f"--resume cannot change {key} from {was!r} to {is_now!r}: start a new run for that"
            )
