"""Options come in, the study that they ask for goes out: how it measures, and the analysis that speaks at its end."""

from __future__ import annotations

from dataclasses import dataclass

from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.studies.capacity import search_capacity
from locust_kvcache.loadgen.studies.study import Study
from locust_kvcache.loadgen.studies.working_set import sweep_working_set


@dataclass(frozen=True)
class StudyKind:
    measure: Study
    analysis: str  # the module that speaks at its end


def study_of(options: Options) -> StudyKind | None:
    """None: a plain run, or a sweep of concurrency."""
    if options.study.capacity:
        return StudyKind(search_capacity, "locust_kvcache.analysis.commands.capacity")
    if options.study.sweeps_working_set:
        return StudyKind(sweep_working_set, "locust_kvcache.analysis.commands.working_set")
    return None
