"""The oracle by hand, by property, and on the published traces where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.analysis.commands.oracle import cached_tokens, curve, hit_rate, oracle_table
from locust_kvcache.workload.traces.loading import load_rows
from locust_kvcache.workload.traces.rows import Row
from locust_kvcache.workload.traces.sharing import shared_prefixes
from locust_kvcache.workload.traces.source import TraceSource
from tests.conftest import ROOT, Module
from tests.samples import examples

CUT = ROOT / "tests" / "fixtures" / "conversation_trace_120.jsonl"
TRACES = Path(os.environ.get("KV_TRACES", "no folder is named"))


def row(*blocks: int, tokens: int | None = None) -> Row:
    return Row(0.0, tokens or 512 * len(blocks), 1, blocks)


def test_lru_by_hand() -> None:
    """Three blocks: (1 2) (3) fill it; 1 2 hit; 4 drops 3, which is the oldest; 3 misses and drops 1; 1 misses."""
    rows = [row(1, 2), row(3), row(1, 2), row(4), row(3), row(1, 2)]
    assert cached_tokens(rows, 3) == [0, 0, 1024, 0, 0, 0]
    assert cached_tokens(rows, None) == [0, 0, 1024, 0, 512, 1024]
    assert hit_rate(rows, 3) == pytest.approx(1024 / (9 * 512))


def test_a_block_after_a_hole_is_no_hit_and_a_cut_block_counts_its_tokens() -> None:
    rows = [row(1, 2, 3), row(7), row(1, 9, 3), row(1, 2, 3, tokens=1100)]
    assert cached_tokens(rows, None) == [0, 0, 512, 1100]


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True), min_size=1, max_size=25))
@examples(80)
def test_a_larger_cache_never_hits_less_and_none_beats_the_ideal(prompts: list[list[int]]) -> None:
    """Ids as the traces have them: equal only after equal prefixes."""
    ids: dict[tuple[int, ...], int] = {}
    rows = [row(*(ids.setdefault(tuple(prompt[: n + 1]), len(ids)) for n in range(len(prompt)))) for prompt in prompts]
    ideal = [found.tokens for found in shared_prefixes(rows, 512)]
    assert cached_tokens(rows, None) == ideal
    rates = [hit_rate(rows, size) for size in (200, 400, None)]
    assert rates == sorted(rates)
    assert all(a <= b for a, b in zip(cached_tokens(rows, 4), ideal, strict=True))


@pytest.mark.slow
def test_the_command_prints_the_table_and_draws(module: Module, tmp_path: Path) -> None:
    picture = tmp_path / "oracle.png"
    done = module(
        "analysis.oracle", str(CUT), "--capacity", "100", "1000", "--kv-bytes-per-token", "327680", "--output", str(picture)
    )
    assert done.returncode == 0, done.stderr
    assert "120 requests" in done.stdout
    assert "17 GB" in done.stdout  # 100 blocks x 512 tokens x 327,680 bytes
    assert picture.read_bytes().startswith(b"\x89PNG")
    wrong = module("analysis.oracle", str(CUT), "--capacity", "0")
    assert wrong.returncode != 0
    assert "--capacity is 0; expected at least 1 block" in wrong.stderr


@pytest.mark.skipif(
    not (TRACES / "synthetic_trace.jsonl").is_file(), reason="KV_TRACES names no folder with the published Mooncake traces"
)
@pytest.mark.parametrize(
    ("name", "rates"), [("conversation", [4.5, 21.5, 33.2, 36.2, 37.4]), ("synthetic", [8.4, 43.1, 63.6, 65.1, 65.1])]
)
def test_the_published_traces(name: str, rates: list[float]) -> None:
    rows = load_rows(TraceSource(str(TRACES / f"{name}_trace.jsonl"), keep_bursts=True))
    found = curve(rows, [1_000, 10_000, 30_000, 50_000])
    assert [round(100 * rate, 1) for rate in found["hit_rate"]] == rates
    assert len(oracle_table(found, None).rows) == 5
