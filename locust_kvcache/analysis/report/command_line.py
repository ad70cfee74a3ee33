"""Holds what the analysis commands share: the cause of a gate's exit code, and the option --png."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from locust_kvcache.analysis.cache.round_evidence import HIT, LESS
from locust_kvcache.analysis.stats.targets import FAIL, NOT_JUDGED, PASS, RUN_TARGETS
from locust_kvcache.analysis.tables.table import run_of
from locust_kvcache.contract import exit_codes
from locust_kvcache.contract.exit_codes import Cause, cause_named, worst
from locust_kvcache.contract.targets import HIT_RATE, PD_HIT


def add_png(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--png", action="store_true", help="write each chart as PNG too (always: SVG)")


def gate_causes(stats: dict[str, Any], targets: list[dict[str, Any]]) -> list[Cause]:
    """What a gate finds in one run, its `targets` apart: by the claim of each scenario, and by its records."""
    causes = [cause_named(claim["cause"]) for claim in stats.get("claims") or [] if not _hit_as_asked(claim, targets)]
    causes += [] if stats.get("records_complete", stats["complete"]) else [exit_codes.INCOMPLETE]
    return [cause for cause in causes if cause is not exit_codes.NOTHING_JUDGED]  # that depends on whether a target was set


def _hit_as_asked(claim: Mapping[str, Any], targets: list[dict[str, Any]]) -> bool:
    """Whether rounds that hit less than planned hit as much as `hit_rate_min` asks for, and no other target on them is left open."""
    mine = [row for row in targets if row["target"] in RUN_TARGETS and row["scenario"] == claim["scenario"]]
    less = claim["cause"] == exit_codes.NOTHING_HIT.name and all(served in (HIT, LESS) for _, served, _ in claim["rounds"])
    return less and any(row["target"] == HIT_RATE for row in mine) and all(row["verdict"] == PASS for row in mine)


def target_causes(targets: list[dict[str, Any]]) -> list[Cause]:
    """Of the targets that these runs can meet: one is missed, or none of them could be judged."""
    if any(target["verdict"] == FAIL for target in targets):
        return [exit_codes.TARGET_MISSED]
    if targets and all(target["verdict"] == NOT_JUDGED for target in targets):
        return [exit_codes.NOTHING_JUDGED]
    return []


def gate(stats_list: list[dict[str, Any]], targets: list[dict[str, Any]]) -> Cause:
    """The cause that a gate ends with: the gravest of all runs. Targets of repeated runs name their deployment as `run`."""
    found = []
    for stats in stats_list:
        name = run_of(stats).deployment.name
        found += gate_causes(stats, [row for row in targets if row.get("run") in (None, name)])
    return worst([*found, *target_causes(targets)])


def comparison_gate(runs: Mapping[str, dict[str, Any]], targets: list[dict[str, Any]], comparable: bool) -> Cause:
    """As `gate`, of runs by name. A run that hits nothing may be the yardstick: that counts where it has targets on hits of its own."""
    wanted = {target.get("run") for target in targets if target["target"] in RUN_TARGETS}
    wanted |= {str(target.get("run")).partition(" / ")[0] for target in targets if target["target"] == PD_HIT}
    found = [] if comparable else [exit_codes.NOT_COMPARABLE]
    for name, stats in runs.items():
        causes = gate_causes(stats, [row for row in targets if row.get("run") == name])
        found += [cause for cause in causes if cause is not exit_codes.NOTHING_HIT or name in wanted]
    return worst([*found, *target_causes(targets)])
