"""python -m benchmarks.analysis_speed [--records 1000000]: seconds, memory and file sizes of a full report, by the size of a run.

A synthetic run is written to a temporary folder; the analysis runs as a process of its own, as it does after a load run.
Two figures are ratios within this run: report time over the time to merely parse the records, and over that of a tenth of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = (
    '{"run_id":"bench","deployment":"bench","model":"m","scenario":"%s","round":%d,"request_index":%d,"session_id":%d,"turn":%d,'
    '"worker":"host-%d#0","started_at_s":%.6f,"scheduled_at_s":null,"schedule_lag_ms":null,"status":"%s","error":%s,"http_status":200,'
    '"finish_reason":"length","planned_prompt_tokens":%d,"prompt_tokens":%d,"output_tokens":40,"planned_cached_tokens":%d,'
    '"reported_cached_tokens":%d,"shares_prefix_with":%s,"connect_ms":null,"ttfb_ms":1.474240000789,"first_choice_ms":%.12f,'
    '"ttft_ms":%.12f,"ttfvt_ms":%.12f,"tpot_ms":%.12f,"e2e_ms":%.12f,"itl_p50_ms":14.850323000246,"itl_p99_ms":16.485224719963,'
    '"icl_p50_ms":14.850323000246,"icl_p99_ms":16.485224719963,"chunks":40,"response_bytes":9831,"clock":"kernel",'
    '"loop_lag_ms":0.239500999872,"format":1}\n'
)
SCENARIOS = ("long_context_high_reuse", "batch_processing")
TURNS = 5


def write_run(folder: Path, records: int) -> None:
    """Two scenarios, two rounds, five requests per session, one request in a thousand failed; deterministic."""
    folder.mkdir(parents=True)
    per_round, clock, rounds = records // (2 * len(SCENARIOS)), 1_700_000_000.0, []
    with (folder / "records.jsonl").open("w", encoding="utf-8", buffering=1 << 20) as file:
        for scenario in SCENARIOS:
            for number in (1, 2):
                started = clock
                for index in range(per_round):
                    clock += 0.01
                    file.write(line(scenario, number, index, clock))
                rounds.append({"scenario": scenario, "round": number, "planned_requests": per_round, "records": per_round,
                               "wall_s": clock - started + 1, "started_at_s": started, "complete": True})  # fmt: skip
    run = {"format": 1, "run_id": "bench", "complete": True, "deployment": {"name": "bench", "kind": "other"}, "model": "m",
           "targets": {"hit_ttft_reduction_min": 0.6}, "server": {"block_size_tokens": 16}, "users": 64, "workers": 4,
           "scenarios": [{"name": name} for name in SCENARIOS], "rounds_planned": 2, "rounds": rounds}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")


def line(scenario: str, number: int, index: int, clock: float) -> str:
    session, turn = divmod(index, TURNS)
    prompt = 2000 + session % 40 * 100
    shared = prompt - 1 if number > 1 else prompt - 100 if turn else 0
    cached = shared // 16 * 16
    jitter = 1 + ((index * 7919) % 1000 - 500) / 5000
    ttft = (40 + (prompt - cached) / 8 + cached / 200) * jitter
    status, error = ("timeout", '"not complete within 600 s"') if index % 1000 == 999 else ("ok", "null")
    first = "null" if not turn else str(session * TURNS)
    return TEMPLATE % (scenario, number, index, session, turn + 1, index % 8, clock, status, error, prompt, prompt, cached, cached, first,
                       ttft, ttft, ttft, 20 * jitter, ttft + 780 * jitter)  # fmt: skip


def measure(folder: Path) -> dict[str, float]:
    """Wall seconds and peak memory of `python -m analysis FOLDER`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "analysis", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    wall_s = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(done.stdout[-2000:] + done.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    sizes = {"html_mb": "report/report.html", "stats_mb": "stats.json", "records_mb": "records.jsonl"}
    megabytes = {name: (folder / path).stat().st_size / 1e6 for name, path in sizes.items()}
    return {"wall_s": wall_s, "peak_mb": max(peak, before) / 1024, **megabytes}


def parse_s(folder: Path) -> float:
    """What the standard library needs to parse the same file, line by line."""
    started = time.monotonic()
    with (folder / "records.jsonl").open("rb") as file:
        for text in file:
            json.loads(text)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    records = parser.parse_args().records
    with tempfile.TemporaryDirectory() as temporary:
        results = {}
        for count in (records // 10, records):  # the small one first: peak memory only grows
            folder = Path(temporary) / str(count)
            write_run(folder, count)
            results[count] = measure(folder)
            print(
                f"{count:>9,} records: " + ", ".join(f"{name} {value:.2f}" for name, value in results[count].items()), flush=True
            )
        parsing = parse_s(Path(temporary) / str(records))
    print(f"ratios: full report / merely parsing the records {results[records]['wall_s'] / parsing:.2f}; "
          f"ten times the records {results[records]['wall_s'] / results[records // 10]['wall_s']:.2f} times the seconds")  # fmt: skip


if __name__ == "__main__":
    main()
