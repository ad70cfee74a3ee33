"""python -m benchmarks.advise_truth --trace conversation_trace.jsonl: what `advise` predicts for published runs, beside what they measured.

Each case takes the costs of a request from another run than the one that it predicts. The hit rate is compared in points, the TTFT as
predicted / measured - 1. Scenarios are planned with their texts' nominal sizes, which a run meets within 1 %.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from locust_kvcache.analysis.advice.check import HIT_RATE, Check, checks_of, measured_round
from locust_kvcache.analysis.advice.demand import Demand, requests_of
from locust_kvcache.analysis.advice.deployments import pairs
from locust_kvcache.analysis.advice.playing import CACHE_AWARE, ROUND_ROBIN, blocks_for
from locust_kvcache.analysis.advice.prediction import GPU, Point, Prices, Question, predict
from locust_kvcache.analysis.advice.profiles import from_profile
from locust_kvcache.analysis.advice.sources import Source, load_source
from locust_kvcache.analysis.basics.number_text import DASH
from locust_kvcache.analysis.model.tandem import Split
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.traces.replay import replay_scenario
from locust_kvcache.workload.traces.source import TraceSource

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
STORE = "h200x4-store-trace-vllm-0.26"
EIGHT = "h200x8-vllm-0.26"
OWN_SCENARIOS = RESULTS.parent.parent / "tests" / "lab" / "h200" / "eight"
ARCHIVES = {STORE: "runs.tar.xz", f"{STORE}/trace": "trace.tar.xz", f"{EIGHT}/fleet": "fleet.tar.xz"}
ALONE = "h200-pd-vllm-0.26/single_none"
TWO = "h200-two-gpus-vllm-0.26"


@dataclass(frozen=True)
class Case:
    """`source`: a run's folder, or a profile by its name. `tokens`: KV cache of one server's GPUs."""

    run: str
    scenario: str
    round: int
    source: str
    tokens: float
    block: int = 16
    servers: int = 1
    routing: str = ROUND_ROBIN
    step_tokens: int = 8192
    slots: int = 256
    split: Split | None = None


CASES = (
    Case("vllm-0.32-cpu-trace", "trace_replay", 1, "vllm-0.32-cpu", 65_536, 32, step_tokens=2048, slots=16),
    Case(f"{STORE}/trace_cache_aware_x2_1", "trace_replay", 1, ALONE, 363_920, 8, 4, CACHE_AWARE),
    Case(f"{STORE}/trace_round_robin_x2_1", "trace_replay", 1, ALONE, 363_920, 8, 4),
    Case(f"{STORE}/trace_round_robin_x2_2", "trace_replay", 1, ALONE, 363_920, 8, 4),
    Case(f"{STORE}/trace_cache_aware_x8_1", "trace_replay", 1, ALONE, 363_920, 8, 4, CACHE_AWARE),
    Case(f"{STORE}/trace/trace_cache_aware_x2_2", "trace_replay", 1, ALONE, 363_920, 8, 4, CACHE_AWARE),
    Case(f"{STORE}/trace/trace_round_robin_x2_1", "trace_replay", 1, ALONE, 363_920, 8, 4),
    Case(f"{STORE}/trace/trace_round_robin_x8_1", "trace_replay", 1, ALONE, 363_920, 8, 4),
    Case(f"{STORE}/trace/trace_cache_aware_x8_3", "trace_replay", 1, ALONE, 363_920, 8, 4, CACHE_AWARE),
    *(
        Case(f"{EIGHT}/fleet/{routing}-{name}-1", f"fleet_{name}", round_, ALONE, 363_920, 16, 4, routing)
        for name in ("one", "four")
        for routing in (ROUND_ROBIN, CACHE_AWARE)
        for round_ in (1, 2)
    ),
    Case(f"{EIGHT}/replicas4-mix_prompt-1", "mix_prompt", 1, ALONE, 363_920, 16, 4),
    Case(f"{EIGHT}/replicas4-mix_answer-1", "mix_answer", 1, ALONE, 363_920, 16, 4),
    Case("h200-pair-vllm-0.26/single_load_c8", "cold_start", 1, "h200-pair-vllm-0.26/single", 174_960),
    Case("h200-pair-vllm-0.26/single_load_c8", "cold_start", 2, "h200-pair-vllm-0.26/single", 174_960),
    Case("h200-pair-vllm-0.26/single_turns_c10", "multi_turn_conversation", 1, "h200-pair-vllm-0.26/single", 174_960),
    Case(f"{TWO}/tp2_load_1_c8", "cold_start", 1, f"{TWO}/tp2", 585_280),
    Case(f"{TWO}/tp2_load_1_c8", "cold_start", 2, f"{TWO}/tp2", 585_280),
    Case("h200-pair-vllm-0.26/pd_load_c8", "cold_start", 1, "h200_pair_qwen_72b_fp8", 174_960, split=Split(1, 1)),
    Case("h200-pair-vllm-0.26/pd_load_c8", "cold_start", 2, "h200_pair_qwen_72b_fp8", 174_960, split=Split(1, 1)),
    Case("h200-vllm-0.26/single_c5", "cold_start", 1, "h200_qwen_72b_fp8", 174_960),
    Case("h200-vllm-0.26/single_c5", "long_context_high_reuse", 1, "h200_qwen_72b_fp8", 174_960),
    Case("h200-vllm-0.26/single_c10", "multi_turn_conversation", 2, "h200_qwen_72b_fp8", 174_960),
)


def source_of(case: Case) -> Source:
    found = load_source(RESULTS / case.source) if (RESULTS / case.source).is_dir() else from_profile(case.source)
    return dataclasses.replace(found, costs=dataclasses.replace(found.costs, step_tokens=case.step_tokens, slots=case.slots))


def demand_of(case: Case, run: dict[str, Any], trace: Path | None) -> Demand:
    entry = next(one for one in run["scenarios"] if one["name"] == case.scenario)
    if entry.get("trace"):
        source = TraceSource.from_dict({**entry["trace"], "path": str(trace), "sha256": ""})
        scenario = replay_scenario(source).with_requests(entry["requests"])
    else:
        own = OWN_SCENARIOS / f"{case.scenario}.yaml"
        scenario = load_scenario(str(own) if own.is_file() else case.scenario).with_requests(entry["requests"])
    plan = dry_plan(scenario, run["seed"])
    due_s = None if plan.due_s is None else np.asarray(plan.due_s)
    return Demand(case.scenario, requests_of(plan), case.round, due_s, None if plan.due_s is not None else run["users"])


def figures(case: Case, demand: Demand) -> Point:
    """What is predicted; of a pair the hit rate, P50 and P90."""
    source = source_of(case)
    kv_bytes = float(source.kv_bytes_per_token or 1)
    question = Question(demand, source, Prices(), 1, case.tokens, kv_bytes, case.servers, case.routing)
    if case.split is not None:
        one = pairs(question, case.split, case.block)
        return Point(
            GPU, 0.0, case.tokens, 1, ROUND_ROBIN, one.hit_rate, one.ttft_p50_ms, one.ttft_p90_ms, why_no_ttft=one.why_not
        )
    blocks = blocks_for(demand, source, case.block, case.servers, case.routing)
    return predict(question, blocks, GPU, case.tokens * kv_bytes / 1e9)


def checked(case: Case, folder: Path, trace: Path | None) -> tuple[Point, list[Check]]:
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    demand = demand_of(case, run, trace)
    point = figures(case, demand)
    return point, checks_of(point, measured_round(folder, demand))


def row_of(case: Case, name: str, checks: list[Check]) -> str:
    cells = [f"{name}, {case.scenario}, round {case.round}", case.source]
    if case.split is not None:
        checks = [one for one in checks if one.figure != HIT_RATE]  # a decoder reports what it was handed as cached
        cells.append(DASH)
    cells += [f"{one.value_text(one.predicted)} / {one.value_text(one.measured)} ({one.off_text})" for one in checks]
    return f"| {' | '.join(cells)} |"


def folder_of(case: Case, unpacked: Path) -> Path:
    """Of a run in an archive, where it was unpacked."""
    parent = case.run.rpartition("/")[0]
    if parent not in ARCHIVES:
        return RESULTS / case.run
    target = unpacked / ARCHIVES[parent]
    if not target.exists():
        with tarfile.open(RESULTS / parent.split("/")[0] / ARCHIVES[parent]) as archive:
            archive.extractall(target, filter="data")
    name = Path(case.run).name
    return next(path.parent for path in target.rglob("run.json") if path.parent.name == name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, help="Mooncake's conversation_trace.jsonl; without it runs of a trace are left out")
    args = parser.parse_args()
    print("| run | costs from | hit rate | TTFT P50, ms | P90, ms | mean, ms |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as unpacked:
        for case in CASES:
            if args.trace is None and case.scenario == "trace_replay":
                continue
            folder = folder_of(case, Path(unpacked))
            point, checks = checked(case, folder, args.trace)
            print(row_of(case, folder.name, checks), flush=True)
            if point.why_no_ttft:
                print(point.why_no_ttft, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
