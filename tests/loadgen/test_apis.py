"""Runs in each API on the emulator: the same prompts, the same counts, the same records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import LocustProcesses
from tests.loadgen.server.test_arms import Start, emulator
from tests.loadgen.test_agents import agree

__all__ = ["emulator"]

AGENTS = """
name: agents
summary: Turns with tools.
requests: 12
prefix: {text: instruction, tokens: 300, shared_by: all}
turns: {count: 4, text: question, tokens: [40, 90], reply: server}
tools: {share: 0.6, result_tokens: [60, 200], schema_tokens: 100, role: tool}
output: {tokens: 12}
"""
COUNTED = ("prompt_tokens", "reported_cached_tokens", "output_tokens")


def truth(url: str, requests_sent: int) -> list[tuple[int, ...]]:
    """(prompt, cached, output tokens) of the last requests, as the emulator knows them."""
    lines = requests.get(f"{url}/truth", params={"last": str(requests_sent)}, timeout=5).text.splitlines()
    passages = [row for row in map(json.loads, lines) if row["kind"] == "request"]
    return sorted((row["prompt_tokens"], row["cached_tokens"], row["output_tokens"]) for row in passages)


def run(locust: LocustProcesses, name: str, *args: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    code, output = locust.run("--headless", "-u", "1", "--run-name", name, *args)
    assert code == 0, output
    found = locust.runs()[-1]
    records = sorted(found.records, key=lambda record: (record["round"], record["request_index"]))
    return records, found.facts


@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_agents(locust: LocustProcesses, emulator: Start, tmp_path: Path, api: str) -> None:
    """Conversations that carry the server's own answers and results of tools: each request finds what was sent before it, and what is
    recorded is what happened."""
    (tmp_path / "agents.yaml").write_text(AGENTS)
    url = emulator()
    records, info = run(
        locust, api, "-f", "locustfiles/cold_start.py", "--host", url, "--scenarios", str(tmp_path / "agents.yaml"), "--api", api,
    )  # fmt: skip
    assert (info["server"]["api"], info["server"]["reports_cached_tokens"]) == (api, True)
    assert len(records) == 24
    assert sorted(tuple(record[field] for field in COUNTED) for record in records) == truth(url, 24)
    assert all(record["ttft_ms"] > 0 and record["output_tokens"] == record["chunks"] == 12 for record in records)
    agree(records)


def test_a_trace_by_token_ids(locust: LocustProcesses, emulator: Start, tmp_path: Path) -> None:
    """Exactly its tokens in both APIs that take them: nothing is counted by a tokenizer."""
    trace, url, seen = tmp_path / "trace.jsonl", emulator(), {}
    rows = [{"timestamp": n * 50, "input_length": 100 + n, "output_length": 4, "hash_ids": [n % 2, 10 + n]} for n in range(6)]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for api in ("completions", "generate"):
        records, info = run(
            locust, api, "-f", "locustfiles/trace_replay.py", "--host", url, "--trace", str(trace), "--trace-block-size", "64",
            "--api", api, "--nonce", "ab12", "--cache-salt", api,
        )  # fmt: skip
        assert info["server"]["api"] == api
        assert all(record["status"] == "ok" for record in records)
        seen[api] = [tuple(record[field] for field in COUNTED) for record in records]
        assert sorted(seen[api]) == truth(url, len(records))
    assert seen["generate"] == seen["completions"]
    assert [row[0] for row in seen["generate"]] == [100 + number for number in range(6)]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--scenarios", "multi_turn_conversation", "--api", "completions"), "--api is 'completions' with turns.count"),
        (("--scenarios", "cold_start", "--api", "generate"), "--api is 'generate', which takes token ids"),
        (("--scenarios", "cold_start", "--api", "grpc"), "--api"),
    ],
)
def test_apis_that_cannot_carry_it_are_refused(locust: LocustProcesses, args: tuple[str, ...], said: str) -> None:
    code, output = locust.run("-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--host", "http://127.0.0.1:9", *args)
    assert code == 3
    assert said in output
