"""Declares the trace formats that are read: how each is recognised, an example line, what it leaves unknown.

docs/workloads.md shows this table (tests/workload/traces/test_formats.py compares them).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput

MOONCAKE_BLOCK = 512
BAILIAN_BLOCK = 16
WEKA_BLOCK = 64
TEXT_BLOCK = 16


@dataclass(frozen=True)
class TraceFormat:
    """`columns` names a CSV's columns of time, input and output tokens; a format without is of JSON objects."""

    name: str
    recognised_by: str
    example: str
    block_size: int = MOONCAKE_BLOCK  # tokens of one hash id, where --trace-block-size does not say it
    time_unit: str | None = None  # None: ms, or s where the times cannot be ms
    columns: tuple[str, str, str] | None = None
    drops_unanswered: bool = False  # rows without output tokens are failures of the recorded service


MOONCAKE = TraceFormat(
    "mooncake",
    "JSON with `hash_ids`; whole numbers, or strings (LiteLLM)",
    '{"timestamp": 0, "input_length": 655, "output_length": 52, "hash_ids": [46, 47]}',
)
BAILIAN = TraceFormat(
    "bailian",
    "JSON with `chat_id` and `parent_chat_id` (Qwen)",
    '{"chat_id": 7, "parent_chat_id": -1, "timestamp": 61.1, "input_length": 21, "output_length": 13, "turn": 1, "hash_ids": [8, 9]}',
    block_size=BAILIAN_BLOCK,
    time_unit="s",
)
AIPERF = TraceFormat(
    "aiperf",
    "JSON with `session_id`, `delay`, `text_input`, `messages`, or without `hash_ids`",
    '{"session_id": "a", "delay": 250, "input_length": 300, "output_length": 40, "hash_ids": [1]}',
)
WEKA = TraceFormat(
    "weka",
    "JSON with `requests`: a session per object, sub-agents nested in it",
    '{"id": "a", "block_size": 64, "requests": [{"t": 0.0, "type": "n", "in": 100, "out": 9, "hash_ids": [1, 2]}]}',
    block_size=WEKA_BLOCK,
    time_unit="s",
)
OTEL = TraceFormat(
    "otel",
    "JSON with `resourceSpans`, `spans` (inference-perf), or spans with `attributes` (OpenTelemetry, `gen_ai.*`)",
    '{"trace_id": "a", "start_time": "2026-05-01T10:00:00Z", "end_time": "2026-05-01T10:00:02Z", "attributes": '
    '{"gen_ai.usage.input_tokens": 300, "gen_ai.usage.output_tokens": 9}}',
    block_size=TEXT_BLOCK,
    time_unit="s",
)
OPENAI = TraceFormat(
    "openai",
    "JSON with `messages` (or `request`, `body`) and `usage`, `response`, `start_time` or `created`",
    '{"session_id": "a", "start_time": 0.0, "end_time": 2.5, "messages": [{"role": "user", "content": "Why?"}], "usage": '
    '{"completion_tokens": 9}}',
    block_size=TEXT_BLOCK,
    time_unit="s",
)
BURSTGPT = TraceFormat(
    "burstgpt",
    "CSV with the columns `Timestamp`, `Request tokens`, `Response tokens`",
    "5,ChatGPT,472,18,490,Conversation log",
    time_unit="s",
    columns=("timestamp", "request tokens", "response tokens"),
    drops_unanswered=True,
)
AZURE = TraceFormat(
    "azure",
    "CSV with the columns `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`",
    "2023-11-16 18:15:46.6805900,374,44",
    columns=("timestamp", "contexttokens", "generatedtokens"),
)
FORMATS = (MOONCAKE, BAILIAN, AIPERF, WEKA, OTEL, OPENAI, BURSTGPT, AZURE)
COLUMNS = "whose first line names its columns: " + " or ".join(
    f"{', '.join(one.columns)} ({one.name})" for one in FORMATS if one.columns
)
LOGGED_KEYS = ("usage", "response", "start_time", "created", "created_at")
AIPERF_KEYS = ("turns", "session_id", "delay", "text_input", "messages", "payload")
EXPECTED_JSON = "an object with timestamp, input_length, output_length, hash_ids"
EXPECTED = f"{EXPECTED_JSON}, or a CSV of BurstGPT or Azure (docs/workloads.md#trace-formats)"


def json_format(row: dict[str, Any]) -> TraceFormat:
    """By the first object of a file. Its rows are read alike; the format says which block size and time unit are meant."""
    if "chat_id" in row and "parent_chat_id" in row:
        return BAILIAN
    if isinstance(row.get("requests"), list):
        return WEKA
    if any(key in row for key in ("resourceSpans", "spans", "attributes")):
        return OTEL
    if (
        "hash_ids" not in row
        and any(key in row for key in ("messages", "request", "body"))
        and any(key in row for key in LOGGED_KEYS)
    ):
        return OPENAI
    return AIPERF if "hash_ids" not in row or any(key in row for key in AIPERF_KEYS) else MOONCAKE


def csv_format(header: Sequence[str]) -> TraceFormat | None:
    """By the names of the columns, in whatever order; None where they are those of no format."""
    names = {name.strip().lower() for name in header}
    return next((found for found in FORMATS if found.columns and names.issuperset(found.columns)), None)


@contextlib.contextmanager
def built_like(expected: TraceFormat, where: str) -> Iterator[None]:
    """BadInput for an entry with a list where a mapping should be, and the like."""
    try:
        yield
    except BadInput:
        raise
    except (TypeError, AttributeError, KeyError, ValueError, OverflowError, RecursionError) as error:
        raise BadInput(f"{where} is not built as {expected.name} files are ({error}); expected {expected.example}") from error
