"""Finds the times that a dry run reckons with: those of --expect and --expect-from, and which are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.workload.budget import Expectation
from locust_kvcache.workload.plan import Plan


def _mean_ms(rows: list[dict[str, Any]], scenario: str, metric: str, wanted: tuple[tuple[str, str], ...]) -> float | None:
    """The mean of the first (split, group) of `wanted` that the run has."""
    for split, group in wanted:
        for row in rows:
            if (row["split"], row["scenario"], str(row["group"]), row["metric"]) == (split, scenario, group, metric):
                return None if row["mean"] is None else float(row["mean"])
    return None


def expectation_from(path: Path, scenario: str) -> Expectation:
    """A former run's mean times of this scenario; empty where it did not run it."""
    try:
        stats = json.loads(path.read_text(encoding="utf-8"))
        rows, run = stats["distributions"], stats["run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"--expect-from: {path} cannot be read ({error}); expected the stats.json of a former run") from error
    cold, hit = (("evidence", "cold"), ("round", "1")), (("evidence", "hit"), ("round", "2"))
    return Expectation(
        _mean_ms(rows, scenario, "ttft_ms", cold),
        _mean_ms(rows, scenario, "ttft_ms", hit),
        _mean_ms(rows, scenario, "tpot_ms", (("round", "1"),)),
        f"{run.get('run_id')} ({run.get('users')} users)",
    )


def expectation(options: Options, scenario: str) -> Expectation:
    """What --expect-from knows, corrected by what --expect says."""
    study = options.study
    known = expectation_from(study.expect_from, scenario) if study.expect_from else Expectation()
    given = {name: study.expect.get(name, getattr(known, name)) for name in ("cold_ttft_ms", "hit_ttft_ms", "tpot_ms")}
    return Expectation(**given, source=" and ".join(filter(None, [known.source, "--expect" if study.expect else ""])))


def missing_text(options: Options, plans: list[Plan]) -> list[str]:
    """Which times would have to be known for a duration."""
    lines = []
    for plan in {plan.scenario.name: plan for plan in plans}.values():
        expected = expectation(options, plan.scenario.name)
        needed = {"cold_ttft_ms": expected.cold_ttft_ms, "tpot_ms": expected.tpot_ms if plan.scenario.output_tokens > 1 else 0.0}
        absent = [name for name, value in needed.items() if value is None]
        if absent and options.arrival == "closed" and not options.replays:
            lines.append(
                f"  {plan.scenario.name}: the duration is unknown without {' and '.join(absent)}; give --expect "
                f"{' '.join(f'{name}=MS' for name in absent)}, or --expect-from RUN of a run with this scenario"
            )
        elif absent:
            lines.append(
                f"  {plan.scenario.name}: arrivals only; the time of the last request is unknown (--expect, --expect-from)"
            )
        elif expected.hit_ttft_ms is None:
            lines.append(f"  {plan.scenario.name}: hits are assumed to be as slow as cold requests (--expect hit_ttft_ms=MS)")
    return lines
