"""The page of a run: one self-contained HTML file with all plots, in the run's folder."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prefrl.config import RunConfig, to_mapping
from prefrl.report import evaluation_plots, page, people, plots
from prefrl.report.page import Figure
from prefrl.report.run import RunData, read_run
from prefrl.report.svg import decimal, last, number, percent, series, short
from prefrl.rundir import RunDir, write_whole
from prefrl.types import MachineError


def write_report(run: Path) -> Path:
    """Write run/report/index.html from the run folder, and return its path.

    Raises:
      PrefrlError: the folder holds no run.
      MachineError: one of its files is damaged, or the page cannot be written.
    """
    data = read_run(run)
    target = RunDir(run).report / "index.html"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, render(data))
    except OSError as error:
        raise MachineError(
            f"cannot write {target} ({error.strerror}): make room or fix permissions there"
        ) from error
    return target


def render(data: RunData) -> str:
    """The page as HTML."""
    env_id = str(data.config["env"]["id"])
    body = [
        page.header("prefrl run", env_id, _lead(data)),
        page.headline(_headline(data)),
        page.section(
            "Learning",
            "The agent never saw the environment's reward: it learned from a reward predicted "
            "out of answers to the question “which of these two clips is better?”",
            _learning(data),
        ),
        page.section(
            "Queries",
            "The schedule says how many answers may be asked for by now, and the gate drops the "
            "queries whose answer the ensemble already agrees on.",
            _queries(data),
        ),
        people.section(data),
        page.section(
            "Reward model",
            "How well the ensemble predicts answers that it was not trained on, and whether it is "
            "unsure where it is wrong.",
            _reward(data),
        ),
        page.section(
            "Set-up",
            "All that is needed to run it again; a dot marks what differs from the defaults.",
            _tables(data),
            kind="tables",
        ),
        page.section(
            "Reproduce",
            _repeats(data),
            [_command(data)],
            kind="command",
        ),
        f"<footer>Written by prefrl on {datetime.now():%Y-%m-%d at %H:%M}.</footer>",
    ]
    return page.document(f"{env_id} · {data.path.resolve().name}", filter(None, body))


def _lead(data: RunData) -> str:
    config = data.config
    budget = last(data.rows, "labels_budget") or config["labels"]["budget"]
    done = float(data.rows[-1]["step"]) if data.rows else 0.0
    wanted = float(config["steps"])
    state = "finished" if done >= wanted else f"at {percent(done / wanted)} of its steps"
    return (
        f"{str(config['agent']['name']).upper()} on a reward learned from up to "
        f"{short(float(budget))} preferences of the {config['labels']['labeler']} labeler. "
        f"Run `{data.path.resolve().name}`, seed\N{NO-BREAK SPACE}{config['seed']}, {state}."
    )


def _headline(data: RunData) -> list[Figure]:
    return [
        _score(data),
        _true_return(data),
        _labels_used(data),
        _accuracy(data),
        _steps(data),
        _speed(data),
    ]


def _score(data: RunData) -> Figure:
    score = number(data.evaluation, "normalised_score")
    if score is None:
        return Figure("Normalised score", page.NONE, "", _no_score(data))
    about = f"{_of_step(data)}0 = random policy, 1 = RL on the true reward"
    return Figure("Normalised score", decimal(score), "", about)


def _no_score(data: RunData) -> str:
    """Why there is no score."""
    rl, random = (number(data.evaluation, f"{who}_return") for who in ("rl", "random"))
    if rl is not None and random is not None and rl <= random:
        return f"RL on the true reward ({short(rl)}) is not above random ({short(random)})"
    return data.fill_in("--reference")


def _of_step(data: RunData) -> str:
    """Step of the evaluated agent, where it is not the newest."""
    step = number(data.evaluation, "step")
    if not data.rows or step is None or step >= float(data.rows[-1]["step"]):
        return ""
    return f"after {short(step)} steps: "


def _true_return(data: RunData) -> Figure:
    true, episodes = number(data.evaluation, "true_return"), number(data.evaluation, "episodes")
    about = f"mean of {episodes:.0f} episodes" if episodes else "mean of the evaluation"
    about = _of_step(data) + about
    if true is None:
        true, about = last(data.rows, "true_return"), "of the last training episodes"
    if true is None:
        return Figure("True return", page.NONE, "", "no episode has ended yet")
    return Figure("True return", short(true), "", about)


def _labels_used(data: RunData) -> Figure:
    keys = ("labels", "offered", "labels_budget")
    used, offered, budget = (last(data.rows, key) for key in keys)
    if used is None:
        return Figure("Labels used", page.NONE, "", "no answers yet")
    of = offered if offered is not None else budget
    beside = f"of {short(of)}" if of is not None else ""
    return Figure("Labels used", short(used), beside, _labels_about(used, offered, budget))


def _accuracy(data: RunData) -> Figure:
    heldout = last(data.rows, "heldout_accuracy")
    if heldout is not None and last(data.rows, "guessing"):
        return Figure(
            "Held-out accuracy",
            percent(heldout),
            "",
            "no better than guessing: the agent gets no reward",
        )
    unseen = number(data.evaluation, "predictor", "accuracy")
    if unseen is not None:
        return Figure("Accuracy", percent(unseen), "", "on fresh pairs, by true return")
    if heldout is not None:
        return Figure("Held-out accuracy", percent(heldout), "", "on answers kept out of training")
    if last(data.rows, "decided") == 0:
        why = "every answer is a tie: the agent gets no reward"
    elif last(data.rows, "comparisons"):
        why = "no answer kept out of training decides anything"
    else:
        why = "no reward has been fitted yet"
    return Figure("Held-out accuracy", page.NONE, "", why)


def _steps(data: RunData) -> Figure:
    rows = data.rows
    done, wanted = (float(rows[-1]["step"]) if rows else 0.0), float(data.config["steps"])
    beside = f"of {short(wanted)}" if done < wanted else ""
    about = f"in {short(len(rows))} pass{'' if len(rows) == 1 else 'es'} of the loop"
    return Figure("Steps", short(done), beside, about)


def _speed(data: RunData) -> Figure:
    speed = series(data.rows, "steps_per_second")[:, 1]
    value = short(statistics.median(speed.tolist())) if len(speed) else page.NONE
    about = f"median, {data.config['env']['n_envs']} environments"
    return Figure("Steps per second", value, "", about)


def _learning(data: RunData) -> list[str]:
    audit = f"The leak audit is missing: {data.fill_in('--leak-audit')}."
    source = data.evaluation.get("reference")
    source = f" References: {source}." if source else ""
    return [
        page.card(
            "True and predicted return",
            plots.returns(data.rows, data.evaluation),
            "If the predicted return (what the agent is trained on) and the true return (which it "
            "never sees) rise together, the reward was understood; if only the predicted one "
            "rises, the agent exploits its mistakes.",
            "No metrics yet: `prefrl train` adds a line at each pass of the loop.",
        ),
        page.card(
            "Score and leak audit",
            evaluation_plots.score(data.evaluation, audit),
            "The same agent trained on a constant or a random network as its reward shows what "
            "the environment gives away by itself: only what the blue bar reaches beyond the "
            f"orange ones was learned from preferences.{source}",
            f"No normalised score: {_no_score(data)}.",
        ),
    ]


def _queries(data: RunData) -> list[str]:
    return [
        page.card(
            "Labels against the schedule",
            plots.labels(data.rows),
            "Where the blue line stays under the grey area, the gate found nothing worth asking, "
            "or the labeler had not answered yet.",
            "No answers yet: `prefrl train` adds a line at each pass of the loop.",
        ),
        page.card(
            "Disagreement and the gate",
            plots.disagreement(data.rows),
            "Disagreement is the spread, from 0 to 0.5, of the members' probabilities that the "
            "left clip is better; a query is asked only if it lies over the dashed line, which "
            "is at 0 while the members predict no better than chance.",
            "No candidates yet: the first batch of queries is asked without a gate.",
        ),
    ]


def _reward(data: RunData) -> list[str]:
    evaluation, missing = data.evaluation, data.fill_in()
    if "accuracy" not in (evaluation.get("predictor") or {"accuracy": None}):
        missing = "no two unseen segments differ in true return"
    return [
        page.card(
            "Accuracy, loss and temperature of the fits",
            plots.fit(data.rows),
            "A held-out loss far over the training loss means that answers are memorised; the "
            "temperature divides the predicted returns so that the confidence is calibrated.",
            "No fit yet: the reward is first fitted when the first batch is answered.",
        ),
        page.card(
            "Calibration",
            evaluation_plots.calibration(evaluation),
            "Of the pairs on which the ensemble is 80 percent sure, 80 percent should be right: "
            "points under the dashed line are overconfident, points over it underconfident.",
            f"No reliability yet: {missing}.",
        ),
        page.card(
            "Is the gate right?",
            evaluation_plots.gate_errors(evaluation),
            "The gate is right if the pairs that it lets through are the ones that the ensemble "
            "gets wrong without asking.",
            f"No error rates yet: {missing}.",
        ),
        page.card(
            "Predicted against true return of segments",
            evaluation_plots.segment_returns(evaluation),
            "Every point is one clip; the scale of the prediction is free, so only the order "
            "counts: the closer to a rising line, the better.",
            f"No segments yet: {missing}.",
        ),
    ]


def _tables(data: RunData) -> list[str]:
    defaults = to_mapping(RunConfig())
    config = dict(data.config)
    tables = {name: config.pop(name) for name in list(config) if isinstance(config[name], dict)}
    found = [page.table("run", config, _changed(config, defaults))]
    for name, values in tables.items():
        usual = defaults.get(name, {})
        shown: dict[str, Any] = {}
        changed = []
        for key, value in values.items():
            nested = value if isinstance(value, dict) and value else None
            parts = {key: value} if nested is None else {f"{key}.{k}": v for k, v in nested.items()}
            shown |= parts
            changed += list(parts) if value != usual.get(key) else []
        found.append(page.table(name, shown, changed))
    versions = data.versions or {"versions": "not recorded in this run"}
    return [*found, page.table("versions", versions)]


def _repeats(data: RunData) -> str:
    if _replayed(data):
        return "Another run, on the answers that were given in this one."
    return (
        'The same seed on the same machine and versions, with `reward.fit = "sync"`, gives the '
        "same numbers, unless the run was stopped and resumed or began with other answers."
    )


def _replayed(data: RunData) -> bool:
    """Whether a new run repeats this one only with its stored answers."""
    return data.config["labels"]["labeler"] in ("human", "store")


def _command(data: RunData) -> str:
    command = ["prefrl", "train", "--config", str(data.path / "config.toml")]
    if _replayed(data):
        command += ["--labeler", "store", "--answers", str(data.path)]
    return page.command(shlex.join(command))


def _labels_about(used: float, offered: float | None, budget: float | None) -> str:
    parts = [f"{percent(used / offered)} of what was offered"] if offered else []
    parts += [f"budget {short(budget)}"] if budget is not None else []
    return ", ".join(parts)


def _changed(values: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    return [name for name, value in values.items() if name not in usual or usual[name] != value]
