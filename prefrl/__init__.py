"""prefrl: train agents on what people like.

The names below are imported when they are first used, so that `import prefrl` is quick and
needs neither a display nor a GL library.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefrl.agents.relabel import RelabelledReplayBuffer, RelabelledRolloutBuffer
    from prefrl.api import learn, load_run
    from prefrl.environments import make_env
    from prefrl.labelers import LABELERS, Labeler
    from prefrl.queries import STRATEGIES
    from prefrl.recorder import Recorder
    from prefrl.reward.ensemble import RewardEnsemble
    from prefrl.reward.nets import REWARD_NETS
    from prefrl.store import ComparisonStore
    from prefrl.types import Comparison, MachineError, Preference, PrefrlError, Query, Segment

_HOMES = {
    "LABELERS": "prefrl.labelers",
    "REWARD_NETS": "prefrl.reward.nets",
    "STRATEGIES": "prefrl.queries",
    "Comparison": "prefrl.types",
    "ComparisonStore": "prefrl.store",
    "Labeler": "prefrl.labelers",
    "MachineError": "prefrl.types",
    "Preference": "prefrl.types",
    "PrefrlError": "prefrl.types",
    "Query": "prefrl.types",
    "Recorder": "prefrl.recorder",
    "RelabelledReplayBuffer": "prefrl.agents.relabel",
    "RelabelledRolloutBuffer": "prefrl.agents.relabel",
    "RewardEnsemble": "prefrl.reward.ensemble",
    "Segment": "prefrl.types",
    "learn": "prefrl.api",
    "load_run": "prefrl.api",
    "make_env": "prefrl.environments",
}

__all__ = [
    "LABELERS",
    "REWARD_NETS",
    "STRATEGIES",
    "Comparison",
    "ComparisonStore",
    "Labeler",
    "MachineError",
    "Preference",
    "PrefrlError",
    "Query",
    "Recorder",
    "RelabelledReplayBuffer",
    "RelabelledRolloutBuffer",
    "RewardEnsemble",
    "Segment",
    "learn",
    "load_run",
    "make_env",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("prefrl")
    if name not in _HOMES:
        raise AttributeError(f"module 'prefrl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
