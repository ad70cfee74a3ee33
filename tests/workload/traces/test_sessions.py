"""Recorded sessions of every format: order, gaps and forks as they were, a request waits for what it depends on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.tenants import with_gaps
from locust_kvcache.workload.traces.recorded import Recorded, links_of
from locust_kvcache.workload.traces.replay import replay_scenario
from locust_kvcache.workload.traces.source import TraceSource
from locust_kvcache.workload.waits import AS_PLANNED, Gaps
from tests.samples import examples


def plan_of(path: Path, *rows: Any, gaps: Gaps = AS_PLANNED, **changes: Any) -> Plan:
    if rows:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return dry_plan(with_gaps(replay_scenario(TraceSource(str(path), **changes)), gaps), 1)


def shape(plan: Plan, session: int = 0) -> list[tuple[tuple[int, ...], float, int]]:
    return [(turn.waits_for, round(turn.wait_s, 3), turn.lane) for turn in plan.sessions[session].turns]


def test_aiperf_rows_wait_for_the_answer_before_and_their_delay(tmp_path: Path) -> None:
    rows = [
        {"session_id": "a", "timestamp": 1000, "input_length": 600, "output_length": 4, "hash_ids": [1, 2]},
        {"session_id": "b", "timestamp": 3000, "input_length": 600, "output_length": 4, "hash_ids": [9, 8]},
        {"session_id": "a", "delay": 2500, "input_length": 1100, "output_length": 4, "hash_ids": [1, 2, 3]},
        {"session_id": "b", "delay": 90_000, "input_length": 600, "output_length": 4, "hash_ids": [9, 8]},
    ]
    plan = plan_of(tmp_path / "a.jsonl", *rows, time_unit="ms")
    assert [len(session.turns) for session in plan.sessions] == [2, 2]
    assert list(plan.due_s or ()) == [0.0, 2.0]
    assert shape(plan) == [((), 0, 0), ((1,), 2.5, 0)]
    assert plan.sessions[0].turns[1].shared_tokens == 600
    faster = plan_of(tmp_path / "a.jsonl", *rows, time_unit="ms", speed=2, gaps=Gaps(most_s=10))
    assert [shape(faster, k)[1][1] for k in (0, 1)] == [1.25, 10]
    assert list(faster.due_s or ()) == [0.0, 1.0]


def test_a_session_of_aiperf_with_its_turns_in_one_object(tmp_path: Path) -> None:
    first, second = " ".join(["one"] * 600), " ".join(["two"] * 30)
    turns = [{"text": first, "output_length": 4}, {"text": second, "delay": 1500, "max_tokens": 6}]
    plan = plan_of(tmp_path / "a.jsonl", {"session_id": "s", "turns": turns}, time_unit="ms")
    one, two = plan.sessions[0].turns
    assert shape(plan) == [((), 0, 0), ((1,), 1.5, 0)]
    assert (two.prompt_tokens - one.prompt_tokens, two.output_tokens, two.shared_tokens) == (30, 6, 512)
    with pytest.raises(BadInput, match="key 'turns' is 'x'; expected a list of turns"):
        plan_of(tmp_path / "b.jsonl", {"session_id": "s", "turns": "x"})


WEKA = {
    "id": "trace_1",
    "block_size": 64,
    "requests": [
        {"t": 0.0, "type": "n", "in": 130, "out": 9, "hash_ids": [1, 2], "api_time": 2.0},
        {"t": 5.0, "type": "subagent", "agent_id": "x", "requests": [
            {"t": 0.0, "type": "s", "in": 100, "out": 5, "hash_ids": [1, 7], "api_time": 1.0},
            {"t": 4.0, "type": "s", "in": 192, "out": 5, "hash_ids": [1, 7, 8], "think_time": 3.0},
        ]},
        {"t": 5.0, "type": "subagent", "agent_id": "y", "requests": [{"t": 5.5, "type": "s", "in": 64, "out": 5, "hash_ids": [1]}]},
        {"t": 12.0, "type": "n", "in": 256, "out": 9, "hash_ids": [1, 2, 3, 4]},
    ],
}  # fmt: skip


def test_weka_sessions_fork_into_their_sub_agents(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "w.jsonl", WEKA)
    turns = plan.sessions[0].turns
    # by time: main at 0, x at 5, y at 5.5, x at 9, main at 12
    assert [turn.prompt_tokens for turn in turns] == [130, 100, 64, 192, 256]
    assert shape(plan) == [((), 0, 0), ((1,), 3, 1), ((1,), 3.5, 2), ((2,), 3, 1), ((1, 4, 3), 3, 0)]
    # 130 tokens of 3 blocks, of which the file has two
    assert [turn.shared_tokens for turn in turns] == [0, 64, 64, 100, 128]


@pytest.mark.parametrize("size", [0, -64, "big", True])
def test_a_block_size_that_is_none_is_named(size: Any, tmp_path: Path) -> None:
    """The first session's size counts for the file, also where it cannot be one; null is as if it were not there."""
    with pytest.raises(BadInput, match=r"'block_size' is .*expected a whole number of tokens from 1"):
        plan_of(tmp_path / "w.jsonl", {**WEKA, "block_size": size})
    assert plan_of(tmp_path / "n.jsonl", {**WEKA, "block_size": None}).sessions


