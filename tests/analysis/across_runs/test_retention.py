"""Where hits end: tokens that passed, counted by hand; limits, their exceptions, and what they say of LRU and TTL."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd
import pytest

from locust_kvcache.analysis.across_runs.retention import (
    BOTH,
    LRU,
    NEITHER,
    ONE,
    TTL,
    GapRun,
    Limit,
    find_limit,
    reported_share,
    returned_prompts,
    verdict,
)
from locust_kvcache.analysis.commands.retention import counts_of_others, foreign_text, lead
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.report.retention_tables import gpu_bracket, limit_text
from locust_kvcache.analysis.stats.intervals import share_interval
from locust_kvcache.workload.returns import Returns

RETURNS = Returns(1, 1, 4, 512, 1024.0)


def request(index: int, at_s: float, tokens: int, source: int | None = None, cached: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "request_index": index, "started_at_s": at_s, "e2e_ms": 100.0, "prompt_tokens": tokens, "planned_prompt_tokens": tokens,
        "shares_prefix_with": source, "reported_cached_tokens": cached, "ok": True, **more,
    }  # fmt: skip


def test_tokens_that_passed_count_each_prompt_once() -> None:
    """A (0) and B (1) are sent, then C (2); B returns (3), then A (4). Between A and its return: B 512, C 600, of B's return its end of
    256. Between B and its return: C alone, and A's return comes later."""
    records = pd.DataFrame([
        request(0, 10.0, 512), request(1, 11.0, 512), request(2, 12.0, 600), request(3, 13.0, 768, source=1, cached=512),
        request(4, 14.0, 768, source=0, cached=256),
    ])  # fmt: skip
    found, left_out = returned_prompts(records, RETURNS)
    assert left_out == 0
    assert found["gap_s"].tolist() == pytest.approx([1.9, 3.9])
    assert found["tokens"].tolist() == [600 + 256, 512 + 600 + 256 + 256]
    assert found["share"].tolist() == [1.0, 0.5]


def test_a_return_of_an_older_prompt_counts_whole() -> None:
    """A (0), then B (1); A returns (2) before B does (3): between B and its return A's 512 tokens were touched again, and its end."""
    records = pd.DataFrame(
        [request(0, 10.0, 512), request(1, 11.0, 512), request(2, 12.0, 768, 0, 512), request(3, 13.0, 768, 1, 512)]
    )
    found, _ = returned_prompts(records, RETURNS)
    assert found["tokens"].tolist() == [512 + 256, 768 + 256]


def test_returns_that_tell_nothing_are_left_out() -> None:
    """One came before the answer had ended (e2e 100 ms), one failed, the first sending of one failed."""
    records = pd.DataFrame([
        request(0, 10.0, 512), request(1, 10.05, 768, 0), request(2, 11.0, 512), request(3, 12.0, 768, 2, ok=False),
        request(4, 13.0, 512, ok=False), request(5, 14.0, 768, 4), request(6, 15.0, 512), request(7, 16.0, 768, 6, 512),
    ])  # fmt: skip
    found, left_out = returned_prompts(records, RETURNS)
    assert (len(found), left_out) == (1, 3)


def test_a_limit_lies_between_the_last_hit_and_the_first_loss() -> None:
    limit = find_limit([100, 200, 400, 900, 1600] * 4, [1, 1, 1, 0, 0] * 4)
    assert limit is not None
    assert limit.value == pytest.approx(600)  # the geometric middle of 400 and 900
    assert limit.low is not None
    assert limit.high is not None
    assert limit.low <= 400 < 900 <= limit.high
    assert (limit.count, limit.against) == (20, 0)


def test_exceptions_are_counted() -> None:
    """The best limit lies between 500 and 600: one loss before it, one hit after it."""
    limit = find_limit([100, 200, 300, 400, 500, 600, 700, 800, 900], [1, 0, 1, 1, 1, 0, 0, 0, 1])
    assert limit is not None
    assert (limit.count, limit.against) == (9, 2)
    assert limit.value == pytest.approx((500 * 600) ** 0.5)


def test_where_all_or_nothing_was_hit_the_limit_lies_outside() -> None:
    assert find_limit([10, 20], [1, 1]) == Limit(None, 20, None, 2, 0)
    assert find_limit([10, 20], [0, 0.4]) == Limit(None, None, 10, 2, 0)
    assert find_limit([10, 20], [float("nan")] * 2) is None
    assert limit_text(Limit(None, 20.0, None, 2, 0), "s") == "more than 20.0 s"
    assert limit_text(Limit(None, None, 10_000, 2, 0), "tokens") == "less than 10,000 tokens"
    assert limit_text(Limit(12.5, 12.0, None, 9, 0), "s") == "12.5 s [12.0, no upper end]"


