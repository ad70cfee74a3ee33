"""Runs with known truth for tests: what each request's times are made of is given, the folder of such a run goes out.

ttft = fixed + uncached / prefill_rate + cached / load_rate (+ noise), e2e = ttft + (output - 1) * tpot.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from locust_kvcache.contract.record import Record

RUN_JSON: dict[str, Any] = {
    "format": 1,
    "complete": True,
    "incomplete_reason": None,
    "started_at": "2026-11-01T10:00:00.000+00:00",
    "ended_at": "2026-11-01T10:05:00.000+00:00",
    "model": "test-model",
    "model_info": None,
    "seed": 1,
    "nonce": "abcd1234",
    "users": 1,
    "spawn_rate": 1.0,
    "workers": 1,
    "arrival": {"kind": "closed", "request_rate_per_s": None},
    "calibration": {"source": "tokenize"},
    "versions": {"python": "3.11.7"},
    "command": ["locust", "-f", "locustfiles"],
    "warnings": [],
}


@dataclass(frozen=True)
class Truth:
    """What is put in, and has to come out again."""

    scenario: str = "long_context_high_reuse"
    sessions: int = 6
    sessions_per_prefix: int = 1
    turns: int = 5
    rounds: int = 2
    prefix_tokens: int = 4000
    turn_tokens: int = 96
    output_tokens: int = 40
    block: int = 16
    fixed_ms: float = 40.0
    prefill_tokens_per_s: float = 8000.0
    load_tokens_per_s: float = 200_000.0
    tpot_ms: float = 20.0
    noise: float = 0.0  # standard deviation of the factor on times
    efficiency: float = 1.0  # of what could be cached, what is
    effect: bool = True  # False: a hit is reported but takes as long as computing
    spread_tokens: int = 0  # session k's prefix is k * this longer
    seed: int = 1
    run_id: str = "synthetic"
    info: dict[str, Any] = field(default_factory=dict)  # overrides of run.json

    def but(self, **changes: Any) -> Truth:
        return replace(self, **changes)


def make_records(truth: Truth) -> list[Record]:
    """All records of a serial run (one user), round after round."""
    rng, clock, records = random.Random(truth.seed), 1_700_000_000.0, []
    for round_number in range(1, truth.rounds + 1):
        for index in range(truth.sessions * truth.turns):
            record = make_record(truth, rng, round_number, index, clock)
            clock += (record.e2e_ms or 0) / 1000 + 0.001
            records.append(record)
    return records


def make_record(truth: Truth, rng: random.Random, round_number: int, index: int, started_at_s: float) -> Record:
    session, turn = divmod(index, truth.turns)
    prefix = truth.prefix_tokens + session // truth.sessions_per_prefix * truth.spread_tokens
    prompt = prefix + truth.turn_tokens
    first = session // truth.sessions_per_prefix * truth.sessions_per_prefix * truth.turns
    shared = prompt - 1 if round_number > 1 else prefix if index != first else 0
    planned = shared // truth.block * truth.block
    cached = int(planned * truth.efficiency) // truth.block * truth.block
    effective = cached if truth.effect else 0
    factor = max(0.2, rng.gauss(1.0, truth.noise)) if truth.noise else 1.0
    ttft_s = truth.fixed_ms / 1000 + (prompt - effective) / truth.prefill_tokens_per_s + effective / truth.load_tokens_per_s
    ttft, tpot = 1000 * ttft_s * factor, truth.tpot_ms * factor
    return Record(
        run_id=truth.run_id, deployment="single", model="test-model", scenario=truth.scenario, round=round_number,
        request_index=index, session_id=session, turn=turn + 1, worker="w1", started_at_s=started_at_s, status="ok",
        http_status=200, finish_reason="length", planned_prompt_tokens=prompt, prompt_tokens=prompt,
        planned_output_tokens=truth.output_tokens, output_tokens=truth.output_tokens,
        planned_cached_tokens=planned, reported_cached_tokens=cached,
        shares_prefix_with=None if index == first else first, ttfb_ms=ttft, first_choice_ms=ttft, ttft_ms=ttft, ttfvt_ms=ttft,
        tpot_ms=tpot, e2e_ms=ttft + (truth.output_tokens - 1) * tpot, itl_p50_ms=tpot, itl_p99_ms=tpot, icl_p50_ms=tpot,
        icl_p99_ms=tpot, chunks=truth.output_tokens, response_bytes=1000, clock="kernel", loop_lag_ms=0.2,
    )  # fmt: skip


def round_rows(records: list[Record]) -> list[dict[str, Any]]:
    """What run.json says of each round, from the records themselves (serial: the wall time is the sum of E2E)."""
    rows = []
    for key in dict.fromkeys((record.scenario, record.round) for record in records):
        mine = [record for record in records if (record.scenario, record.round) == key]
        wall_s = sum(record.e2e_ms or 0 for record in mine) / 1000
        rows.append({"scenario": key[0], "round": key[1], "planned_requests": len(mine), "records": len(mine), "wall_s": wall_s,
                     "started_at_s": mine[0].started_at_s, "complete": True})  # fmt: skip
    return rows


def write_run(folder: Path, records: list[Record], truth: Truth | None = None, **info: Any) -> Path:
    """A run's folder with these records."""
    truth = truth or Truth()
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(record.scenario for record in records)) or [truth.scenario]
    run = {
        **RUN_JSON,
        "run_id": truth.run_id,
        "deployment": {"name": "single", "kind": "non_disagg", "endpoint": "http://127.0.0.1:8000", "gpus": None},
        "targets": {"hit_ttft_reduction_min": 0.6, "hit_throughput_gain_min": 1.5},
        "server": {"version": "0.33.0", "models": ["test-model"], "block_size_tokens": truth.block, "reports_cached_tokens": True,
                   "api": "chat"},
        "scenarios": [{"name": name, "requests": truth.sessions * truth.turns} for name in names],
        "rounds_planned": dict.fromkeys(names, truth.rounds),
        "rounds": round_rows(records),
        **truth.info,
        **info,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    lines = "".join(record.to_json() + "\n" for record in records)
    (folder / "records.jsonl").write_text(lines, encoding="utf-8")
    return folder


def synthetic_run(folder: Path, truth: Truth | None = None, **info: Any) -> Path:
    truth = truth or Truth()
    return write_run(folder, make_records(truth), truth, **info)
