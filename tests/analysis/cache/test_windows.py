"""Labels by evidence: a hand-made table of cases, one per rule."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from locust_kvcache.analysis.cache.windows import by_cached_tokens, check_evidence, is_racing, label_windows

NAN = math.nan


def frame(rows: list[dict]) -> pd.DataFrame:
    base = {"scenario": "s", "round": 1, "request_index": 0, "shares_prefix_with": NAN, "started_at_s": 0.0, "ttft_ms": 100.0,
            "prompt_tokens": 1000.0, "planned_cached_tokens": 0.0, "reported_cached_tokens": 0.0, "ok": True}  # fmt: skip
    return pd.DataFrame([{**base, **row} for row in rows])


@pytest.mark.parametrize(
    ("reported", "planned", "prompt", "label"),
    [
        (0, 0, 1000, "cold"),
        (3, 0, 1000, "cold"),  # a chat template's tokens: less than one block
        (15, 960, 1000, "cold"),
        (16, 960, 1000, "partial"),
        (943, 960, 1000, "partial"),
        (944, 960, 1000, "hit"),  # one block less than planned is still all that the plan allows
        (960, 960, 1000, "hit"),
        (484, 496, 1000, "hit"),  # half the prompt less a block, and all that could be cached
        (480, 480, 1000, "partial"),  # all that could be cached, and less than half of the prompt
        (32, 32, 1000, "partial"),  # 3.2 % of the prompt is no hit
        (992, 0, 1000, "hit"),  # nothing planned, all of it served: whatever filled the cache
        (500, 0, 1000, "partial"),
        (NAN, 960, 1000, "unknown"),
        (992, NAN, 1000, "hit"),  # no plan: against the whole prompt
        (500, NAN, NAN, "partial"),  # no usage: some of it came from the cache
    ],
)
def test_by_cached_tokens(reported: float, planned: float, prompt: float, label: str) -> None:
    row = frame([{"reported_cached_tokens": reported, "planned_cached_tokens": planned, "prompt_tokens": prompt}])
    assert by_cached_tokens(row, 16).tolist() == [label]


def race(first: dict, second: dict) -> list[bool]:
    rows = frame([{"request_index": 4, **first}, {"request_index": 9, "shares_prefix_with": 4.0, **second}])
    return is_racing(rows, by_cached_tokens(rows, 16)).tolist()


def test_racing_until_the_first_token_of_the_first_sharer() -> None:
    assert race({"started_at_s": 10.0, "ttft_ms": 500.0}, {"started_at_s": 10.4}) == [False, True]
    assert race({"started_at_s": 10.0, "ttft_ms": 500.0}, {"started_at_s": 10.6}) == [False, False]


def test_who_is_first_is_a_matter_of_the_clock() -> None:
    assert race({"started_at_s": 10.1}, {"started_at_s": 10.0, "ttft_ms": 500.0}) == [True, False]
    overtaken = {"started_at_s": 10.1, "reported_cached_tokens": 984.0}
    rows = frame([{"request_index": 4, **overtaken}, {"request_index": 9, "shares_prefix_with": 4.0, "started_at_s": 10.0}])
    assert check_evidence(rows, 16)[1] == []  # not a warm cache: the other one filled it


def test_not_racing_with_a_first_sharer_that_had_it_cached() -> None:
    hit = {"reported_cached_tokens": 992.0, "planned_cached_tokens": 992.0, "round": 2}
    assert race({**hit, "started_at_s": 10.0, "ttft_ms": 500.0}, {**hit, "started_at_s": 10.1}) == [False, False]


def test_not_racing_across_rounds_or_without_a_first_token() -> None:
    assert race({"started_at_s": 10.0, "round": 1}, {"started_at_s": 10.01, "round": 2}) == [False, False]
    assert race({"started_at_s": 10.0, "ttft_ms": NAN}, {"started_at_s": 10.01}) == [False, False]


def test_without_evidence_only_round_one_can_race() -> None:
    unknown = {"reported_cached_tokens": NAN}
    for number, racing in ((1, True), (2, False)):
        first = {**unknown, "round": number, "started_at_s": 10.0, "ttft_ms": 500.0}
        assert race(first, {**unknown, "round": number, "started_at_s": 10.1}) == [False, racing]


def test_precedence_and_nothing_dropped() -> None:
    rows = frame([{"request_index": i, "started_at_s": float(i)} for i in range(4)])
    rows.loc[3, "ok"] = False
    labelled = label_windows(rows, 16)
    assert labelled["window"].tolist() == ["cold", "cold", "cold", "failed"]
    assert labelled["round_window"].tolist() == ["cold", "cold", "cold", "failed"]


def test_cached_tokens_of_a_pd_decoder_are_rejected() -> None:
    rows = frame([{"request_index": i, "reported_cached_tokens": 984.0} for i in range(5)])
    believed, problems = check_evidence(rows, 16)
    assert believed["reported_cached_tokens"].isna().all()
    assert [problem.code for problem in problems] == ["cached_tokens_lie"]
    assert label_windows(believed, 16)["window"].eq("unknown").all()


def test_one_warm_request_is_a_warning_not_a_lie() -> None:
    rows = frame([{"request_index": i, "reported_cached_tokens": 984.0 if i == 0 else 0.0} for i in range(5)])
    believed, problems = check_evidence(rows, 16)
    assert believed["reported_cached_tokens"].notna().all()
    assert [problem.code for problem in problems] == ["not_cold"]


def test_a_rounds_kind_and_not_its_number_says_what_it_is() -> None:
    rows = frame([{"request_index": 0, "round": number} for number in (1, 2, 3)])
    assert label_windows(rows, 16)["round_window"].tolist() == ["cold", "hit", "hit"]
    told = rows.assign(round_kind=["cold", "control", None])
    assert label_windows(told, 16)["round_window"].tolist() == ["cold", "control", "hit"]
