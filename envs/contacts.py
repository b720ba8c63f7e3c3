"""Which geoms touch which, in the state that a MuJoCo environment is in."""

from __future__ import annotations

from typing import Any

import mujoco


def touching(model: Any, data: Any, geom: str) -> set[str]:
    """Names of the geoms that touch `geom` in the current qpos.

    A step leaves the contacts from before its last substep behind; this finds those of the state
    itself, so that a state that was recorded and set again is judged as it was when it happened.
    """
    mujoco.mj_kinematics(model, data)
    mujoco.mj_collision(model, data)
    return found(model, data, geom)


def found(model: Any, data: Any, geom: str) -> set[str]:
    """Names of the geoms that touched `geom` when contacts were last looked for."""
    wanted = model.geom(geom).id
    others = {int(a if b == wanted else b) for a, b in data.contact.geom if wanted in (a, b)}
    return {model.geom(other).name for other in others}
