"""Sessions of agents on the emulator, whose cache is endless here: each request finds what the plan says, but for a block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LocustProcesses
from tests.loadgen.server.test_arms import Start, emulator

__all__ = ["emulator"]

BLOCK = 32
AGENTS = """
name: agents
summary: Turns with tools, forks and compaction.
requests: 60
prefix: {text: instruction, tokens: 300, shared_by: all}
turns:
  count: [6, 9]
  text: question
  tokens: [40, 90]
  reply: %s
  think_time: {distribution: exponential, mean_s: 0.02}
tools: {share: 0.6, result_tokens: [60, 200], time: 0.01, schema_tokens: 200, role: %s}
forks: {every: 3, branches: 2, turns: 2, task_tokens: 70, summary_tokens: 40}
compaction: {at_tokens: 1400, summary_tokens: 120}
output: {tokens: 24}
"""


def agree(records: list[dict[str, Any]]) -> None:
    """Planned and reported cached tokens: the same but for a block where the tokenizer splits a text otherwise than was estimated, which
    puts the end of a shared text on the other side of a block's limit."""
    off = [whole_blocks(r["reported_cached_tokens"]) - r["planned_cached_tokens"] for r in records]
    assert {abs(tokens) for tokens in off} <= {0, BLOCK}, off
    assert sum(tokens != 0 for tokens in off) <= len(records) // 20, off


def whole_blocks(tokens: int) -> int:
    """A store serves all of a prompt but its last token, the plan counts whole blocks."""
    return tokens // BLOCK * BLOCK


@pytest.mark.parametrize(("reply", "role"), [("planned", "user"), ("server", "tool")])
def test_cached_tokens_are_those_of_the_plan(
    locust: LocustProcesses, emulator: Start, tmp_path: Path, reply: str, role: str
) -> None:
    """One user, so that sessions come one after another; branches of a fork run at once."""
    (tmp_path / "agents.yaml").write_text(AGENTS % (reply, role))
    code, output = locust.run(
        "-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--host", emulator(), "--warm-up", "off",
        "--scenarios", str(tmp_path / "agents.yaml"),
    )  # fmt: skip
    assert code == 0, output
    (run,) = locust.runs()
    records = [record for record in run.records if record["status"] == "ok"]
    assert len(records) == 2 * 60
    agree(records)
    waits = {(r["round"], r["request_index"]): r["planned_wait_ms"] for r in records}
    assert all(waits[1, index] == waits[2, index] for index in range(60))
    _branches_overlap(records)


# 112 tokens of a prefix are shared, and 100 of each chunk: none of the sums is near a multiple of 32
RAG = """
name: rag
summary: Chunks that move.
requests: 40
prefix: {text: instruction, tokens: 130, shared_by: all}
chunks: {count: 20, tokens: 100, per_prompt: 4, zipf: 0.8}
turns: {text: question, tokens: [30, 80]}
output: {tokens: 8}
"""


def test_moving_chunks_are_found_from_the_start_only(locust: LocustProcesses, emulator: Start, tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text(RAG)
    code, output = locust.run(
        "-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--host", emulator(), "--warm-up", "off", "--rounds", "1",
                "--scenarios", str(tmp_path / "rag.yaml"),
    )  # fmt: skip
    assert code == 0, output
    (run,) = locust.runs()
    found = [(r["request_index"], r["reported_cached_tokens"]) for r in run.records]
    assert found == [(r["request_index"], r["planned_cached_tokens"]) for r in run.records]
    assert len({cached for _, cached in found}) > 2  # the prefix alone, and with one or two chunks


REASONING = """
name: thinking
summary: Conversations with a model that thinks first.
requests: 15
prefix: {text: instruction, tokens: 150}
turns: {count: 5, text: question, tokens: [40, 90], reply: server}
output: {tokens: 70}
order: grouped
"""


@pytest.mark.analysed
@pytest.mark.parametrize("fault", [(), ("--fault", "reasoning_content=40")])
def test_reasoning_is_no_part_of_the_next_prompt(
    locust: LocustProcesses, emulator: Start, tmp_path: Path, fault: tuple[str, ...]
) -> None:
    """The engine caches 40 tokens of reasoning and 30 of the answer; the next turn carries those 30 alone."""
    (tmp_path / "thinking.yaml").write_text(REASONING)
    code, output = locust.run(
        "-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--host", emulator(*fault), "--warm-up", "off",
        "--scenarios", str(tmp_path / "thinking.yaml"),
    )  # fmt: skip
    assert code == 0, output
    (run,) = locust.runs()
    found = [(r["round"], r["request_index"], whole_blocks(r["reported_cached_tokens"])) for r in run.records]
    assert found == [(r["round"], r["request_index"], r["planned_cached_tokens"]) for r in run.records]
    first = {r["request_index"]: r for r in run.records if r["round"] == 1}
    shared = whole_blocks(first[0]["prompt_tokens"] if fault else first[0]["prompt_tokens"] + 69)
    assert first[1]["planned_cached_tokens"] == shared
    assert ("reasoning_not_resent" in (run.folder / "stats.json").read_text()) == bool(fault)


def _branches_overlap(records: list[dict[str, float]]) -> None:
    """A session has several requests open at once, and none of the next turn before its branches have ended."""
    spans = {}
    for r in records:
        if r["round"] == 1 and r["session_id"] == 0:
            spans[r["turn"]] = (r["started_at_s"], r["started_at_s"] + r["e2e_ms"] / 1000)
    # turns 1 to 3, branches 4 5 and 6 7, then turn 8
    assert spans[6][0] < spans[5][0]
    assert min(spans[4][0], spans[6][0]) >= spans[3][1] - 0.001
    assert spans[8][0] >= max(spans[5][1], spans[7][1]) - 0.001