def span(begin: float, end: float, tokens: int = 100, trace: str = "t", **more: Any) -> dict[str, Any]:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 7, **more}
    listed = [
        {"key": key, "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}} for key, v in attributes.items()
    ]
    times = {"startTimeUnixNano": str(int(begin * 1e9)), "endTimeUnixNano": str(int(end * 1e9))}
    return {"traceId": trace, "spanId": "s", "attributes": listed, **times}


def test_spans_that_overlap_are_a_fork(tmp_path: Path) -> None:
    t = 1.75e9
    tool = {"traceId": "t", "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}}]}
    spans = [span(t, t + 2), tool, span(t + 3, t + 8), span(t + 3.5, t + 5), span(t + 9, t + 10), span(t + 1, t + 2, trace="u")]
    plan = plan_of(tmp_path / "o.jsonl", {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    assert shape(plan) == [((), 0, 0), ((1,), 1, 0), ((1,), 1.5, 1), ((2, 3), 1, 0)]
    assert list(plan.due_s or ()) == [0.0, 1.0]
    notes = " ".join(plan.scenario.file_notes)
    assert "2 sessions" in notes
    assert "1 spans are not model calls" in notes
    assert "no prefixes" in notes


def test_spans_of_a_console_exporter_with_their_messages(tmp_path: Path) -> None:
    def exported(second: int, text: str) -> dict[str, Any]:
        said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
        tokens = {"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 3}
        times = {"start_time": f"2026-05-01T10:00:{second:02}Z", "end_time": f"2026-05-01T10:00:{second + 1:02}Z"}
        return {"context": {"trace_id": "0x1"}, **times, "attributes": {**tokens, "gen_ai.input.messages": said}}

    first = " ".join(["word"] * 100)
    plan = plan_of(tmp_path / "c.jsonl", exported(0, first), exported(5, first + " and more"))
    one, two = plan.sessions[0].turns
    assert shape(plan) == [((), 0, 0), ((1,), 4, 0)]
    assert two.shared_tokens == 96 < one.prompt_tokens  # whole blocks of 16


def test_a_trace_of_inference_perf_is_one_object_over_several_lines(tmp_path: Path) -> None:
    """Lengths come from the usage of today or of before; without it from the text of prompt and answer, or from what was asked for."""

    def call(second: int, text: str, **more: Any) -> dict[str, Any]:
        times = {"start_time": f"2026-02-25T10:00:{second:02}.000000", "end_time": f"2026-02-25T10:00:{second + 1:02}.000000"}
        said = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps([{"role": "user", "content": text}])}
        return {"trace_id": "t", "parent_span_id": None, **times, "attributes": {**said, **more}}

    spans = [
        call(0, "One two three?", **{"gen_ai.usage.completion_tokens": 11}),
        call(3, "One two three? Four.", **{"gen_ai.output.text": "five six seven eight", "gen_ai.request.max_tokens": 500}),
        call(9, "One two three? Four. More.", **{"gen_ai.request.max_tokens": 500}),
        {"trace_id": "t", "attributes": {"gen_ai.operation.name": "execute_tool"}},
    ]
    file = tmp_path / "trace.json"
    file.write_text(json.dumps({"trace_id": "t", "span_count": 4, "spans": spans}, indent=2))
    plan = plan_of(file)
    assert shape(plan) == [((), 0, 0), ((1,), 2, 0), ((2,), 5, 0)]
    answers = [turn.output_tokens for turn in plan.sessions[0].turns]
    assert answers[0] == 11
    assert 4 <= answers[1] <= 8
    assert answers[2] == 500


def test_a_span_without_a_trace_is_of_the_trace_that_holds_it(tmp_path: Path) -> None:
    def trace(name: str, begin: int) -> dict[str, Any]:
        tokens = {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 3}
        return {"trace_id": name, "spans": [{"start_time": begin, "end_time": begin + 1, "attributes": tokens}]}

    plan = plan_of(tmp_path / "t.jsonl", trace("a", 0), trace("b", 5))
    assert [len(session.turns) for session in plan.sessions] == [1, 1]


def test_spans_that_are_no_list_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="key 'spans' is '5'; expected a list of spans"):
        plan_of(tmp_path / "o.json", {"trace_id": "t", "spans": 5})


def test_requests_of_openai_with_their_times(tmp_path: Path) -> None:
    def row(begin: float, text: str, **more: Any) -> dict[str, Any]:
        said = {"messages": [{"role": "user", "content": text}], "usage": {"completion_tokens": 5}}
        return {"session_id": "s", "start_time": begin, **said, **more}

    plan = plan_of(tmp_path / "m.jsonl", row(0, "Why?", end_time=2), row(6, "Why? So. And?", end_time=7))
    assert shape(plan) == [((), 0, 0), ((1,), 4, 0)]
    assert plan.sessions[0].turns[0].output_tokens == 5
    without = plan_of(tmp_path / "n.jsonl", row(0, "Why?"), row(6, "Why? So. And?"))
    assert shape(without)[1] == ((1,), 6, 0)
    assert "2 of 2 rows have no end" in " ".join(without.scenario.file_notes)


def test_a_cut_session_waits_for_nothing_that_is_not_sent(tmp_path: Path) -> None:
    plan_of(tmp_path / "w.jsonl", WEKA)
    scenario = replay_scenario(TraceSource(str(tmp_path / "w.jsonl"))).with_requests(3)
    plan = dry_plan(scenario, 1)
    assert [turn.request_index for turn in plan.turns] == [0, 1, 2]
    assert plan.prompt_tokens == 130 + 100 + 64


times = st.floats(0, 100, allow_nan=False)
recorded = st.lists(st.tuples(st.sampled_from("ab"), times, st.none() | times), min_size=1, max_size=12)


@given(recorded)
def test_links_never_wait_for_what_had_not_ended(rows: list[tuple[str, float, float | None]]) -> None:
    found = [Recorded(name, begin, None if took is None else begin + took, 10, 1, None) for name, begin, took in rows]
    links = links_of(found)
    for row, link in zip(found, links, strict=True):
        assert link.wait >= 0
        assert all(found[one].session == row.session and found[one].begin_s <= row.begin_s for one in link.after)
    for name in "ab":
        linked = [(row, link) for row, link in zip(found, links, strict=True) if row.session == name]
        for lane in {link.lane for _, link in linked}:  # requests of one lane do not overlap
            spans = sorted((row.begin_s, row.end_s or row.begin_s) for row, link in linked if link.lane == lane)
            assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**15) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["requests", "t", "in", "out", "hash_ids", "type", "resourceSpans", "scopeSpans", "spans", "attributes", "key", "value",
             "messages", "usage", "response", "start_time", "role", "content", "session_id", "gen_ai.usage.input_tokens"]
        ), inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip
starts = st.sampled_from([{"requests": []}, {"resourceSpans": []}, {"attributes": {}}, {"messages": [], "usage": {}}])


@examples(150)
@given(st.lists(st.tuples(starts, st.dictionaries(st.text(max_size=3), anything, max_size=3), anything), min_size=1, max_size=3))
def test_any_file_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[dict[str, Any], dict[str, Any], Any]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    merged = [{**start, **more, next(iter(start)): value or next(iter(start.values()))} for start, more, value in rows]
    try:
        plan = plan_of(path, *merged)
    except BadInput:
        return
    assert len(plan.turns) >= 1
