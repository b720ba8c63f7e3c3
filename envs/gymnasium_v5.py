"""What the environments on Gymnasium's v5 models of MuJoCo share."""

from __future__ import annotations

from typing import Any, ClassVar

from gymnasium.utils import EzPickle


class V5Env(EzPickle):
    """A v5 environment, named as the next base class, with settings that a user cannot change.

    Attributes:
      fixed: keyword arguments of the v5 class; the constructor takes its other ones.
    """

    fixed: ClassVar[dict[str, Any]] = {}
    metadata: dict[str, Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**self.fixed, **kwargs)
        EzPickle.__init__(self, **kwargs)  # the v5 class has noted its own arguments
        self.metadata = type(self).metadata | self.metadata  # v5's own hide the class's
