"""Runs recorded by hand on H200s (tests/fixtures/h200) as folders that the analysis reads: arms are rounds, lengths are scenarios.

Each line has a request's times and how the servers' counters grew with it; here they become records and scrapes around rounds.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import write_run

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "h200"
ARMS = ("cold", "gpu_hit", "store_hit")
BLOCK = 16
LABELS = {"prompt_tokens_by_source_total": "source"}
MODEL = {"kv_bytes_per_token": 327_680, "active_parameters": 70_200_000_000, "attention_flop_per_token2": 2_621_440}


def recorded_run(folder: Path, name: str, deployment: str | None = None) -> Path:
    """A run folder of the file `name`; only lines of that deployment where the file has several."""
    lines = [json.loads(line) for line in (FIXTURES / name).read_text().splitlines()]
    lines = [line for line in lines if deployment is None or line.get("deployment") == deployment]
    records = [_record(line, number) for number, line in enumerate(lines)]
    rounds = [
        {"scenario": scenario, "round": number, "arm": ARMS[number - 1], "planned_requests": len(mine), "records": len(mine),
         "wall_s": sum(record.e2e_ms or 0 for record in mine) / 1000, "started_at_s": 1.0, "complete": True}
        for (scenario, number), mine in _grouped(records).items()
    ]  # fmt: skip
    kind = "pd_disagg" if deployment == "pd" else "non_disagg"
    facts = {"name": kind, "kind": kind, "endpoint": "http://h200:9000", "gpus": 1}
    write_run(folder, records, rounds=rounds, arms=list(ARMS), deployment=facts, model_info=MODEL, targets={})
    scrapes = "".join(json.dumps(scrape) + "\n" for scrape in _scrapes(lines, kind))
    (folder / "server_metrics.jsonl").write_text(scrapes)
    return folder


def _key(line: dict[str, Any]) -> tuple[str, int]:
    return f"n{line['n']}", 1 + ARMS.index(line["label"])


def _grouped(records: list[Record]) -> dict[tuple[str, int], list[Record]]:
    grouped = defaultdict(list)
    for record in records:
        grouped[record.scenario, record.round].append(record)
    return grouped


def _record(line: dict[str, Any], number: int) -> Record:
    scenario, round_ = _key(line)
    tpot = (line["e2e_ms"] - line["ttft_ms"]) / (line["completion_tokens"] - 1)
    return Record(
        run_id="h200", deployment="h200", model=line["model"], scenario=scenario, round=round_, request_index=line["rep"],
        session_id=line["rep"], turn=1, worker="w", started_at_s=1000.0 + 20 * number, status="ok", http_status=200,
        finish_reason="length", prompt_tokens=line["prompt_tokens"], output_tokens=line["completion_tokens"],
        planned_prompt_tokens=line["n"], planned_cached_tokens=0 if round_ == 1 else (line["n"] - 1) // BLOCK * BLOCK,
        reported_cached_tokens=line["cached"], ttfb_ms=line["ttft_ms"], first_choice_ms=line["ttft_ms"], ttft_ms=line["ttft_ms"],
        ttfvt_ms=line["ttft_ms"], e2e_ms=line["e2e_ms"], tpot_ms=tpot, itl_p50_ms=tpot, itl_p99_ms=tpot, icl_p50_ms=tpot,
        icl_p99_ms=tpot, chunks=line["completion_tokens"], response_bytes=1, clock="process", loop_lag_ms=0.1,
    )  # fmt: skip


def _metric(name: str) -> str:
    """prompt_tokens_by_source_total:local_compute as a page has it."""
    metric, _, value = name.partition(":")
    return f'vllm:{metric}{{{LABELS.get(metric, "operation")}="{value}"}}' if value else f"vllm:{metric}"


def _scrapes(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Before and after each round, the counters grown since the beginning; a count of 1 for each sum of a request."""
    grown: dict[tuple[str, str, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in lines:
        roles = {"server": line["delta"]} if "delta" in line else {"prefiller": line["P"], "decoder": line["D"]}
        if "P" in line and kind == "non_disagg":
            roles = {"server": line["P"]}
        for role, delta in roles.items():
            for name, value in delta.items():
                samples = grown[role, *_key(line)]
                samples[_metric(name)] += max(0.0, value)  # the H200's put counter once ran backwards by a block
                if name.endswith("_seconds_sum"):
                    samples[re.sub("_sum$", "_count", _metric(name))] += 1
    scrapes, total = [], defaultdict(lambda: defaultdict(float))  # type: ignore[var-annotated]
    for (role, scenario, round_), samples in grown.items():
        for when in ("before", "after"):
            if when == "after":
                for name, value in samples.items():
                    total[role][name] += value
            scrapes.append({"at_s": 1000.0 + len(scrapes), "role": role, "url": f"http://{role}/metrics", "scenario": scenario,
                            "round": round_, "when": when, "ok": True, "error": None, "samples": dict(total[role])})  # fmt: skip
    return scrapes
