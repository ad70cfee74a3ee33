"""Other tools beside the certificate: their exports are read, their failures named; the server of known truth outlives rude clients."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
import socket
import sys
import time
from pathlib import Path

import pytest
import requests

from benchmarks import peers
from locust_kvcache.certificate.command import server_late_ms, truth_server
from locust_kvcache.contract.errors import BadInput

EXPORT = [
    {"metadata": {"request_start_ns": 10**9 * start, "request_end_ns": 10**9 * (start + 3)},
     "metrics": {"time_to_first_token": {"value": ttft, "unit": "ms"}}, "error": error}
    for start, ttft, error in ((1, 201.0, None), (2, 240.0, None), (3, 999.0, {"message": "refused"}))
]  # fmt: skip


def program(folder: Path, lines: list[dict[str, object]], code: int = 0) -> str:
    """A tool that writes this export into its --artifact-dir."""
    text = "\n".join(json.dumps(line) for line in lines)
    source = f"""#!{sys.executable}
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--artifact-dir") + 1]) / "run"
if {len(lines)}:
    folder.mkdir(parents=True)
    (folder / "profile_export.jsonl").write_text({text!r})
print("no route to the server")
sys.exit({code})
"""
    path = folder / "tool"
    path.write_text(source)
    path.chmod(0o755)
    return str(path)


def test_an_export_gives_errors_against_the_servers_200_ms(tmp_path: Path) -> None:
    """Two good requests: 1 and 40 ms late; 200 tokens between second 1 and second 5."""
    with truth_server(-1) as url:
        found = peers.measure_tool("AIPerf", program(tmp_path, EXPORT), url, 2, -1)
    assert found["ttft_error_p50_ms"] == pytest.approx(20.5)
    assert found["chunks_per_s"] == pytest.approx(50.0)
    assert found["requests"] == 2
    assert "| 2 | together | AIPerf | +20.500 |" in peers.show([(2, "together", "AIPerf", found)])


def test_vllms_report_is_read_alike(tmp_path: Path) -> None:
    report = {"ttfts": [0.23, 0.0], "errors": ["", "refused"], "duration": 2.0}
    (tmp_path / "out.json").write_text(json.dumps(report))
    found = peers.figures(peers.read_vllm(tmp_path), 0.1)
    assert found["ttft_error_p99_ms"] == pytest.approx(30.0)
    assert found["chunks_per_s"] == pytest.approx(50.0)


def test_guidellms_report_is_read_alike(tmp_path: Path) -> None:
    good = [{"time_to_first_token_ms": 230.0, "request_start_time": 5.0, "request_end_time": 7.0}]
    (tmp_path / "out.json").write_text(json.dumps({"benchmarks": [{"requests": {"successful": good, "errored": [{}]}}]}))
    assert peers.figures(peers.read_guidellm(tmp_path), 0.1)["ttft_error_p99_ms"] == pytest.approx(30.0)


def test_a_tool_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with (
        truth_server(-1) as url,
        pytest.raises(BadInput, match=r"AIPerf \(.*tool\) gave no figures.*exit code 3: no route to the server"),
    ):
        peers.measure_tool("AIPerf", program(tmp_path, [], code=3), url, 2, -1)


def test_the_truth_server_survives_clients_that_leave(tmp_path: Path) -> None:
    with truth_server(-1) as url:
        assert requests.get(f"{url}/v1/models", timeout=5).json()["data"][0]["id"] == "truth"
        port = int(url.rpartition(":")[2])
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
                client.recv(100)
        time.sleep(2.5)  # past the end of their streams
        assert server_late_ms(url) >= 0
