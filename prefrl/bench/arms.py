"""The arms of all studies: what each changes in a task's preset."""

from __future__ import annotations

from typing import Any

from prefrl.evaluate import LEAKS
from prefrl.labelers.oracle import TEACHERS
from prefrl.toml_tables import merged

Changes = dict[str, Any]

BUDGETS = (10, 25, 50, 100, 200, 350, 700, 1400)
PUBLIC_BUDGET = 400
"""Labels of the public figures that ours are compared with."""
LONG: Changes = {"steps": 1_000_000}

ALL_OF_IT = "50 labels"
"""The arm that every ablation is compared with, the full method."""
FEW: Changes = {"labels": {"budget": 50}}
"""Changes of every ablation: at the preset's 700 labels ablations cost little (runs/LOG.md)."""

OF_THE_PAPER: dict[str, Changes] = {
    "random queries": {"labels": {"strategy": "uniform", "ask_above": 0.0}},
    "no ensemble": {"reward": {"members": 1, "bonus": 0.0}, "labels": {"ask_above": 0.0}},
    "no online queries": {"labels": {"schedule": "all-at-start"}},
    "no L2": {"reward": {"l2": 0.0}},
    "segments of one step": {"labels": {"segment_length": 1}},
    "true returns as targets": {"reward": {"target": "returns"}},
}
"""Christiano et al. 2017, section 3.3. One member never disagrees, so without an ensemble there is
no bonus for disagreement, and queries are random too."""

OURS: dict[str, Changes] = {
    "no noise model": {"reward": {"noise": 0.0}},
    "no gate": {"labels": {"ask_above": 0.0}},
    "three members": {"reward": {"members": 3}},
    "two hidden layers": {"reward": {"hidden": (64, 64), "learning_rate": 1e-3}},
    "no bonus for disagreement": {"reward": {"bonus": 0.0}},  # RUNE, Liang et al. 2022
    "no exploration": {"agent": {"explore_steps": 0}},  # PEBBLE, Lee et al. 2021
    "older segments too": {"labels": {"pool_size": 1000}},
    "half near on-policy": {"labels": {"on_policy_share": 0.5}},  # QPA, Hu et al. 2024
    # DUO, Feng et al. 2025
    "diverse queries": {"labels": {"strategy": "k-center-mutual-information"}},
    "crops": {"reward": {"crop": 0.8}},  # SURF, Park et al. 2022, and the next two
    "pseudo-labels": {"reward": {"pseudo_labels": 0.95}},
    "crops and pseudo-labels": {"reward": {"crop": 0.8, "pseudo_labels": 0.95}},
    "dynamics foretold": {"reward": {"dynamics": 0.5}},  # REED, Metcalf et al. 2024
    "exploration first": {"agent": {"explore_steps": 32_768}},  # PEBBLE
    "agent begun anew": {"agent": {"restart_at": 0.1}},  # Nikishin et al. 2022
    "pessimism": {"reward": {"pessimism": 0.5}},  # Coste et al. 2024
    # LiRE, Choi et al. 2024
    "implied answers": {"reward": {"transitive": True}, "labels": {"reuse": 0.5}},
    "fits from new weights": {"reward": {"restart": True}},
    "critic kept in step": {"agent": {"critic_epochs": 5}},
    "reward of the state alone": {"reward": {"net": "state-mlp"}},
    "reward of actions too": {"reward": {"net": "mlp"}},
}
"""Parts that the paper did not take away, and parts that later work added."""

ABLATIONS = OF_THE_PAPER | OURS
ONLY = {
    "no exploration": ("hopper",),
    "exploration first": ("half_cheetah",),
    "older segments too": ("hopper",),
    "reward of the state alone": ("half_cheetah",),
    "reward of actions too": ("hopper",),
}
"""Tasks of the ablations that equal the preset on the other task."""

TAUGHT: dict[str, Changes] = {
    **{name: {"labels": {"labeler": name}} for name in TEACHERS},
    # RIME, Cheng et al. 2024
    "mistake, doubted": {"labels": {"labeler": "mistake"}, "reward": {"doubt": True}},
}
"""The six teachers, and the mistaken one with `reward.doubt`, at the presets' budgets: of fifty
answers it doubts none."""

THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
"""Disagreements above which the gate asks."""


def budget_arm(budget: int) -> str:
    """The arm with a budget of labels over LONG's steps."""
    return f"{budget} labels, long"


def leak_arm(leak: str) -> str:
    """The arm of a leak audit over LONG's steps."""
    return f"{leak}, long"


def leak_of(arm: str) -> str | None:
    """The one of LEAKS that an arm trains on, over any number of steps; None: it trains on none."""
    name = arm.partition(",")[0]
    return name if name in LEAKS else None


def ablation_arm(name: str) -> str:
    """An ablation's arm."""
    return f"{ALL_OF_IT}, {name}"


def teacher_arm(teacher: str) -> str:
    """The arm of one of TAUGHT; the oracle's is the preset itself."""
    who, comma, remedy = teacher.partition(",")
    return "default" if teacher == "oracle" else f"{who} teacher{comma}{remedy}"


def headline_name(name: str) -> str:
    """The key of an ablation or a teacher in a headline."""
    return name.replace(",", "").replace("-", "_").replace(" ", "_").lower()


ARMS: dict[str, Changes] = {
    "default": {},
    "200 labels": {"labels": {"budget": 200}},
    "no gate": {"labels": {"ask_above": 0.0}},
    "shuffled": {"labels": {"labeler": "shuffled"}},
    "asynchronous": {"reward": {"fit": "async"}},
    "labels": {},
    "5M steps": {"steps": 5_000_000},
    "true reward": {},
    "handwritten": {"env": {"kwargs": {"reward": "handwritten"}}},
    "no cross": {},
    "cross": {"env": {"kwargs": {"cross": True}}},
    "1M steps": LONG,
    **{leak: {} for leak in LEAKS},
    **{leak_arm(leak): LONG for leak in LEAKS},
    **{budget_arm(n): LONG | {"labels": {"budget": n}} for n in (*BUDGETS, PUBLIC_BUDGET)},
    ALL_OF_IT: FEW,
    **{ablation_arm(name): merged(FEW, changes) for name, changes in ABLATIONS.items()},
    **{teacher_arm(name): changes for name, changes in TAUGHT.items() if name != "oracle"},
    **{f"gate at {least:g}": {"labels": {"ask_above": least}} for least in THRESHOLDS if least},
}
"""Changes in a task's preset by arm."""
