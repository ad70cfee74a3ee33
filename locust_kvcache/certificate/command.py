"""locust-kvcache certificate: how late are this machine's time stamps, and up to what load?

Drives the client against a server whose truth is known. Prints the timing error (reported minus true) by number of streams, beside the
usual FastHttpUser reader in the same run, and saves the highest chunk rate per worker that keeps the TTFT error's P99 under 5 ms. A run
reads that file on each worker's host and marks rounds beyond it as client-limited.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from locust_kvcache.contract.command import command_parser
from locust_kvcache.loadgen.worker.client_certificate import PATH

READERS = ("this client", "FastHttpUser readline")
LIMIT_MS = 5.0
TOKENS, TOKENS_PER_S, TTFT_MS = 100, 50.0, 200.0
COLUMNS = (
    ("ttft_error_p50_ms", "TTFT error P50, ms", "{:.3f}"),
    ("ttft_error_p99_ms", "P99, ms", "{:.3f}"),
    ("itl_error_p99_ms", "ITL error P99, ms", "{:.3f}"),
    ("lost_chunks", "lost chunks", "{:.0f}"),
    ("chunks_per_s", "chunks/s", "{:,.0f}"),
    ("cpu_us_per_chunk", "CPU per chunk, us", "{:.1f}"),
    ("server_late_p99_ms", "server late P99, ms", "{:.3f}"),
)


@contextlib.contextmanager
def truth_server(core: int) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "locust_kvcache.certificate.truth_server", str(port), "--ttft-ms", str(TTFT_MS)]
    command += ["--tokens", str(TOKENS), "--tokens-per-s", str(TOKENS_PER_S)]
    process = subprocess.Popen(command)
    if core >= 0:
        os.sched_setaffinity(process.pid, {core})
    try:
        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                server_late_ms(f"http://127.0.0.1:{port}")
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def server_late_ms(url: str) -> float:
    """P99 of how late the server itself was since the last question: not the client's error."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return float(answer.read().split()[1])


def cores() -> tuple[int, int]:
    """(client's core, server's core); -1 where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (-1, -1)


def level(reader: str, url: str, streams: int, core: int) -> dict[str, float]:
    length_s = TTFT_MS / 1000 + TOKENS / TOKENS_PER_S
    command = [
        sys.executable,
        "-m",
        "locust_kvcache.certificate.level",
        reader,
        url,
        str(streams),
        str(TOKENS),
        str(length_s),
        str(core),
    ]
    server_late_ms(url)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), "server_late_p99_ms": server_late_ms(url)}


def medians(figures: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in figures) for key in figures[0]}


def show(rows: list[tuple[int, str, dict[str, float]]]) -> str:
    """A Markdown table, so that it can be published as it is."""
    lines = ["| streams | reader | " + " | ".join(title for _, title, _ in COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 2)]
    for streams, reader, figures in rows:
        cells = [pattern.format(figures[key]) for key, _, pattern in COLUMNS]
        lines.append(f"| {streams:,} | {reader} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def certify(rows: list[tuple[int, str, dict[str, float]]]) -> dict[str, object]:
    """The highest measured rate at which, and below which, the TTFT error's P99 stayed under the limit and no chunk was lost."""
    certified = 0.0
    for _, _, figures in sorted((row for row in rows if row[1] == READERS[0]), key=lambda row: row[0]):
        if figures["ttft_error_p99_ms"] > LIMIT_MS or figures["lost_chunks"]:
            break
        certified = figures["chunks_per_s"]
    return {
        "format": 1,
        "host": socket.gethostname(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "limit_ms": LIMIT_MS,
        "certified_chunks_per_s": certified,
        "levels": [{"streams": streams, "reader": reader, **figures} for streams, reader, figures in rows],
    }


def main() -> int:
    parser = command_parser(
        "certificate",
        "Measures how late this machine's time stamps are, by the number of streams; runs on this host then mark rounds beyond\n"
        "what was measured as client-limited. About 4 minutes; keep the machine quiet meanwhile.",
        ["", "--streams 50 200 1000 --repeats 1"],
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[10, 100, 300, 600, 1000], help="levels (default: 10 to 1000)")
    parser.add_argument("--repeats", type=int, default=3, help="times each level is measured; medians are shown (default: 3)")
    parser.add_argument("--output", type=Path, default=PATH, help=f"where to save it; runs read it at {PATH}")
    options = parser.parse_args()
    client_core, server_core = cores()
    rows = []
    with truth_server(server_core) as url:
        for streams in options.streams:
            for reader in READERS:
                figures = medians([level(reader, url, streams, client_core) for _ in range(options.repeats)])
                rows.append((streams, reader, figures))
                print(
                    f"{streams} streams, {reader}: TTFT error P99 {figures['ttft_error_p99_ms']:.3f} ms",
                    file=sys.stderr,
                    flush=True,
                )
    certificate = certify(rows)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(certificate, indent=2) + "\n", encoding="utf-8")
    print(show(rows))
    print(f"\nCertified: {certificate['certified_chunks_per_s']:,.0f} chunks/s per worker (TTFT error P99 under {LIMIT_MS:g} ms)")
    print(f"Saved: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
