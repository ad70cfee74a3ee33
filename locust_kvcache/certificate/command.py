"""Measures the timing error of this machine's client, and the load up to which it holds (`locust-kvcache certificate`).

Drives the client against a server whose truth is known. Prints the timing error (reported minus true) by number of streams, beside the
usual FastHttpUser reader in the same run, and saves the highest chunk rate per worker that keeps the TTFT error's P99 under 5 ms. A run
reads that file on each worker's host and marks rounds beyond it as client-limited.

Starts are spread over a stream's length, or all streams start together and so end together: then a whole run is measured, records,
Locust's statistics and the master's files included.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from locust_kvcache.certificate.variables import FIGURES_VARIABLE, TOKENS_VARIABLE
from locust_kvcache.contract.command import command_parser
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, told, use_language
from locust_kvcache.loadgen.worker.client_certificate import PATH

READERS = ("this client", "FastHttpUser readline")
LIMIT_MS = 5.0
TOKENS, TOKENS_PER_S, TTFT_MS = 100, 50.0, 200.0
SPREAD, TOGETHER = "spread", "together"
WHOLE_RUN = Path(__file__).with_name("whole_run.py")
COLUMNS = (
    ("ttft_error_p50_ms", "TTFT error P50, ms", "{:.3f}"),
    ("ttft_error_p99_ms", "P99, ms", "{:.3f}"),
    ("itl_error_p99_ms", "ITL error P99, ms", "{:.3f}"),
    ("lost_chunks", "lost chunks", "{:.0f}"),
    ("chunks_per_s", "chunks/s", "{:,.0f}"),
    ("cpu_us_per_chunk", "CPU per chunk, us", "{:.1f}"),
    ("loop_lag_p99_ms", "loop lag P99, ms", "{:.1f}"),
    ("client_limited", "client_limited records", "{:.0f}"),
    ("server_late_p99_ms", "server late P99, ms", "{:.3f}"),
)
Row = tuple[int, str, str, dict[str, float]]  # streams, starts, reader, figures


@contextlib.contextmanager
def truth_server(core: int, processes: int = 1) -> Iterator[str]:
    """The address of a server; of several `processes`, which share its connections, where one cannot keep the pace."""
    port = free_port()
    command = [sys.executable, "-m", "locust_kvcache.certificate.truth_server", str(port), "--ttft-ms", str(TTFT_MS)]
    command += ["--tokens", str(TOKENS), "--tokens-per-s", str(TOKENS_PER_S)]
    servers = [subprocess.Popen(command) for _ in range(processes)]
    if core >= 0 and processes == 1:
        os.sched_setaffinity(servers[0].pid, {core})
    try:
        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                server_late_ms(f"http://127.0.0.1:{port}")
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in servers:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_late_ms(url: str) -> float:
    """P99 of how late the server itself was since the last question: not the client's error."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return float(answer.read().split()[1])


