"""Committed studies, each re-runnable: `prefrl bench NAME`."""

from prefrl.bench.behaviours import ATARI, BACKFLIP, GRASP, ONE_LEG
from prefrl.bench.environments import ENVIRONMENTS
from prefrl.bench.labels import LABELS
from prefrl.bench.loop import LOOP
from prefrl.bench.overhead import OVERHEAD
from prefrl.bench.references import REFERENCES_STUDY
from prefrl.bench.rendering import RENDERING
from prefrl.bench.speed import SPEED
from prefrl.bench.viewer import VIEWER

STUDIES = {
    study.name: study
    for study in (
        *(REFERENCES_STUDY, LOOP, LABELS, ENVIRONMENTS, BACKFLIP, ONE_LEG, GRASP, ATARI),
        *(OVERHEAD, SPEED, RENDERING, VIEWER),
    )
}

__all__ = ["STUDIES"]
