"""Counters that cannot be subtracted are left out and named: by hand, with 100 of 1000 prompt tokens hit before and 150 of 1100 after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.reading.scrapes import read_scrapes
from locust_kvcache.analysis.servers.server_counters import check_client_counts, deltas, label, series, tiers

HITS, PROMPT, STARTED = "vllm:prefix_cache_hits_total", "vllm:prompt_tokens_total", "process_start_time_seconds"


def counted(hits: float, prompt: float, engine: str = "0") -> dict[str, float]:
    return {f'{HITS}{{engine="{engine}"}}': hits, f'{PROMPT}{{engine="{engine}"}}': prompt}


def page(when: str, at_s: float, samples: dict[str, float], **more: Any) -> dict[str, Any]:
    return {"at_s": at_s, "scenario": "s", "round": 1, "when": when, "role": "server", "url": "http://a", "ok": bool(samples),
            "samples": samples, **more}  # fmt: skip


BEFORE, AFTER = page("before", 1.0, counted(100, 1000)), page("after", 9.0, counted(150, 1100))


def found(*pages: dict[str, Any]) -> tuple[list[tuple[float, float]], list[str]]:
    """(gpu and computed tokens of each role, the codes and a word of each problem)."""
    changed, problems = deltas(series(list(pages)))
    table = tiers(changed)
    return list(zip(table["gpu"], table["computed"], strict=True)), [f"{one.code}: {one.text}" for one in problems]


def test_whole_pages_are_subtracted() -> None:
    assert found(BEFORE, AFTER) == ([(50, 50)], [])


@pytest.mark.parametrize(
    ("pages", "code", "word"),
    [
        ([page("before", 1.0, {}), AFTER], "counters_unread", "gave nothing before round 1"),
        ([BEFORE, page("after", 9.0, counted(150, 1100, "a"))], "counter_reset", "other labels"),
        ([BEFORE, page("after", 9.0, {f'{PROMPT}{{engine="0"}}': 1100.0})], "counter_reset", "vanished"),
        ([BEFORE, page("during", 5.0, counted(0, 0)), AFTER], "counter_reset", "started again"),  # it has grown beyond 1000 since
        (
            [page("before", 1.0, counted(100, 1000) | {STARTED: 10.0}), page("after", 9.0, counted(150, 1100) | {STARTED: 70.0})],
            "counter_reset",
            "another start time",
        ),
        ([page("before", 1.0, counted(0, 1000), no_numbers=[f'{HITS}{{engine="1"}}']), AFTER], "counters_unread", "finite"),
        ([BEFORE, page("after", 9.0, AFTER["samples"], no_numbers=[f'{HITS}{{engine="1"}}'])], "counters_unread", "finite"),
    ],
)
def test_what_a_broken_page_counted_is_unknown(pages: list[dict[str, Any]], code: str, word: str) -> None:
    rows, problems = found(*pages)
    assert rows == []  # not 150 hits of the server's whole life, nor none
    [problem] = problems
    assert problem.startswith(f"{code}: ")
    assert word in problem


def test_a_role_of_which_a_page_is_broken_is_left_out() -> None:
    """The other server has 50 of 100 tokens hit, which is the rate of half of the requests, and 50 tokens are not what the role hit."""
    other = [page("before", 1.0, {}, url="http://b"), page("after", 9.0, counted(900, 9000), url="http://b")]
    store = [page("before", 1.0, counted(0, 0), role="prefiller"), page("after", 9.0, counted(30, 70), role="prefiller")]
    rows, problems = found(BEFORE, AFTER, *other, *store)
    assert rows == [(30, 40)]
    assert len(problems) == 1
    assert "http://b" in problems[0]


def test_a_decoder_alone_is_not_set_beside_the_answers() -> None:
    """Of a pair whose prefiller was started again: 90 of 100 tokens are what the decoder loaded from it."""
    fresh = [page("before", 1.0, counted(0, 500), role="prefiller"), page("after", 9.0, counted(0, 100), role="prefiller")]
    moved = [page("before", 1.0, counted(0, 0), role="decoder"), page("after", 9.0, counted(90, 100), role="decoder")]
    table = tiers(deltas(series([*fresh, *moved]))[0])
    assert list(table["role"]) == ["decoder"]
    rounds = pd.DataFrame({"scenario": ["s"], "round": [1], "reported_cached_tokens": [0.0]})
    assert check_client_counts(table, rounds).empty


def test_a_round_that_was_begun_twice_counts_from_its_last_beginning() -> None:
    again = [page("before", 4.0, counted(0, 0)), page("after", 9.0, counted(30, 40))]
    assert found(BEFORE, page("during", 2.0, counted(120, 1050)), *again) == ([(30, 10)], [])


def test_a_counter_may_appear_with_its_first_event_and_a_gauge_may_vanish() -> None:
    before = page("before", 1.0, {f'{PROMPT}{{engine="0"}}': 1000.0, "vllm:num_requests_running": 1.0})
    assert found(before, page("after", 9.0, counted(30, 1100))) == ([(30, 70)], [])


def test_numbers_that_are_none_are_kept_apart_when_a_run_is_read(tmp_path: Path) -> None:
    """NaN as earlier versions wrote it, and by name as it is written today."""
    lines = [page("before", 1.0, counted(float("nan"), 1000)), page("after", 9.0, counted(150, 1100), no_numbers=["x_total", 5])]
    path = tmp_path / "server_metrics.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    before, after = read_scrapes(path)[0]
    assert (before["samples"], before["no_numbers"]) == ({f'{PROMPT}{{engine="0"}}': 1000}, [f'{HITS}{{engine="0"}}'])
    assert after["no_numbers"] == ["x_total"]
    assert found(before, after)[0] == []


def test_a_label_is_read_with_its_quotes_and_commas() -> None:
    labels = r'model_name="m\",engine=\"7\" \\ \n",engine="0"'
    assert label(labels, "engine") == "0"
    assert label(labels, "model_name") == 'm",engine="7" \\ \n'
