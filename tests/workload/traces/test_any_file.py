"""Whatever a trace file holds, it is planned or refused in one line: rows, tables and bytes by property, and sharing against a model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.analysis.commands.oracle import cached_tokens
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.traces.block_text import block_ids
from locust_kvcache.workload.traces.replay import replay_scenario
from locust_kvcache.workload.traces.rows import Row
from locust_kvcache.workload.traces.sharing import shared_prefixes
from locust_kvcache.workload.traces.source import TraceSource
from tests.samples import examples

TEXT = st.text(st.characters(), max_size=6)
VALUE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.integers(0, 2**70) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=2), max_leaves=5,
)  # fmt: skip
GOOD: dict[str, Any] = {
    "timestamp": st.integers(0, 10**6) | st.floats(0, 1e6), "input_length": st.integers(1, 60), "output_length": st.integers(0, 9),
    "hash_ids": st.lists(st.integers(0, 2**70) | TEXT, min_size=1, max_size=4),
}  # fmt: skip
ROW = st.fixed_dictionaries(
    {key: good | VALUE for key, good in GOOD.items()},
    optional={
        "session_id": VALUE,
        "delay": VALUE,
        "text_input": VALUE,
        "messages": VALUE,
        "chat_id": VALUE,
        "parent_chat_id": VALUE,
    },
) | st.fixed_dictionaries(
    {"timestamp": GOOD["timestamp"], "input_length": GOOD["input_length"], "output_length": GOOD["output_length"]}
)
CELL = st.integers(-2, 10**8).map(str) | st.just("2023-11-16 18:15:46.68") | TEXT


def planned_or_named(content: bytes, source: Callable[[str], TraceSource] = TraceSource) -> None:
    with tempfile.NamedTemporaryFile(suffix=".trace") as file:
        Path(file.name).write_bytes(content)
        refused = ""
        try:
            plan = dry_plan(replay_scenario(source(file.name)), 1)
        except BadInput as error:
            refused = str(error)
        if refused:
            assert refused.startswith(f"{file.name}: ")
            assert refused.isprintable()
            return
    block_tokens = plan.scenario.trace.block_tokens if plan.scenario.trace else None
    assert block_tokens
    for turn in plan.turns:
        assert len(turn.blocks) == -(-turn.prompt_tokens // block_tokens)
        assert 0 <= turn.shared_tokens <= turn.prompt_tokens
        assert (turn.shares_prefix_with is None) == (turn.shared_tokens == 0)
        assert turn.output_tokens
    assert list(plan.due_s or []) == sorted(plan.due_s or [])


@given(st.lists(ROW, max_size=4), st.booleans(), st.sampled_from((None, 16, 1)))
@examples(100)
def test_rows_of_json(rows: list[Any], array: bool, block_size: int | None) -> None:
    text = json.dumps(rows) if array else "\n".join(map(json.dumps, rows))
    planned_or_named(text.encode(), lambda path: TraceSource(path, block_size=block_size, sample=0.9))


@given(st.sampled_from(("TIMESTAMP,ContextTokens,GeneratedTokens", "Timestamp,Request tokens,Response tokens")),
       st.lists(st.lists(CELL, min_size=2, max_size=4).map(",".join), max_size=4))  # fmt: skip
@examples(80)
def test_tables(header: str, rows: list[str]) -> None:
    planned_or_named("\n".join((header, *rows)).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=80))
@examples(100)
def test_bytes(content: bytes) -> None:
    planned_or_named(content)


def common_tokens(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@given(st.lists(st.tuples(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.integers(0, 3)), min_size=1, max_size=12))
@examples(150)
def test_shared_is_what_a_cache_of_prefixes_would_hold(prompts: list[tuple[Sequence[int], int]]) -> None:
    """Ids that stand for a block alone, in any order, the last one cut: the most first tokens that any earlier prompt has in common."""
    rows = [Row(0.0, 4 * len(blocks) - cut, 1, tuple(blocks)) for blocks, cut in prompts]
    texts = [[token for block in row.blocks for token in block_ids("n", 1, block, 4)][: row.input_tokens] for row in rows]
    assert len({block_ids("n", 1, block, 4)[0] for block in (1, 2, 3)}) == 3  # different blocks differ from their first token on
    caches = [shared_prefixes(rows, 4), cached_tokens(rows, None, 4)]
    for number, (text, found, cached) in enumerate(zip(texts, *caches, strict=True)):
        common = [common_tokens(text, earlier) for earlier in texts[:number]]
        assert found.tokens == cached == max(common, default=0)
        assert (found.source is None) == (found.tokens == 0)
        if found.source is not None:
            assert common[found.source] > 0
