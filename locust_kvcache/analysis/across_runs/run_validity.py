"""Finds runs that cannot be compared by their own evidence, and gives a Problem for each."""

from __future__ import annotations

from collections.abc import Mapping

from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.tables.table import Stats


def validity_problems(runs: Mapping[str, Stats]) -> list[Problem]:
    """By name of the run: records that are missing, and scenarios whose figures are not valid (cache/claims.py says why).

    A failed request within the others does not forbid a comparison: it stands among the warnings.
    """
    found = []
    for name, stats in runs.items():
        if not stats.get("records_complete", stats["complete"]):
            first = stats["problems"][0]["text"] if stats["problems"] else ""
            found.append(Problem("error", "incomplete", f"{name} is incomplete. {first}", "Compare whole runs."))
        for claim in stats.get("claims") or []:
            if not claim["valid"]:
                text = f"{name}, {claim['scenario']}: {claim['lead']}."
                found.append(Problem("error", "not_valid", text, "Run it again; its report says what to do."))
    return found
