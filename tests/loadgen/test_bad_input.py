"""What a person gets wrong ends the run before any load is sent, says what to do, and exits non-zero."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LocustProcesses, Stub
from tests.ports import free_port

BASE = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "10")


def refused(locust: LocustProcesses, *args: str, **env: str) -> str:
    """The output of a run that must be refused: non-zero exit, no run folder."""
    code, output = locust.run(*BASE, *args, timeout_s=240, **env)
    assert code not in (0, None), output
    assert not locust.runs()
    assert "Traceback" not in output
    return output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--scenarios", "cold_strat"), "scenario 'cold_strat' is unknown; available: agent_coding"),
        (("--rounds", "0"), "--rounds is '0'; expected a whole number of at least 1"),
        (("--requsets", "3"), "unrecognized arguments: --requsets; did you mean --requests?"),
        (("--requests", "many"), "--requests is 'many'"),
        (("--arrival", "poisson"), "needs --request-rate"),
        (("--request-rate", "5"), "--request-rate is 5 and --arrival is closed"),
        (("--arrival", "poisson", "--request-rate", "5", "--burstiness", "2"), "it shapes --arrival gamma alone"),
        (("-u", "2000000"), "2000000 users in one process need 2000040 open files each, and the limit is"),
        (("--host", "http://" + "a" * 300), "which is not an address"),
        (("--host", "http://127.0.0.1:99999"), "Port out of range"),
        (("--arrival", "sometimes"), "argument --arrival: invalid choice: 'sometimes'"),
        (("--trace", "tests/fixtures/conversation_trace_120.jsonl"), "--trace is replayed by locustfiles/trace_replay.py"),
        (("-u", "-5"), "is '-5'; expected a whole number of at least 1"),
        (("--run-name", "../elsewhere"), "expected a plain folder name"),
        (("--deployment", "configs/nowhere.yaml"), "configs/nowhere.yaml: cannot be read"),
        (("--model", "gpt-5"), "/v1/models answered 1 model: stub. Use --model"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_refused_with_a_way_out(locust: LocustProcesses, stub: Stub, args: tuple[str, ...], says: str) -> None:
    code, output = locust.run(*BASE, "--host", stub.url, *args, timeout_s=240)
    assert code not in (0, None), output
    assert says in output
    assert "Traceback" not in output
    assert not locust.runs()
    assert not any("cold start" in body["messages"][0]["content"] for body in stub.bodies())  # no planned request was sent


def test_an_output_folder_that_cannot_be_written(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    locust.output_dir = tmp_path / "file" / "results"
    assert "--output-dir: no permission to write" in refused(locust, "--host", stub.url)


def test_a_host_that_refuses(locust: LocustProcesses) -> None:
    output = refused(locust, "--host", f"http://127.0.0.1:{free_port()}")
    assert "cannot be reached" in output
    assert "Is the server up?" in output


def test_no_host(locust: LocustProcesses) -> None:
    assert "give --host" in refused(locust)


def test_a_scenario_with_a_typo_names_file_and_key(locust: LocustProcesses, tmp_path: Path) -> None:
    text = Path("scenarios/cold_start.yaml").read_text().replace("shared_by", "sharde_by")
    (tmp_path / "cold_start.yaml").write_text(text)
    output = refused(locust, "--host", "http://127.0.0.1:1", "--scenarios", str(tmp_path / "cold_start.yaml"))
    assert "cold_start.yaml: key 'prefix.sharde_by' is unknown; did you mean 'shared_by'?" in output


class _WantsKey(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def locked_server() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _WantsKey)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_server_that_wants_a_key(locust: LocustProcesses, locked_server: str) -> None:
    output = refused(locust, "--host", locked_server, OPENAI_API_KEY="")
    assert "wants an API key (HTTP 401), and OPENAI_API_KEY is not set" in output
    output = refused(locust, "--host", locked_server, OPENAI_API_KEY="sk-wrong-4711")
    assert "OPENAI_API_KEY is refused" in output
    assert "sk-wrong-4711" not in output
