"""Which geoms of a MuJoCo model touch which."""

from __future__ import annotations

from typing import Any

import mujoco


class Contacts:
    """What touches one geom.

    Args:
      model: an MjModel.
      geom: the geom's name.
    """

    def __init__(self, model: Any, geom: str) -> None:
        self._model, self._geom = model, model.geom(geom).id
        self._names = [model.geom(i).name for i in range(model.ngeom)]

    def now(self, data: Any) -> set[str]:
        """Names of the geoms that touch it in the current qpos.

        After a step MuJoCo's contacts are those from before its last substep. This computes those
        of the state itself, so that a recorded state is judged alike when it is set again.
        """
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_collision(self._model, data)
        return self.latest(data)

    def latest(self, data: Any) -> set[str]:
        """Names of the geoms that touched it when contacts were last computed."""
        pairs: list[list[int]] = data.contact.geom.tolist()
        return {self._names[a + b - self._geom] for a, b in pairs if self._geom in (a, b)}
