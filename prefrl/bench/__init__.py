"""Committed studies, each re-runnable: `prefrl bench NAME`."""

from prefrl.bench.loop import LOOP, REFERENCES_STUDY
from prefrl.bench.overhead import OVERHEAD
from prefrl.bench.rendering import RENDERING

STUDIES = {study.name: study for study in (REFERENCES_STUDY, LOOP, OVERHEAD, RENDERING)}

__all__ = ["STUDIES"]
