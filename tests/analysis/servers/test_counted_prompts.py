"""A metrics page that does not move with the load: another server's, or a gateway that answered by itself."""

from __future__ import annotations

import pandas as pd
import pytest

from locust_kvcache.analysis.cache import run_claims
from locust_kvcache.analysis.cache.round_facts import idle_scenarios, shared_rounds, unseen_rounds
from locust_kvcache.analysis.servers.counted_prompts import counted_prompts


def changed(*deltas: tuple[int, str, str, float]) -> pd.DataFrame:
    rows = [("s", number, role, "http://x/metrics", metric, "", delta) for number, role, metric, delta in deltas]
    return pd.DataFrame(rows, columns=["scenario", "round", "role", "url", "metric", "labels", "delta"])


ROUNDS = pd.DataFrame(
    {"scenario": ["s", "s"], "round": [1, 2], "prompt_tokens": [1000.0, 1000.0], "requests": [10, 10], "failed": [0, 0]}
)
PROMPTS = "vllm:prompt_tokens_total"
TIERS = ["scenario", "round", "role", "gpu", "external", "computed", "engines"]


def test_a_gateway_that_answers_by_itself_is_seen_by_counters_that_stand_still() -> None:
    counted = counted_prompts(changed((1, "server", PROMPTS, 1000.0), (2, "server", PROMPTS, 0.0)), ROUNDS)
    assert counted["seen_share"].tolist() == [1.0, 0.0]
    assert unseen_rounds(counted) == {("s", 2)}
    assert idle_scenarios(counted) == set()


@pytest.mark.parametrize("tiers", [[], [("s", 2, "server", 0.0, 0.0, 900.0, 1)]])
def test_tiers_of_rounds_that_no_server_saw_are_an_empty_table_with_its_columns(tiers: list[tuple[object, ...]]) -> None:
    counted = counted_prompts(changed((1, "server", PROMPTS, 0.0), (2, "server", PROMPTS, 0.0)), ROUNDS)
    table = pd.DataFrame(tiers, columns=["scenario", "round", "role", "gpu", "external", "computed", "engines"])
    left = run_claims.trusted(table, counted, ROUNDS)
    assert left.empty
    assert list(left.columns) == list(table.columns)


def test_a_page_that_never_moves_is_another_servers() -> None:
    counted = counted_prompts(changed((1, "server", PROMPTS, 12.0), (2, "server", PROMPTS, 0.0)), ROUNDS)
    assert idle_scenarios(counted) == {"s"}


def test_the_prefiller_meets_every_prompt_and_other_counters_say_nothing() -> None:
    both = changed((1, "decoder", PROMPTS, 0.0), (1, "prefiller", PROMPTS, 900.0), (2, "server", "vllm:preemptions_total", 0.0))
    counted = counted_prompts(both, ROUNDS)
    assert counted["round"].tolist() == [1]
    assert counted["seen_share"].iloc[0] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("role", "counted_tokens", "failed", "left"),
    [
        ("server", 1240.0, 0, [1]),  # less than a quarter beyond what was sent
        ("server", 1540.0, 0, []),
        ("server", 1540.0, 3, [1]),  # 3 of 10 failed, whose tokens the server counted: 7 requests sent 1,000, 10 about 1,430
        ("server", 2000.0, 3, []),
        ("prefiller", 1540.0, 0, [1]),  # a decoder's cached tokens would take its place
    ],
)
def test_counters_that_met_other_requests_too_are_no_evidence(
    role: str, counted_tokens: float, failed: int, left: list[int]
) -> None:
    """The warning names the share, and the tiers of that round are gone, so what the answers report decides."""
    rounds = ROUNDS.assign(failed=[failed, 0])
    counted = counted_prompts(changed((1, role, PROMPTS, counted_tokens)), rounds)
    tiers = pd.DataFrame(
        [("s", 1, role, 500.0, 0.0, 900.0, 1)], columns=["scenario", "round", "role", "gpu", "external", "computed", "engines"]
    )
    assert run_claims.trusted(tiers, counted, rounds)["round"].tolist() == left
    assert shared_rounds(counted, rounds) == (set() if left else {("s", 1)})
    codes = [problem.code for problem in run_claims.evidence_problems(counted, rounds)]
    assert codes == ([] if left else ["shared_servers"])


PART = [(1, "server", PROMPTS, 330.0), (2, "server", PROMPTS, 360.0)]  # one engine of three


@pytest.mark.parametrize(("reported", "left"), [(910.0, []), (None, [1, 2])])
def test_one_engine_of_several_is_no_evidence_where_the_answers_tell_of_all(reported: float | None, left: list[int]) -> None:
    rounds = ROUNDS.assign(reported_cached_tokens=pd.Series([reported] * 2, dtype=object))
    counted = counted_prompts(changed(*PART), rounds)
    tiers = pd.DataFrame([("s", number, "server", 300.0, 0.0, 30.0, 1) for number in (1, 2)], columns=TIERS)
    assert run_claims.trusted(tiers, counted, rounds)["round"].tolist() == left
    codes = [(problem.code, problem.text) for problem in run_claims.evidence_problems(counted, rounds)]
    assert [code for code, _ in codes] == ["seen_in_part"] * 2
    assert "counted 33.0 % of the prompt tokens that were sent; engines whose pages are not listed" in codes[0][1]


def test_a_prefiller_of_several_stays_the_evidence() -> None:
    """What the answers report in its place is the decoder's."""
    rounds = ROUNDS.assign(reported_cached_tokens=990.0)
    counted = counted_prompts(changed((1, "prefiller", PROMPTS, 500.0)), rounds)
    tiers = pd.DataFrame([("s", 1, "prefiller", 300.0, 0.0, 200.0, 1)], columns=TIERS)
    assert len(run_claims.trusted(tiers, counted, rounds)) == 1


@pytest.mark.parametrize(
    ("first", "second", "idle"),
    [
        (80.0, 120.0, {"s"}),  # one engine of ten, by chance above a tenth
        (500.0, 0.0, set()),  # a gateway that keeps answers
        (1000.0, 90.0, set()),
    ],
)
def test_one_engine_of_many_is_no_gateway_that_answers_by_itself(first: float, second: float, idle: set[str]) -> None:
    counted = counted_prompts(changed((1, "server", PROMPTS, first), (2, "server", PROMPTS, second)), ROUNDS)
    assert idle_scenarios(counted) == idle
