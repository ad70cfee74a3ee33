"""Reads a run's folder as measured points, and which split of prefillers and decoders the run was on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from locust_kvcache.analysis.basics.number_text import listed, percent
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.model.stage_points import Counted, Point, points_of
from locust_kvcache.analysis.model.tandem import Split
from locust_kvcache.analysis.reading.run_info import DeploymentInfo, RunInfo
from locust_kvcache.analysis.reading.runs import RecordedRun, load_run
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.servers import server_counters
from locust_kvcache.contract.errors import BadInput

TOO_MANY_LATE = 0.1
PREFILL_OUTPUT_TOKENS = 8  # answers of a prefill run: of longer ones the decode steps slow the prefills of others


@dataclass(frozen=True)
class MeasuredRun:
    folder: Path
    info: RunInfo
    points: tuple[Point, ...]
    client_limited: float = 0.0  # share of the requests that the load generator timed late

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def split(self) -> Split | None:
        return split_of(self.info.deployment)


def split_of(deployment: DeploymentInfo) -> Split | None:
    """By the roles of its engines, else of its metrics pages; a pd_disagg without roles is one of each. None of plain servers."""
    roles = deployment.engine_roles or deployment.roles
    prefillers, decoders = roles.count("prefiller"), roles.count("decoder")
    if prefillers and decoders:
        return Split(prefillers, decoders)
    return Split(1, 1) if deployment.is_pd and not prefillers and not decoders else None


def read_points(folder: Path) -> MeasuredRun:
    """BadInput where the folder has no successful requests whose tokens are known."""
    with unusable_is_bad_input(folder):
        run = load_run(folder)
        is_pd = split_of(run.info.deployment) is not None
        points = tuple(points_of(folder.resolve().name, run.records, _counted(run), is_pd))
    if not points:
        raise BadInput(
            f"{folder} has no successful requests with TTFT, prompt, output and cached tokens; give a run whose server reports usage, and "
            "cached tokens where it has later rounds (--enable-prompt-tokens-details)"
        )
    late = run.records["client_limited"].eq(1)
    return MeasuredRun(folder, run.info, points, float(late.mean()))


def _counted(run: RecordedRun) -> dict[tuple[str, int], Counted]:
    """What the prefillers counted in each round."""
    if not run.server_metrics:
        return {}
    changed = server_counters.deltas(server_counters.series(run.server_metrics))[0]
    stages, tiers = server_counters.stage_times(changed), server_counters.tiers(changed)
    joined = stages.merge(tiers, on=["scenario", "round", "role"], how="left")
    found = {}
    for row in rows_of(joined[joined["role"].eq("prefiller")]):
        prefill_ms, computed, requests = row["prefill_ms"], row.get("computed"), row["requests"]
        per_request = computed / requests if computed is not None and requests else None
        found[row["scenario"], int(row["round"])] = Counted(None if prefill_ms is None else prefill_ms / 1000, per_request)
    return found


def read_pair(folder: Path) -> MeasuredRun:
    """A run on one prefiller and one decoder."""
    found = read_points(folder)
    if found.split != Split(1, 1):
        raise BadInput(
            f"--pd {folder} ran on {found.split.name if found.split else found.info.deployment.kind}; expected one prefiller and one "
            "decoder: give others with --measured"
        )
    return found


def check_prefill_runs(runs: Sequence[MeasuredRun]) -> None:
    """BadInput for a loaded plain server with long answers: its prefills share their steps with decodes and look too slow."""
    for run in runs:
        for point in run.points if run.split is None else ():
            if point.in_flight > 1.5 and point.output_tokens > PREFILL_OUTPUT_TOKENS:
                raise BadInput(
                    f"--prefill {run.folder} has {point.in_flight:.3g} requests at a time with {point.output_tokens:.3g} output tokens "
                    f"each: decode steps slow their prefills; expected at most {PREFILL_OUTPUT_TOKENS} output tokens: give a run with "
                    "--output-tokens 1, or one of one user"
                )


def late_runs(runs: Sequence[MeasuredRun]) -> list[str]:
    """In a sentence: which runs say more of the load generator than of the servers."""
    late = listed(f"{run.name} ({percent(run.client_limited)})" for run in runs if run.client_limited > TOO_MANY_LATE)
    if not late:
        return []
    return [
        f"Requests that the load generator timed late, so their times are too long: {late}. Use more workers (--processes), or a quieter "
        "machine."
    ]


def all_points(runs: Sequence[MeasuredRun]) -> tuple[Point, ...]:
    return tuple(point for run in runs for point in run.points)
