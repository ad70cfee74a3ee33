"""Engines that come, go or are started again within a round: what each of their processes counted, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.analysis.servers.engine_lives import JOINED, LEFT, RESTARTED, lives_problems, with_lives
from locust_kvcache.analysis.servers.server_counters import deltas, series, tiers
from locust_kvcache.contract.several_servers import STARTED

PROMPT, HITS = 'vllm:prompt_tokens_total{engine="0"}', 'vllm:prefix_cache_hits_total{engine="0"}'
RUNNING = "vllm:num_requests_running"
BEGUN_S, URL, OTHER = 1000.0, "http://e2/metrics", "http://e1/metrics"
OLD, NEW = 500.0, 1015.0  # start times


def look(at_s: float, when: str, prompt: float | None, started: float | None = OLD, url: str = URL) -> dict[str, Any]:
    """A page with a tenth of its prompt tokens hit; None: it did not answer."""
    row: dict[str, Any] = {"at_s": BEGUN_S + at_s, "scenario": "s", "round": 1, "when": when, "role": "server", "url": url}
    if prompt is None:
        return {**row, "ok": False, "samples": {}}
    samples = {PROMPT: prompt, HITS: prompt / 10, RUNNING: 3.0} | ({STARTED: started} if started else {})
    return {**row, "ok": True, "samples": samples}


STEADY = [look(0, "before", 100, url=OTHER), look(10, "during", 500, url=OTHER), look(30, "after", 1100, url=OTHER)]
KILLED = [look(0, "before", 100), look(10, "during", 400), look(12, "during", None), look(30, "after", None)]
AWAY = [look(0, "before", 100), look(10, "during", 400), look(14, "during", None)]
AGAIN = [*AWAY, look(20, "during", 50, NEW), look(30, "after", 250, NEW)]
NEWCOMER = [look(0, "before", None), look(10, "during", None), look(20, "during", 50, NEW), look(30, "after", 250, NEW)]
VISITOR = [look(0, "before", None), look(20, "during", 50, NEW), look(25, "during", 250, NEW), look(30, "after", None)]


@pytest.mark.parametrize(
    ("rows", "grown", "codes"),
    [
        (STEADY, None, []),
        (KILLED, 300.0, [LEFT]),  # 400 - 100
        (AGAIN, 550.0, [RESTARTED]),  # 400 - 100, and 250 from 0
        (NEWCOMER, 250.0, [JOINED]),
        (VISITOR, 250.0, [JOINED, LEFT]),
        ([*AGAIN[:-1], look(30, "after", None)], 350.0, [RESTARTED, LEFT]),  # 300, and 50 from 0
    ],
)
def test_what_its_processes_counted(rows: list[dict[str, Any]], grown: float | None, codes: list[str]) -> None:
    together = STEADY + (rows if rows is not STEADY else [])
    changed, problems = deltas(series(together))
    assert problems == []
    table = tiers(changed)
    total = 1000.0 + (grown or 0.0)
    assert (table["gpu"].sum(), table["computed"].sum()) == pytest.approx((total / 10, total * 9 / 10))
    assert [problem.code for problem in lives_problems(together, {URL: "e2"})] == codes
    for problem in lives_problems(together, {URL: "e2"}):
        assert problem.text.startswith("Engine e2 ")
        assert "round 1 of s" in problem.text


@pytest.mark.parametrize(
    "rows",
    [
        [look(0, "before", 1000), look(30, "after", 1250, NEW)],  # what it counted before is unknown
        [look(0, "before", 1000), look(20, "during", 50, NEW), look(30, "after", 1250, NEW)],
        [look(0, "before", None), look(20, "during", 900), look(30, "after", 1250)],  # it was there, and could not be reached
        [look(0, "before", 1000, None), look(10, "during", 50, None), look(30, "after", 1250, None)],  # tells no start
    ],
)
def test_what_cannot_be_known_is_left_as_it_is(rows: list[dict[str, Any]]) -> None:
    assert with_lives(rows) == rows
    assert lives_problems(rows, {}) == []
    changed, problems = deltas(series(rows))
    assert changed.empty
    assert len(problems) == 1


def test_no_gauge_is_made_up_and_no_other_round_is_touched() -> None:
    later = [{**row, "round": 2} for row in STEADY]
    found = with_lives([*STEADY, *KILLED, *later])
    assert found[: len(STEADY)] == STEADY
    assert [row for row in found if row["round"] == 2] == later
    (added,) = found[len(STEADY) + len(KILLED) + len(later) :]
    assert added["when"] == "after"
    assert RUNNING not in added["samples"]


def test_a_round_that_was_begun_twice_counts_from_its_last_beginning() -> None:
    twice = [look(-50, "before", 10, 100.0), look(-40, "during", 20, 100.0), *KILLED]
    assert [problem.code for problem in lives_problems(twice, {})] == [LEFT]
