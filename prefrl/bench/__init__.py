"""Committed studies, each re-runnable: `prefrl bench NAME`."""

from prefrl.bench.ablations import ABLATIONS_STUDY
from prefrl.bench.agents import AGENTS_STUDY
from prefrl.bench.behaviours import ATARI, BACKFLIP, GRASP, ONE_LEG
from prefrl.bench.environments import ENVIRONMENTS
from prefrl.bench.gate import GATE
from prefrl.bench.labels import LABELS
from prefrl.bench.loop import LOOP
from prefrl.bench.overhead import OVERHEAD
from prefrl.bench.public import PUBLIC_STUDY
from prefrl.bench.references import REFERENCES_STUDY
from prefrl.bench.rendering import RENDERING
from prefrl.bench.speed import SPEED
from prefrl.bench.teachers import TEACHERS_STUDY
from prefrl.bench.viewer import VIEWER

STUDIES = {
    study.name: study
    for study in (
        *(REFERENCES_STUDY, LOOP, LABELS, ENVIRONMENTS, BACKFLIP, ONE_LEG, GRASP, ATARI),
        *(PUBLIC_STUDY, ABLATIONS_STUDY, TEACHERS_STUDY, GATE, AGENTS_STUDY),
        *(OVERHEAD, SPEED, RENDERING, VIEWER),
    )
}

__all__ = ["STUDIES"]
