"""Evaluates a run: true return, normalised score, quality of its reward model, leak audit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.random import default_rng

from prefrl import checkpoints, evaluate
from prefrl.config import RunConfig
from prefrl.evaluate import Reference
from prefrl.run import load_trained, newest_checkpoint
from prefrl.rundir import RunDir, read_json, to_json, write_whole
from prefrl.types import Array


@dataclass(frozen=True)
class Evaluation:
    """How good a run's newest checkpoint is.

    Attributes:
      step: environment steps of the checkpoint.
      true_returns: of every evaluation episode, (episodes,).
      predictor: what `evaluate.predictor_quality` found; None where true returns are not finite.
      reference: what the normalised score is measured between; None where it is not known.
      reference_key: of the settings that the reference is for.
      leak_audit: normalised scores of the same agent trained on rewards that know nothing.
    """

    step: int
    true_returns: Array
    predictor: Mapping[str, Any] | None
    reference: Reference | None
    reference_key: str
    leak_audit: dict[str, float] = field(default_factory=dict)

    @property
    def true_return(self) -> float:
        """Mean true return."""
        return float(self.true_returns.mean())

    @property
    def normalised_score(self) -> float | None:
        """0: a random policy, 1: RL on the true reward; None without a reference that tells."""
        score = self.reference.score(self.true_return) if self.reference else math.nan
        return score if math.isfinite(score) else None

    def to_json(self) -> str:
        """Text of a run's evaluation.json."""
        found: dict[str, Any] = {
            "step": self.step,
            "true_return": self.true_return,
            "true_returns": self.true_returns,
            "episodes": len(self.true_returns),
        }
        if self.predictor is not None:
            found["predictor"] = self.predictor
        found |= {"normalised_score": self.normalised_score, "leak_audit": self.leak_audit}
        if self.reference:
            found |= {
                "random_return": self.reference.random_return,
                "rl_return": self.reference.rl_return,
                "reference": self.reference.source,
                "reference_key": self.reference_key,
            }
        return to_json(found, indent=1)


def evaluate_run(
    run: RunDir,
    train_reference: bool = False,
    leak_audit: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Evaluation:
    """Evaluate a run's newest checkpoint and write its evaluation.json.

    The reference is the committed one for these settings, else the one that the run's last
    evaluation used. As long as it stays the same, so do the scores of an earlier leak audit.

    Args:
      train_reference: train RL on the true reward where there is no reference.
      leak_audit: train on rewards that know nothing, which needs the reference too; the file is
        written after each of them.
      say: told what is found, and what is trained next, line by line.
    Raises:
      PrefrlError: the run has no checkpoint.
    """
    config, checkpoint = run.config(), newest_checkpoint(run)
    agent, reward = load_trained(config, checkpoint)
    returns = evaluate.true_returns(agent, config, config.eval_episodes)
    say(f"true return {returns.mean():,.1f} over {len(returns)} episodes")
    predictor = None
    if math.isfinite(returns.mean()):
        rng = default_rng(evaluate.EVAL_SEED)
        predictor = evaluate.predictor_quality(agent, reward, config, rng)
        say(_describe_predictor(predictor))
    known = read_json(run.evaluation_path)
    reference = _known_reference(config, known)
    if reference is None and (train_reference or leak_audit):
        say("training the same agent on the true reward, to compare with")
        reference = evaluate.measure_reference(config)
    audited = reference is not None and reference == _reference_in(known)
    evaluation = Evaluation(
        step=int(checkpoints.state(checkpoint)["step"]),
        true_returns=returns,
        predictor=predictor,
        reference=reference,
        reference_key=evaluate.reference_key(config),
        leak_audit=dict(known.get("leak_audit") or {}) if audited else {},
    )
    say(_describe_score(evaluation, run))
    write_whole(run.evaluation_path, evaluation.to_json())
    if not (leak_audit and reference):
        return evaluation
    for leak in evaluate.LEAKS:
        say(f"training the same agent on {leak}")
        evaluation.leak_audit[leak] = evaluate.leak_score(config, leak, reference)
        say(f"  score {evaluation.leak_audit[leak]:.2f}")
        write_whole(run.evaluation_path, evaluation.to_json())
    return evaluation


def _known_reference(config: RunConfig, known: Mapping[str, Any]) -> Reference | None:
    """The committed reference for these settings, or that of an evaluation.json."""
    same = known.get("reference_key") == evaluate.reference_key(config)
    return evaluate.committed_reference(config) or (_reference_in(known) if same else None)


def _reference_in(known: Mapping[str, Any]) -> Reference | None:
    """The reference that an evaluation.json was made with."""
    levels = [known.get(name) for name in ("random_return", "rl_return", "reference")]
    return None if None in levels else Reference(*levels)  # type: ignore[arg-type]


def _describe_predictor(quality: Mapping[str, Any]) -> str:
    if "accuracy" not in quality:
        return (
            "predictor: not evaluated, all unseen segments have the same true return; a simulated "
            "labeler cannot tell them apart either (people can: --labeler human)"
        )
    return (
        "predictor on unseen pairs: accuracy {accuracy:.2f}, calibration error {ece:.2f}, "
        "correlation {correlation:.2f}".format(**quality)
    )


def _describe_score(evaluation: Evaluation, run: RunDir) -> str:
    score, reference = evaluation.normalised_score, evaluation.reference
    if reference is None:
        return (
            "no normalised score: these settings have no committed reference; "
            f"`prefrl eval {run.path} --reference` trains one"
        )
    if score is not None:
        return f"normalised score {score:.2f} (0 random, 1 RL on the true reward)"
    if reference.rl_return <= reference.random_return:
        return (
            f"no normalised score: RL on the true reward ({reference.rl_return:,.1f}) is not above "
            f"random ({reference.random_return:,.1f})"
        )
    return "no normalised score: the true return is not finite"
