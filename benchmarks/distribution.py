"""What distribution costs: records to one file, the barrier by number of processes, the accuracy of an open loop's rate.

    python -m benchmarks.distribution records [--records 1000000] [--per-s 20000]
    python -m benchmarks.distribution barrier [--processes 2 4 8 16]
    python -m benchmarks.distribution rate [--rates 10 100 500]

Prints one JSON object per measurement. All on this host: masters, workers and the server share its cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from locust_kvcache.contract.quantile import quantile
from locust_kvcache.contract.record import Record

ROOT = Path(__file__).resolve().parent.parent
PORT, MASTER_PORT = 18411, 18412
SCENARIO = """
name: tiny
summary: Next to nothing is sent, so that what is measured is the distribution.
requests: 10
prefix: {text: instruction, tokens: 32, shared_by: 1}
turns: {text: question, tokens: 8}
output: {tokens: 2}
"""


def record(run_id: str, worker: int, index: int) -> Record:
    """A record as long as a real one."""
    return Record(
        run_id=run_id, deployment="benchmark", model="benchmark", scenario="tiny", round=1, request_index=index, session_id=index, turn=1,
        worker=f"host#{worker}", started_at_s=time.time(), http_status=200, finish_reason="length", planned_prompt_tokens=4060,
        prompt_tokens=4060, output_tokens=40, planned_cached_tokens=4000, reported_cached_tokens=4000, connect_ms=0.1234567,
        ttfb_ms=12.3456789, first_choice_ms=12.3456789, ttft_ms=23.456789, ttfvt_ms=23.456789, tpot_ms=1.23456789, e2e_ms=123.456789,
        itl_p50_ms=1.23456789, itl_p99_ms=2.3456789, icl_p50_ms=1.23456789, icl_p99_ms=2.3456789, chunks=40, response_bytes=9876,
        clock="kernel", loop_lag_ms=0.123456,
    )  # fmt: skip


# -- records: two Locust workers ship made-up records through the real shipper and collector


def ship(worker: int, count: int, per_s: float) -> None:
    """A worker process: makes records at a pace, as users would, and watches its own loop."""
    import gevent
    from locust.env import Environment

    from locust_kvcache.loadgen.worker.loop_lag import LagMonitor
    from locust_kvcache.loadgen.worker.record_shipping import Shipper

    runner: Any = Environment(user_classes=[]).create_worker_runner("127.0.0.1", MASTER_PORT)
    shipper = Shipper("benchmark", lambda records: runner.send_message(records.kind, records.to_wire()), None)
    lags_ms: list[float] = []
    add = LagMonitor.add

    def note(monitor: LagMonitor, at_s: float, lag_ms: float) -> None:
        lags_ms.append(lag_ms)
        add(monitor, at_s, lag_ms)

    LagMonitor.add = note  # type: ignore[assignment, method-assign]
    LagMonitor().start()

    def ship_regularly() -> None:
        while True:
            gevent.sleep(0.5)
            shipper.ship()

    gevent.spawn(ship_regularly)

    def make(into: Any, total: int) -> None:
        started_s, made = time.monotonic(), 0
        while made < total:
            due = min(total, int((time.monotonic() - started_s) * per_s))
            for _ in range(min(due - made, 5)):
                into.add(record("benchmark", worker, worker * count + made))
                made += 1
            gevent.sleep(0.0005)

    make(
        Shipper("benchmark", lambda records: None, None), int(5 * per_s)
    )  # the same work without shipping: what this host does by itself
    alone_ms = list(lags_ms)
    lags_ms.clear()
    cpu_s = time.process_time()
    make(shipper, count)
    shipper.ship()
    data = {
        "lag_p99_ms": quantile(lags_ms, 0.99), "lag_max_ms": max(lags_ms), "cpu_s": time.process_time() - cpu_s,
        "lag_p99_ms_without_shipping": quantile(alone_ms, 0.99),
    }  # fmt: skip
    runner.send_message("kv_done", data)
    gevent.sleep(2)


def collect(count: int, per_s: float) -> dict[str, Any]:
    """The master: one file, counted."""
    import gevent
    import psutil  # type: ignore[import-untyped]
    from locust.env import Environment

    from locust_kvcache.loadgen.run.records_file import Collector

    runner: Any = Environment(user_classes=[]).create_master_runner("127.0.0.1", MASTER_PORT)
    folder = tempfile.TemporaryDirectory()
    collector = Collector(Path(folder.name) / "records.jsonl")
    answers: list[dict[str, Any]] = []
    runner.register_message("kv_records", lambda environment, msg, **_: collector.add(msg.data["lines"], msg.data["keys"]))
    runner.register_message("kv_done", lambda environment, msg, **_: answers.append(msg.data))
    command = [sys.executable, "-m", "benchmarks.distribution", "ship", "--records", str(count // 2), "--per-s", str(per_s / 2)]
    cpu_s, before = time.process_time(), psutil.Process().memory_info().rss
    workers = [subprocess.Popen([*command, "--worker", str(number)], cwd=ROOT) for number in range(2)]
    while not collector.records and any(worker.poll() is None for worker in workers):
        gevent.sleep(0.01)
    started_s = time.monotonic()
    peak = before
    while collector.records < count and any(worker.poll() is None for worker in workers):
        gevent.sleep(0.2)
        peak = max(peak, psutil.Process().memory_info().rss)
    wall_s, cpu_s = time.monotonic() - started_s, time.process_time() - cpu_s
    gevent.sleep(3)
    collector.close()
    with (Path(folder.name) / "records.jsonl").open() as file:
        lines = len({json.loads(line)["request_index"] for line in file})
    folder.cleanup()
    return {
        "what": "records", "records": count, "distinct_in_file": lines, "duplicates": collector.duplicates, "wall_s": wall_s,
        "per_s": count / wall_s, "master_cpu_ms_per_1000": cpu_s / count * 1e6, "master_rss_growth_mb": (peak - before) / 1e6,
        "workers": answers,
    }  # fmt: skip


# -- barrier and rate: whole runs against a server that answers at once


def run_locust(folder: Path, *options: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(run.json, records) of a run of the tiny scenario."""
    (folder / "tiny.yaml").write_text(SCENARIO)
    command = [sys.executable, "-m", "locust", "-f", "locustfiles/cold_start.py", "--headless", "-r", "1000", "--only-summary"]
    command += ["--master-bind-port", str(MASTER_PORT), "--master-port", str(MASTER_PORT)]
    command += [
        "--host",
        f"http://127.0.0.1:{PORT}",
        "--scenarios",
        str(folder / "tiny.yaml"),
        "--output-dir",
        str(folder),
        "--no-report",
    ]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*/run.json"))
    if not found:
        raise SystemExit(f"the run left no files:\n{done.stdout}{done.stderr}")
    lines = (found[-1].parent / "records.jsonl").read_text().splitlines()
    return json.loads(found[-1].read_text()), [json.loads(line) for line in lines]


