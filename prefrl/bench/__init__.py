"""Committed studies, each re-runnable: `prefrl bench NAME`."""

from prefrl.bench.loop import LOOP, REFERENCES_STUDY
from prefrl.bench.overhead import OVERHEAD

STUDIES = {study.name: study for study in (REFERENCES_STUDY, LOOP, OVERHEAD)}

__all__ = ["STUDIES"]
