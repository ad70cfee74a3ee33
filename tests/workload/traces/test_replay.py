"""Traces: what is read, cut, sampled, spread and shared, by hand and by property; the published files where they are at hand."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration
from locust_kvcache.workload.traces.block_text import block_ids
from locust_kvcache.workload.traces.loading import load_rows
from locust_kvcache.workload.traces.replay import replay_scenario
from locust_kvcache.workload.traces.rows import Row
from locust_kvcache.workload.traces.sharing import shared_prefixes
from locust_kvcache.workload.traces.source import TraceSource
from tests.conftest import ROOT
from tests.samples import examples

CUT = ROOT / "tests" / "fixtures" / "conversation_trace_120.jsonl"
TRACES = Path(os.environ.get("KV_TRACES", "no folder is named"))
WHOLE = TRACES / "conversation_trace.jsonl"
NOTHING = Calibration({}, {}, 0.0, 0.0, 0.0, "assumed")


def write(path: Path, *rows: tuple[int, int, int, list[int]]) -> TraceSource:
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    return TraceSource(str(path))


def but(source: TraceSource, **changes: Any) -> TraceSource:
    return TraceSource(**{**source.to_dict(), **changes})


def test_whole_timestamps_in_seconds_are_doubted_and_read_as_such_on_request(tmp_path: Path) -> None:
    source = write(tmp_path / "whole.jsonl", *[(at, 500, 5, [at]) for at in range(3600)])  # an hour in whole seconds
    doubt = load_rows(source).warning or ""
    assert "3,600 requests span 3.6 s if its timestamps are ms" in doubt
    assert "--trace-time-unit s" in doubt
    in_seconds = but(source, time_unit="s", keep_bursts=True)
    assert list(load_rows(in_seconds).due_s) == list(range(3600))
    assert load_rows(in_seconds).warning is None
    assert load_rows(but(source, time_unit="ms")).warning is None


def test_timestamps_with_fractions_that_would_be_over_at_once_are_seconds(tmp_path: Path) -> None:
    rows = [(at, 500, 5, [number]) for number, at in enumerate((0.0, 0.4, 1.2, 60.0))]
    source = write(tmp_path / "seconds.jsonl", *rows)  # type: ignore[arg-type]
    found = load_rows(but(source, keep_bursts=True))
    assert list(found.due_s) == [0.0, 0.4, 1.2, 60.0]
    assert any("read as seconds: they have fractions" in note for note in found.notes)
    assert list(load_rows(but(source, time_unit="ms")).due_s) == [0.0, 0.0005, 0.001, 0.06]  # to the ms, two in one step


def test_timestamps_in_milliseconds_are_nothing_odd(tmp_path: Path) -> None:
    assert load_rows(TraceSource(str(CUT))).warning is None
    assert load_rows(write(tmp_path / "one.jsonl", (0, 500, 5, [1]))).warning is None


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "true"])
def test_a_timestamp_that_is_no_time_is_bad_input(tmp_path: Path, value: str) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(f'{{"timestamp": {value}, "input_length": 500, "output_length": 5, "hash_ids": [1]}}\n')
    with pytest.raises(BadInput, match="line 1: key 'timestamp'"):
        load_rows(TraceSource(str(path)))


def test_shared_prefixes_by_hand() -> None:
    """512-token blocks: the second row shares one whole block, the third all of the first but its tail, the fourth nothing."""
    rows = [
        Row(0, 1100, 1, (1, 2, 3)),
        Row(0, 700, 1, (1, 9)),
        Row(0, 1400, 1, (1, 2, 8)),
        Row(0, 100, 1, (7,)),
        Row(0, 1100, 1, (1, 2, 3)),
    ]
    assert [(found.tokens, found.source) for found in shared_prefixes(rows, 512)] == [
        (0, None),
        (512, 0),
        (1024, 0),
        (0, None),
        (1100, 0),
    ]


def test_of_a_block_that_was_cut_only_what_was_sent_is_shared() -> None:
    """500 of block 1 were sent before the second row has all of it; the third finds all, as the second sent it; 44 of block 2."""
    rows = [Row(0, 500, 1, (1,)), Row(0, 556, 1, (1, 2)), Row(0, 900, 1, (1, 2)), Row(0, 530, 1, (1, 2)), Row(0, 1024, 1, (1, 2))]
    assert [(found.tokens, found.source) for found in shared_prefixes(rows, 512)] == [
        (0, None),
        (500, 0),
        (556, 1),
        (530, 1),
        (900, 1),
    ]


def test_rows_of_one_step_are_spread_over_it_unless_bursts_are_kept(tmp_path: Path) -> None:
    source = write(
        tmp_path / "t.jsonl", (0, 10, 1, [1]), (0, 10, 1, [2]), (0, 10, 1, [3]), (3000, 10, 1, [4]), (9000, 10, 1, [5])
    )
    assert [row.due_s for row in load_rows(source)] == [0, 1, 2, 3, 9]
    assert [row.due_s for row in load_rows(but(source, keep_bursts=True))] == [0, 0, 0, 3, 9]
    assert [row.due_s for row in load_rows(but(source, speed=3))] == pytest.approx([0, 1 / 3, 2 / 3, 1, 3])
    assert [row.due_s for row in load_rows(but(source, start_s=2, stop_s=9))] == [0, 1]


def test_less_tokens_a_block_scale_lengths_and_keep_sharing(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", (0, 1100, 64, [1, 2, 3]), (0, 1400, 8, [1, 2, 8]))
    rows = load_rows(but(source, block_tokens=64))
    assert [(row.input_tokens, row.output_tokens, len(row.blocks)) for row in rows] == [(138, 8, 3), (175, 1, 3)]
    assert shared_prefixes(rows, 64)[1].tokens == 128


def test_a_sample_keeps_families_whole() -> None:
    source = TraceSource(str(CUT))
    everything, half = load_rows(source), load_rows(but(source, sample=0.5))
    families = {row.blocks[:2] for row in half}
    assert 0 < len(half) < len(everything)
    assert [row.blocks for row in half] == [row.blocks for row in everything if row.blocks[:2] in families]


def _blocks(family: int, tokens: int) -> tuple[int, ...]:
    """As in a trace: a cut last block is another block than a whole one."""
    whole = tuple(10_000 * family + number for number in range(tokens // 512))
    return (*whole, 10_000 * family + 100 + tokens) if tokens % 512 else whole


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2000)), min_size=1, max_size=30))
@examples(60)
def test_shared_tokens_are_those_that_an_endless_block_cache_would_find(sizes: list[tuple[int, int]]) -> None:
    """Prompts as paths in a tree of token ids: equal ids share exactly, and nothing else does."""
    rows = [Row(0.0, tokens, 1, _blocks(family, tokens)) for family, tokens in sizes]
    seen: set[tuple[int, ...]] = set()
    for row, found in zip(rows, shared_prefixes(rows, 512), strict=True):
        prompt = [token for block in row.blocks for token in block_ids("n", 1, block, 512)][: row.input_tokens]
        whole = [tuple(prompt[:end]) for end in range(512, len(prompt) + 1, 512)]
        hit = max((len(prefix) for prefix in whole if prefix in seen), default=0)
        assert found.tokens // 512 * 512 == hit
        seen.update(whole)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1 is not JSON"),
        ('{"timestamp": 0}', "line 1: key 'input_length' is missing; expected an object with timestamp, input_length"),
        ('{"timestamp": -1, "input_length": 5, "output_length": 1, "hash_ids": [1]}', "key 'timestamp' is -1; expected a number of"),
        ('{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1]}', "key 'hash_ids' has 1 ids; expected 2"),
        ("", "holds no request"),
    ],
)  # fmt: skip
def test_bad_lines_are_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "t.jsonl").write_text(line)
    with pytest.raises(BadInput, match=r"t\.jsonl") as caught:
        load_rows(TraceSource(str(tmp_path / "t.jsonl")))
    assert said in str(caught.value)


def test_another_file_on_another_host_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", (0, 10, 1, [1]))
    with pytest.raises(BadInput, match="every host needs the same file"):
        load_rows(but(source, sha256="0" * 64))
    with pytest.raises(BadInput, match=r"no request between 50 and inf s is left; the trace ends at 0 s"):
        load_rows(but(source, start_s=50))


def test_a_trace_has_only_so_many_requests() -> None:
    scenario = replay_scenario(TraceSource(str(CUT)))
    assert [scenario.with_requests(count).requests for count in (7, 120, 500)] == [7, 120, 120]
    assert len(make_plan(scenario.with_requests(7), NOTHING, "n", 1).sessions) == 7


def test_a_plan_of_the_cut_file() -> None:
    plan = make_plan(replay_scenario(TraceSource(str(CUT))), NOTHING, "n", 1)
    assert len(plan.sessions) == 120
    assert list(plan.due_s or []) == sorted(plan.due_s or [])
    assert all(plan.output_tokens(turn) == turn.output_tokens for turn in plan.turns)
    assert block_ids("n", 1, 5, 512) == block_ids("n", 1, 5, 512) != block_ids("m", 1, 5, 512)


@pytest.mark.skipif(not WHOLE.is_file(), reason="KV_TRACES names no folder with the published Mooncake traces")
def test_the_whole_conversation_trace_fits_into_memory() -> None:
    tracemalloc.start()
    plan = make_plan(replay_scenario(TraceSource(str(WHOLE))), NOTHING, "n", 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(plan.sessions) == 12_031
    assert sum(turn.shared_tokens for turn in plan.turns) / sum(turn.prompt_tokens for turn in plan.turns) == pytest.approx(
        0.374, abs=0.0005
    )
    assert peak < 500e6
