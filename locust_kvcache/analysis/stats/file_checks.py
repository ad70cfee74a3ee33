"""Reports what a user's own trace or conversations leave unknown, what was changed to send them, and what chunks do to prefixes.

run.json's scenarios come in, Problems go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.chunk_sessions import chunk_reuse
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.traces.loading import NO_PREFIXES, NONE

TODO = "Its hit rate is not that of the recorded service; a trace with hash_ids shows that (locust-kvcache oracle)."


def file_problems(scenarios: Iterable[Mapping[str, Any]], seed: int | None) -> list[Problem]:
    problems = []
    for scenario in scenarios:
        if scenario.get("chunks") is not None and seed is not None:
            planned = dry_plan(Scenario.from_dict(dict(scenario)), seed)
            assert planned.scenario.chunks is not None
            reuse = chunk_reuse(planned.sessions, planned.scenario.chunks)
            problems.append(Problem("note", "chunks_move", f"{scenario.get('name')}: {reuse.sentence}."))
        source = scenario.get("trace") or scenario.get("corpus")
        if not isinstance(source, Mapping):
            continue
        path = source.get("path") or next(iter(source.get("files") or ()), "its file")
        name = scenario.get("name")
        if source.get("prefixes") == NONE:
            problems.append(Problem("warning", "no_prefixes", f"{name}: {path}: {NO_PREFIXES}.", TODO))
        for note in source.get("notes") or ():
            if note != NO_PREFIXES:
                problems.append(Problem("note", "file_as_read", f"{name}: {path}: {note}."))
    return problems