def test_a_partly_evicted_prompt_is_hit_while_its_first_half_is_there() -> None:
    limit = find_limit([10, 20, 30, 40], [1, 0.5, 0.49, 0])
    assert limit is not None
    assert limit.value == pytest.approx((20 * 30) ** 0.5)


def around(value: float | None, low: float | None, high: float | None) -> Limit:
    return Limit(value, low, high, 20, 0)


SAME, FAR = [around(100, 90, 110), around(105, 95, 120)], [around(10, 9, 11), around(5, 4, 6)]


@pytest.mark.parametrize(
    ("tokens", "seconds", "expected"),
    [
        (SAME, FAR, LRU),
        (FAR, SAME, TTL),
        (SAME, SAME, BOTH),
        (FAR, FAR, NEITHER),
        (SAME[:1], FAR[:1], ONE),
        ([None, SAME[0]], [None, FAR[0]], ONE),
        ([around(None, 90, None), SAME[1]], [around(None, 9, None), FAR[1]], LRU),  # at the lower pressure all were hit
        ([around(None, 90, None)] * 2, [around(None, 9, None)] * 2, ONE),
    ],
)
def test_what_is_the_same_at_every_pressure(tokens: list[Limit | None], seconds: list[Limit | None], expected: str) -> None:
    assert verdict(tokens, seconds) == expected


def test_clopper_pearson() -> None:
    """All of n: the low end is (alpha / 2)^(1 / n); 4 of 10 by the published tables."""
    assert share_interval(12, 12) == (pytest.approx(0.025 ** (1 / 12)), 1.0)
    assert share_interval(0, 12) == (0.0, pytest.approx(1 - 0.025 ** (1 / 12)))
    assert share_interval(4, 10) == pytest.approx((0.1216, 0.7376), abs=1e-4)


def run(tokens: float, counted: float, reported: float) -> GapRun:
    returned = pd.DataFrame({"tokens_per_s": [1024.0], "gap_s": [4.0], "tokens": [tokens], "share": [reported]})
    return GapRun(RETURNS, returned, 0, counted, counted, reported, {}, {}, cast(RunInfo, None), {})


def test_the_gpu_caches_own_limit_is_undecided_where_a_longer_gap_was_hit_and_a_shorter_one_lost() -> None:
    assert gpu_bracket([run(3328, 0.75, 0.75), run(5760, 0.25, 0.25)]) == "3,328 to 5,760 tokens"
    assert gpu_bracket([run(3328, 0.75, 0.75), run(5760, 0.25, 0.25), run(9728, 1.0, 0.0)]) == "undecided"


def test_cached_tokens_that_no_answer_reported_are_other_requests_hits() -> None:
    """As seen on a real vLLM while a second client was on it: counted as all of the returning tokens, reported none."""
    assert not counts_of_others(run(3328, 0.75, 0.75))
    assert counts_of_others(run(9728, 1.0, 0.0))
    assert "counted 100 % of the returning tokens as cached, and the answers reported 0.0 %" in foreign_text(run(9728, 1.0, 0.0))


def test_the_reported_share_is_unknown_where_an_answer_tells_nothing() -> None:
    told = [request(0, 10.0, 512), request(1, 11.0, 768, 0, 256)]
    assert reported_share(pd.DataFrame(told), 512) == 0.5
    assert reported_share(pd.DataFrame([*told, request(2, 12.0, 768, 0, float("nan"))]), 512) is None


@pytest.mark.parametrize(
    ("tokens", "seconds", "said"),
    [
        (
            Limit(4000.0, 3900.0, 4200.0, 9, 0),
            Limit(10.0, 9.0, 11.0, 9, 0),
            "At 400 new tokens/s hits end after 10.0 s [9.00, 11.0], 4,000 tokens",
        ),
        (
            Limit(None, 1096.0, None, 9, 0),
            Limit(None, 2.74, None, 9, 0),
            "At 400 new tokens/s prompts were still hit 2.74 s and 1,100 tokens later, and no",
        ),
        (
            Limit(None, None, 1096.0, 9, 0),
            Limit(None, None, 2.74, 9, 0),
            "At 400 new tokens/s hits end after less than 2.74 s, less than 1,100 tokens",
        ),
    ],
)
def test_where_every_return_hit_the_answer_names_the_longest_gap(tokens: Limit, seconds: Limit, said: str) -> None:
    """2.74 s at 400 tokens/s are 1,096 tokens: no end of hits is claimed where none was seen."""
    assert lead([(400.0, tokens, seconds)], ONE).startswith(said)