def cores() -> tuple[int, int]:
    """(client's core, server's core); -1 where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (-1, -1)


def level(reader: str, url: str, streams: int, core: int, starts: str = SPREAD, processes: int = 1) -> dict[str, float]:
    """One reader at one level, in a process of its own; a whole run in so many worker `processes`."""
    server_late_ms(url)
    if starts == TOGETHER and reader == READERS[0]:
        found = whole_run(url, streams, core, processes)
    else:
        length_s = TTFT_MS / 1000 + TOKENS / TOKENS_PER_S if starts == SPREAD else 0.0
        command = [sys.executable, "-m", "locust_kvcache.certificate.level", reader, url]
        done = subprocess.run(
            [*command, *map(str, (streams, TOKENS, length_s, core))], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
    return {**found, "server_late_p99_ms": server_late_ms(url)}


def whole_run(url: str, streams: int, core: int, processes: int = 1) -> dict[str, float]:
    """A run of the product itself with so many users that start together, two requests each; of several processes the worst figures."""
    with tempfile.TemporaryDirectory() as scratch:
        figures = Path(scratch) / "figures.json"
        load = [
            "--headless",
            "-u",
            str(streams),
            "-r",
            str(streams),
            "--host",
            url,
            "--requests",
            str(2 * streams),
            "--rounds",
            "1",
        ]
        shape = ["--prompt-tokens", "200", "--output-tokens", str(TOKENS), "--warm-up", "off"]
        files = ["--output-dir", scratch, "--no-report", "--only-summary"]
        if processes > 1:
            port = str(free_port())
            files += ["--processes", str(processes), "--master-bind-port", port, "--master-port", port]
        done = subprocess.run(
            [sys.executable, "-m", "locust", "-f", str(WHOLE_RUN), *load, *shape, *files],
            env={**os.environ, FIGURES_VARIABLE: str(figures), TOKENS_VARIABLE: str(TOKENS)},
            preexec_fn=functools.partial(os.sched_setaffinity, 0, {core}) if core >= 0 and processes == 1 else None,
            capture_output=True,
            text=True,
            check=False,
        )
        files_of = sorted(figures.parent.glob("figures*.json"))
        if len(files_of) < processes:
            said = (
                f"{len(files_of)} of {processes} worker processes gave figures, exit code {done.returncode}: {done.stderr[-800:]}"
            )
            raise BadInput(f"the run against the truth server is not whole: {said}")
        return together([json.loads(file.read_text(encoding="utf-8")) for file in files_of])


def together(figures: list[dict[str, float]]) -> dict[str, float]:
    """Of several processes: counts and rates are sums, errors and lags the worst, CPU per chunk the mean."""
    added = ("chunks", "lost_chunks", "failed_streams", "streams_read", "chunks_per_s", "client_limited")
    whole = {key: sum(one[key] for one in figures) if key in added else max(one[key] for one in figures) for key in figures[0]}
    return {**whole, "cpu_us_per_chunk": statistics.fmean(one["cpu_us_per_chunk"] for one in figures)}


def medians(figures: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in figures) for key in figures[0]}


def show(rows: list[Row]) -> str:
    """A Markdown table, so that it can be published as it is."""
    titles = map(told, ["streams", "starts", "reader", *(title for _, title, _ in COLUMNS)])
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * (3 + len(COLUMNS))]
    for streams, starts, reader, figures in rows:
        cells = [pattern.format(figures[key]) if key in figures else "-" for key, _, pattern in COLUMNS]
        lines.append(f"| {streams:,} | {told(starts)} | {told(reader)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def certify(rows: list[Row], processes: int = 1) -> dict[str, object]:
    """The highest measured rate of a worker process at which, and below which, the TTFT error's P99 stayed under the limit and no chunk
    was lost, however the streams started."""
    certified = 0.0
    mine = [(row[0], row[3]) for row in rows if row[2] == READERS[0]]
    for streams in sorted({streams for streams, _ in mine}):
        levels = [figures for count, figures in mine if count == streams]
        if any(figures["ttft_error_p99_ms"] > LIMIT_MS or figures["lost_chunks"] for figures in levels):
            break
        certified = max(figures["chunks_per_s"] for figures in levels) / processes
    return {
        "format": 1,
        "host": socket.gethostname(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processes": processes,
        "limit_ms": LIMIT_MS,
        "certified_chunks_per_s": certified,
        "levels": [
            {"streams": streams, "starts": starts, "reader": reader, **figures} for streams, starts, reader, figures in rows
        ],
    }


def main() -> int:
    parser = command_parser(
        "certificate",
        "Measures the timing error of this machine by the number of streams. Runs on this host then mark rounds beyond the\n"
        "measured load as client-limited. Takes about 10 minutes; keep the machine quiet.",
        ["", "--streams 50 200 1000 --repeats 1", "--starts together --streams 4000 --processes 8"],
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[10, 100, 300, 600, 1000], help="levels (default: 10 to 1000)")
    parser.add_argument("--repeats", type=int, default=3, help="times each level is measured; medians are shown (default: 3)")
    parser.add_argument(
        "--starts", nargs="+", choices=(SPREAD, TOGETHER), default=[SPREAD, TOGETHER],
        help="spread: starts spread over one stream's length, the client alone. together: a whole run whose streams start, and so "
        "end, at once (default: both)",
    )  # fmt: skip
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="worker processes of the whole run, and servers to match; with more than 1 the starts are together, this client alone is "
        "measured, and each figure is that of the worst process (default: 1)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=PATH, help=f"where to save it; runs read it at {PATH}")
    add_language(parser)
    options = parser.parse_args()
    use_language(options.lang)
    if options.processes < 1:
        parser.error(f"--processes: {options.processes}: give 1 or more")
    client_core, server_core = cores()
    rows: list[Row] = []
    starts_of, readers = (options.starts, READERS) if options.processes == 1 else ([TOGETHER], READERS[:1])
    with truth_server(server_core, options.processes) as url:
        for streams, starts, reader in itertools.product(options.streams, starts_of, readers):
            figures = medians(
                [level(reader, url, streams, client_core, starts, options.processes) for _ in range(options.repeats)]
            )
            rows.append((streams, starts, reader, figures))
            error_ms = figures["ttft_error_p99_ms"]
            line = f"{streams} streams, starts {starts}, {reader}: TTFT error P99 {error_ms:.3f} ms"
            print(told(line), file=sys.stderr, flush=True)
    certificate = certify(rows, options.processes)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(certificate, indent=2) + "\n", encoding="utf-8")
    print(show(rows))
    rate = certificate["certified_chunks_per_s"]
    print("\n" + told(f"Certified: {rate:,.0f} chunks/s per worker (TTFT error P99 under {LIMIT_MS:g} ms)"))
    print(told(f"Saved: {options.output}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