def barrier(processes: int) -> dict[str, Any]:
    """Median time from a round's last answer to the next one's first request."""
    with tempfile.TemporaryDirectory() as name:
        load = ("--processes", str(processes), "-u", str(processes), "--requests", str(2 * processes), "--rounds", "21")
        info, rows = run_locust(Path(name), *load)
    ends: dict[int, float] = {}
    starts: dict[int, float] = {}
    for row in rows:
        starts[row["round"]] = min(starts.get(row["round"], 1e18), row["started_at_s"])
        ends[row["round"]] = max(ends.get(row["round"], 0.0), row["started_at_s"] + row["e2e_ms"] / 1000)
    gaps_ms = [(starts[number] - ends[number - 1]) * 1000 for number in range(2, 22)]
    return {
        "what": "barrier", "processes": processes, "complete": info["complete"], "median_ms": quantile(gaps_ms, 0.5),
        "max_ms": max(gaps_ms),
    }  # fmt: skip


def rate(per_s: float, seconds: float = 20.0) -> dict[str, Any]:
    """Achieved against asked rate, and how late single requests were, with 4 workers."""
    with tempfile.TemporaryDirectory() as name:
        arrival = (
            "--arrival",
            "constant",
            "--request-rate",
            str(per_s),
            "--rounds",
            "1",
            "--requests",
            str(int(per_s * seconds)),
        )
        info, rows = run_locust(Path(name), "--processes", "4", "-u", str(max(8, int(per_s / 4))), *arrival)
    sent_s = sorted(row["started_at_s"] for row in rows)
    lags_ms = [row["schedule_lag_ms"] for row in rows]
    return {
        "what": "rate", "asked_per_s": per_s, "got_per_s": (len(sent_s) - 1) / (sent_s[-1] - sent_s[0]), "complete": info["complete"],
        "lag_p50_ms": quantile(lags_ms, 0.5), "lag_p99_ms": quantile(lags_ms, 0.99), "lag_max_ms": max(lags_ms),
        "ok": sum(row["status"] == "ok" for row in rows), "requests": len(rows),
        "starved_s": info["rounds"][0].get("starved_s"), "late": [text for text in info["warnings"] if "sent late" in text],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distribution", description=__doc__)
    parser.add_argument("what", choices=("records", "barrier", "rate", "ship"))
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--per-s", type=float, default=20_000)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 100, 500])
    given = parser.parse_args()
    if given.what == "ship":
        ship(given.worker, given.records, given.per_s)
        return
    if given.what == "records":
        print(json.dumps(collect(given.records, given.per_s)))
        return
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.null_server", str(PORT)], cwd=ROOT)
    time.sleep(1)
    try:
        for value in given.processes if given.what == "barrier" else given.rates:
            print(json.dumps(barrier(value) if given.what == "barrier" else rate(value)), flush=True)
    finally:
        server.kill()


if __name__ == "__main__":
    main()
