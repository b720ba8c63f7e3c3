"""Users' own additions, found through entry points: no change here is needed for one.

A package of yours names them in its pyproject.toml:

    [project.entry-points."prefrl.labelers"]
    careful = "my_package:careful"            # rng -> Labeler

    [project.entry-points."prefrl.strategies"]
    farthest = "my_package:farthest"          # (Candidates, n, rng) -> indices

    [project.entry-points."prefrl.reward_nets"]
    # (obs_shape, action_size, members, hidden, generator) -> module
    wide = "my_package:Wide"

    [project.entry-points."prefrl.environments"]
    mine = "my_package"                       # a module that registers environments when imported
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from prefrl.labelers import LABELERS
from prefrl.queries import STRATEGIES
from prefrl.reward.nets import REWARD_NETS
from prefrl.types import PrefrlError

_TABLES: dict[str, dict[str, Any]] = {
    "prefrl.labelers": LABELERS,
    "prefrl.strategies": STRATEGIES,
    "prefrl.reward_nets": REWARD_NETS,
}


def load_plugins() -> None:
    """Put every installed package's additions into the tables.

    Raises:
      PrefrlError: one cannot be imported, or takes a name that is taken.
    """
    for group, table in _TABLES.items():
        for point in entry_points(group=group):
            added = _load(point)
            if table.setdefault(point.name, added) is not added:
                raise PrefrlError(
                    f"{group} {point.name!r} of {point.value} is a name that prefrl has: rename it"
                )


def load_environments() -> None:
    """Have every installed package register its environments.

    Raises:
      PrefrlError: one cannot be imported.
    """
    for point in entry_points(group="prefrl.environments"):
        _load(point)


def _load(point: Any) -> Any:
    try:
        return point.load()
    except Exception as error:  # whatever a user's package does
        raise PrefrlError(
            f"cannot load {point.group} {point.name!r} ({type(error).__name__}: {error}): fix it"
        ) from error
