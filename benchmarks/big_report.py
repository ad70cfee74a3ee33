"""python -m benchmarks.big_report [--records 1000000] [--commands report compare]: memory and time of commands over a long run.

A synthetic run is written by the master's own writer, and read by a process of its own, as after a load. Printed for each size and
command: seconds to write, size on disk, and of the command its peak memory (ru_maxrss), its seconds and its seconds of processors.
Several sizes: --records 100000 1000000. --keep FOLDER leaves the runs there, and takes those that are there. `compare` and `repeats`
read two runs of this size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from locust_kvcache.contract.record import Record
from locust_kvcache.contract.record_files import FORMATS, PARQUET
from locust_kvcache.loadgen.run.record_parts import RecordParts
from locust_kvcache.loadgen.run.records_file import Collector

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("report", "compare", "repeats", "recovery", "csv", "parquet", "otlp")
SCENARIO, TURNS, USERS, BATCH = "multi_turn_conversation", 5, 64, 1000


def record(number: int, index: int, at_s: float, run_id: str = "big") -> Record:
    """Five turns per session; one request in a thousand failed; a hit computes the rest of the prompt only."""
    session, turn = divmod(index, TURNS)
    prompt = 2000 + session % 40 * 100 + turn * 300
    planned = prompt // 16 * 16 - 16 if number > 1 else (prompt - 300) // 16 * 16 if turn else 0
    jitter = 1 + ((index * 7919) % 1000 - 500) / 5000
    ttft, tpot = (40 + (prompt - planned) / 8 + planned / 200) * jitter, 20 * jitter
    failed = index % 1000 == 999
    return Record(
        run_id=run_id, deployment="single", model="m", scenario=SCENARIO, round=number, request_index=index, session_id=session,
        turn=turn + 1, worker=f"host#{index % 8}", started_at_s=at_s, status="timeout" if failed else "ok",
        error="not complete within 600 s" if failed else None, http_status=200, finish_reason="length", planned_prompt_tokens=prompt,
        prompt_tokens=prompt, planned_output_tokens=40, output_tokens=40, planned_cached_tokens=planned, reported_cached_tokens=planned,
        shares_prefix_with=session * TURNS if turn else None, ttfb_ms=ttft, first_choice_ms=ttft, ttft_ms=ttft, ttfvt_ms=ttft,
        tpot_ms=tpot, e2e_ms=ttft + 39 * tpot, itl_p50_ms=tpot, itl_p99_ms=tpot * 1.2, icl_p50_ms=tpot, icl_p99_ms=tpot * 1.2, chunks=40,
        response_bytes=9831, clock="kernel", loop_lag_ms=0.2, client_limited=False, ttft_uncertain_ms=0.0,
        round_kind="cold" if number == 1 else "hit", buffered=False,
    )  # fmt: skip


def records_of(count: int, run_id: str) -> Iterator[Record]:
    at_s = 1_700_000_000.0
    for number in (1, 2):
        for index in range(count // 2):
            at_s += 0.02
            yield record(number, index, at_s, run_id)


def write_run(folder: Path, count: int, kind: str, run_id: str = "big") -> None:
    folder.mkdir(parents=True)
    collector = Collector(folder / "records.jsonl", parts=RecordParts(folder) if kind == PARQUET else None)
    batch: list[Record] = []

    def give() -> None:
        keys = [[entry.scenario, entry.round, entry.request_index, entry.status] for entry in batch]
        collector.add([entry.to_json() for entry in batch], keys)
        batch.clear()

    for entry in records_of(count, run_id):
        batch.append(entry)
        if len(batch) == BATCH:
            give()
    give()
    collector.close()
    per_round = count // 2
    rounds = [{"scenario": SCENARIO, "round": number, "kind": kind_of, "planned_requests": per_round, "records": per_round,
               "wall_s": per_round * 0.02 + 1, "started_at_s": 1_700_000_000.0 + (number - 1) * per_round * 0.02, "complete": True}
              for number, kind_of in ((1, "cold"), (2, "hit"))]  # fmt: skip
    run = {"format": 1, "run_id": run_id, "complete": True, "deployment": {"name": "single", "kind": "other"}, "model": "m",
           "targets": {"hit_ttft_reduction_min": 0.6}, "server": {"block_size_tokens": 16}, "users": USERS, "workers": 8,
           "max_failures": "1%", "scenarios": [{"name": SCENARIO}], "rounds_planned": {SCENARIO: 2}, "rounds": rounds}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")


def arguments(name: str, count: int, folder: Path, other: Path, to: Path) -> list[str]:
    """Of `locust-kvcache`: a command over a run. The event of `recovery` is in the middle of its second round."""
    event = ["--event", f"kill=+{count * 0.015}", "--window-s", "5"]
    return {
        "report": ["report", str(folder)],
        "compare": ["compare", str(folder), str(other), "--output", str(to / "comparison.html")],
        "repeats": ["repeats", str(folder), str(other), "--output-dir", str(to / "repeats")],
        "recovery": ["recovery", str(folder), *event, "--output-dir", str(to / "recovery")],
        "csv": ["export", str(folder), "--output-dir", str(to / "tables")],
        "parquet": ["export", str(folder), "--format", "parquet", "--output-dir", str(to / "tables")],
        "otlp": ["export", str(folder), "--to", "otlp", "--output-dir", str(to / "otlp")],
    }[name]


def measured(given: list[str]) -> tuple[float, float, float]:
    """(peak MB, seconds, seconds of processors) of a command."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, "-m", "locust_kvcache", *given], cwd=ROOT, stdout=said, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            sys.exit(said.read().decode()[-2000:])
    return used.ru_maxrss / 1024, time.monotonic() - started, used.ru_utime + used.ru_stime


def run_folder(folder: Path, count: int, kind: str, run_id: str = "big") -> Path:
    if not folder.is_dir():
        write_run(folder, count, kind, run_id)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--records-format", choices=FORMATS, default=PARQUET)
    parser.add_argument("--commands", choices=COMMANDS, nargs="+", default=["report"])
    parser.add_argument("--keep", type=Path, help="folder in which the runs are written and left")
    given = parser.parse_args()
    header = f"{'records':>12} {'written in s':>13} {'on disk, MB':>12} {'command':>9} {'peak, MB':>9} {'seconds':>9} {'processor s':>12}"
    print(header, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for count in sorted(given.records):
            place, began = given.keep or Path(temporary), time.monotonic()
            folder = run_folder(place / str(count), count, given.records_format)
            written_s = time.monotonic() - began
            disk_mb = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            other = place / f"{count}-other"
            if {"compare", "repeats"} & set(given.commands):
                run_folder(other, count, given.records_format, "other")
            for name in given.commands:
                peak_mb, seconds, worked_s = measured(arguments(name, count, folder, other, Path(temporary)))
                print(
                    f"{count:>12,} {written_s:>13.1f} {disk_mb:>12.1f} {name:>9} {peak_mb:>9.0f} {seconds:>9.1f} {worked_s:>12.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
