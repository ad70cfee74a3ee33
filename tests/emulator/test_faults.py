"""Each fault as a client sees it on the wire."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from locust_kvcache.emulator.faults import CATALOGUE, Rule, make_rule, parse_rule
from tests.conftest import wait_for
from tests.emulator.conftest import Serve
from tests.emulator.raw import Raw, ask_raw

WHOLE = " the report says that nothing has"


@pytest.fixture(scope="module")
def url(serve: Serve) -> str:
    return serve("--time-scale", "0.1")


def with_fault(url: str, fault: str, **more: Any) -> Raw:
    return ask_raw(url, headers=f"x-fault: {fault}\r\n", **more)


def finishes(raw: Raw) -> list[str]:
    return [
        event["choices"][0]["finish_reason"]
        for event in raw.events
        if event.get("choices") and event["choices"][0]["finish_reason"]
    ]


def test_without_a_fault_nothing_is_wrong(url: str) -> None:
    raw = ask_raw(url)
    assert (raw.end, raw.tokens, finishes(raw)) == ("complete", WHOLE, ["length"])
    assert raw.body.endswith(b"data: [DONE]\n\n")
    assert "content-type: text/event-stream" in raw.head


def test_usage_that_lies_or_lacks(url: str) -> None:
    lie = with_fault(url, "decoder_reports_all_cached").events[-1]["usage"]
    assert lie["prompt_tokens_details"]["cached_tokens"] == lie["prompt_tokens"] - 1
    assert "prompt_tokens_details" not in with_fault(url, "usage_without_details").events[-1]["usage"]
    assert not any("usage" in event for event in with_fault(url, "no_usage").events)
    last = with_fault(url, "usage_on_finish_chunk").events[-1]
    assert (last["choices"][0]["finish_reason"], last["usage"]["completion_tokens"]) == ("length", 6)


def test_streams_that_end_wrong(url: str) -> None:
    empty = with_fault(url, "empty_stream")
    assert (empty.status, empty.end, empty.body) == (200, "complete", b"")
    no_done = with_fault(url, "no_done")
    assert (no_done.end, no_done.tokens, b"[DONE]" in no_done.body) == ("complete", WHOLE, False)
    assert finishes(with_fault(url, "no_finish_reason")) == []
    cut = with_fault(url, "cut=3")
    assert (cut.end, cut.tokens) == ("closed", " the report says")
    assert with_fault(url, "reset_connection=2").end == "reset"
    assert with_fault(url, "reset_connection").end == "reset"


def test_an_error_in_the_stream(url: str) -> None:
    raw = with_fault(url, "error_in_stream=2")
    assert (raw.status, raw.tokens, "error" in raw.events[-1]) == (200, " the report", True)
    assert raw.body.endswith(b"[DONE]\n\n")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_statuses(url: str, status: int) -> None:
    raw = with_fault(url, f"status={status}")
    assert (raw.status, raw.end) == (status, "complete")
    assert b'"error"' in raw.body


def test_slow_things(url: str) -> None:
    assert with_fault(url, "slow_headers=0.4").headers_s > 0.39
    stalled = with_fault(url, "stall=0.4")
    gaps = [after - before for before, after in zip(stalled.at_s, stalled.at_s[1:], strict=False)]
    assert max(gaps) > 0.35
    assert stalled.tokens == WHOLE
    whole = requests.post(
        f"{url}/v1/completions", json={"model": "tiny", "prompt": "x"}, headers={"x-fault": "slow_headers=0.3"}, timeout=5
    )
    assert whole.elapsed.total_seconds() > 0.29


def test_framing(url: str) -> None:
    crlf = with_fault(url, "crlf")
    assert b"}\r\n\r\ndata: " in crlf.body
    assert crlf.tokens == WHOLE
    plain = with_fault(url, "no_chunked")
    assert ("transfer-encoding" in plain.head, "connection: close" in plain.head, plain.end) == (False, True, "closed")
    assert plain.tokens == WHOLE
    assert "content-type: application/json" in with_fault(url, "sse_as_json").head
    tiny = with_fault(url, "tiny_segments=5")
    assert (tiny.tokens, tiny.end) == (WHOLE, "complete")
    wait_for(lambda: len(with_fault(url, "tiny_segments=5").pieces) > 10, what="segments that a busy reader has not joined")


def test_chunks(url: str) -> None:
    chunks = [event for event in with_fault(url, "tokens_per_chunk=4").events if event["choices"]]
    assert [event["choices"][0]["delta"]["content"] for event in chunks] == ["", " the", " report says that nothing", " has"]
    assert with_fault(url, "no_role_chunk").events[0]["choices"][0]["delta"] == {"role": "assistant", "content": " the"}
    assert with_fault(url, "null_content").events[0]["choices"][0]["delta"]["content"] is None
    deltas = [event["choices"][0]["delta"] for event in with_fault(url, "reasoning=2").events if event["choices"]]
    assert [sorted(delta) for delta in deltas[1:4]] == [["reasoning"], ["reasoning"], ["content"]]
    assert "reasoning_content" in with_fault(url, "reasoning_content=1").events[1]["choices"][0]["delta"]


def test_what_comes_before_the_first_token(url: str) -> None:
    text = [{"role": "user", "content": " ".join(f"early{number}" for number in range(3000))}]
    early = with_fault(url, "early_role_chunk", messages=text)
    first = next(index for index, piece in enumerate(early.pieces) if b'"role"' in piece)
    assert early.at_s[first] < early.at_s[-1] - 0.05
    assert b"the" not in early.pieces[first]
    comments = with_fault(url, "keep_alive_comments=0.02", messages=[{"role": "user", "content": "k" * 20_000}])
    assert comments.body.count(b": keep-alive\n\n") > 3
    assert comments.tokens == WHOLE


def test_wrong_contents(url: str) -> None:
    assert {event["model"] for event in with_fault(url, "wrong_model").events} == {"not-the-model-you-asked-for"}
    assert b'{"id": "broken' in with_fault(url, "malformed_json=1").body


def test_connections_are_refused_for_a_while(url: str) -> None:
    rule = {"name": "refuse_connections", "value": 0.5}
    assert requests.post(f"{url}/faults", json={"faults": [rule]}, timeout=5).ok
    time.sleep(0.05)
    with pytest.raises(ConnectionRefusedError):
        ask_raw(url)
    wait_for(lambda: ask_raw(url).tokens == WHOLE, seconds=5, what="the port")
    requests.delete(f"{url}/faults", timeout=5)


def test_faults_at_run_time_strike_their_share(url: str) -> None:
    rule = {"name": "no_done", "share": 0.5, "seed": 7, "times": 4}
    requests.post(f"{url}/faults", json={"faults": [rule]}, timeout=5).raise_for_status()
    struck = [b"[DONE]" not in ask_raw(url, max_tokens=1).body for _ in range(16)]
    listed = requests.get(f"{url}/faults", timeout=5).json()["faults"][0]["struck"]
    requests.delete(f"{url}/faults", timeout=5)
    generator = Rule("no_done", None, 0.5, 7)
    drawn = [generator.strikes() for _ in range(16)]
    assert struck == [hit and sum(drawn[:index]) < 4 for index, hit in enumerate(drawn)]
    assert listed == sum(struck) == 4


@pytest.mark.parametrize("body", [{"faults": [{"name": "nope"}]}, {"faults": [{"name": "cut", "share": 2}]}, {"faults": 3}, {}])
def test_wrong_faults_are_refused(url: str, body: dict[str, Any]) -> None:
    answer = requests.post(f"{url}/faults", json=body, timeout=5)
    assert answer.status_code == 400
    assert with_fault(url, "nope").status == with_fault(url, "slow_put").status == 400


def test_reset_lies(url: str) -> None:
    def cached() -> int:
        text = [{"role": "user", "content": "reset lies " * 50}]
        return int(ask_raw(url, messages=text, max_tokens=1).events[-1]["usage"]["prompt_tokens_details"]["cached_tokens"])

    def reset() -> bool:
        return bool(requests.post(f"{url}/reset_prefix_cache", timeout=5).json()["success"])

    cached()
    requests.post(f"{url}/faults", json={"faults": ["reset_clears_nothing"]}, timeout=5)
    assert (reset(), cached() > 0) == (True, True)
    requests.delete(f"{url}/faults", timeout=5)
    assert (reset(), cached()) == (True, 0)


def test_every_fault_can_be_written_as_on_the_command_line() -> None:
    for fault in CATALOGUE.values():
        assert parse_rule(fault.name).value == fault.default
        assert parse_rule(f"{fault.name}@0.25").share == 0.25
    with pytest.raises(ValueError, match="takes no value"):
        make_rule("no_done", 3)


def test_faults_from_the_command_line(serve: Serve) -> None:
    url = serve("--time-scale", "0.1", "--fault", "no_done", "--fault", "tokens_per_chunk=3")
    raw = ask_raw(url)
    assert b"[DONE]" not in raw.body
    assert len(raw.events) == 1 + 1 + 2 + 1
