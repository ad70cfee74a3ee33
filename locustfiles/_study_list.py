"""Options come in, the study that they ask for goes out: how it measures, and the analysis that speaks at its end."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from locustfiles._capacity import search_capacity
from locustfiles._options import Options
from locustfiles._run_folder import ROOT
from locustfiles._studies import Study
from locustfiles._working_set import sweep_working_set


@dataclass(frozen=True)
class StudyKind:
    measure: Study
    analysis: str  # a module, run as a process of its own

    def summarise(self, folders: list[Path]) -> str:
        """What the analysis printed."""
        command = [sys.executable, "-m", self.analysis, *(str(folder.resolve()) for folder in folders)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


def study_of(options: Options) -> StudyKind | None:
    """None: a plain run, or a sweep of concurrency."""
    if options.study.capacity:
        return StudyKind(search_capacity, "analysis.capacity")
    if options.study.sweeps_working_set:
        return StudyKind(sweep_working_set, "analysis.working_set")
    return None
