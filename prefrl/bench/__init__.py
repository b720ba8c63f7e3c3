"""Committed studies, each re-runnable: `prefrl bench NAME`."""

from prefrl.bench import (
    ablations,
    agents,
    behaviours,
    environments,
    gate,
    labels,
    loop,
    overhead,
    public,
    references,
    rendering,
    speed,
    teachers,
    viewer,
)

STUDIES = {
    study.name: study
    for study in (
        references.STUDY,
        loop.STUDY,
        labels.STUDY,
        environments.STUDY,
        *behaviours.STUDIES,
        public.STUDY,
        ablations.STUDY,
        teachers.STUDY,
        gate.STUDY,
        agents.STUDY,
        overhead.STUDY,
        speed.STUDY,
        rendering.STUDY,
        viewer.STUDY,
    )
}

__all__ = ["STUDIES"]
