"""Verdicts by hand-made counters: cold, contaminated, which tier answered, and what no client can see."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.cache import arm_effects, tier_verdicts
from locust_kvcache.analysis.cache.never_stored import never_stored
from locust_kvcache.analysis.reading.run_json import parse_run_info
from locust_kvcache.analysis.servers import hidden_failures
from locust_kvcache.analysis.servers.kv_transfers import COLUMNS

BLOCK = 16
INFO: dict[str, Any] = {"rounds": [], "command": ["locust"]}
RUN = parse_run_info(INFO)
TRAFFIC = pd.DataFrame(columns=COLUMNS)


def rounds(*numbers: int, reported: float | None = None, planned: float = 0.0, **more: Any) -> pd.DataFrame:
    rows = [
        {"scenario": "s", "round": n, "succeeded": 10, "prompt_tokens": 40_000.0, "reported_cached_tokens": reported,
         "planned_cached_tokens": planned, "failed_by_status": {}, **more}
        for n in numbers
    ]  # fmt: skip
    return pd.DataFrame(rows)


def tiers(*rows: tuple[int, str, float, float, float], engines: int = 1) -> pd.DataFrame:
    columns = ["scenario", "round", "role", "gpu", "external", "computed"]
    return pd.DataFrame([("s", *row) for row in rows], columns=columns).assign(engines=engines)


def traffic(operation: str, moved: float, failed: float = 0.0, number: int = 1) -> pd.DataFrame:
    kind = {"load_get": "load", "save_put": "save"}[operation]
    row = ("s", number, "server", "Mooncake store", operation, kind, moved, 1.0, None, failed, False)
    return pd.DataFrame([row], columns=COLUMNS)


def one(table: pd.DataFrame, info: dict[str, Any] = INFO, tier_rows: Any = (), moves: pd.DataFrame = TRAFFIC) -> dict[str, Any]:
    return dict(tier_verdicts.judge(table, parse_run_info(info), tiers(*tier_rows), moves, BLOCK).iloc[-1])


@pytest.mark.parametrize(
    ("cached", "planned", "wanted"),
    [
        (0.0, 0.0, tier_verdicts.COLD),
        (160.0, 0.0, tier_verdicts.COLD),  # a block for each of the 10 requests may be cached
        (161.0, 0.0, tier_verdicts.CONTAMINATED),
        (30_000.0, 30_000.0, tier_verdicts.COLD),  # shared within the round, as planned
        (30_161.0, 30_000.0, tier_verdicts.CONTAMINATED),
    ],
)
def test_cold_by_counters(cached: float, planned: float, wanted: str) -> None:
    found = one(rounds(1, planned=planned), tier_rows=[(1, "server", cached, 0.0, 40_000.0 - cached)])
    assert found["verdict"] == wanted
    assert found["evidence"] == "counters of the server"


def test_contamination_says_how_much_and_from_where() -> None:
    table = rounds(1)
    judged = tier_verdicts.judge(table, RUN, tiers((1, "server", 1_000.0, 7_000.0, 32_000.0)), TRAFFIC, BLOCK)
    assert judged["text"].iloc[0] == (
        "8,000 more tokens were cached than the round itself can explain: 1,000 from the GPU cache, 7,000 from below"
    )
    assert [problem.code for problem in tier_verdicts.problems_of(judged, tiers())] == ["contaminated"]


def test_without_evidence_cold_is_by_nonce_and_a_given_nonce_proves_nothing() -> None:
    assert one(rounds(1))["verdict"] == tier_verdicts.BY_NONCE
    assert one(rounds(1), {"rounds": [], "command": ["locust", "--nonce", "ab"]})["verdict"] == tier_verdicts.UNKNOWN


def test_reported_tokens_are_evidence_where_there_are_no_counters() -> None:
    assert one(rounds(1, reported=0.0))["verdict"] == tier_verdicts.COLD
    assert one(rounds(1, reported=30_000.0))["verdict"] == tier_verdicts.CONTAMINATED
    assert one(rounds(2, reported=30_000.0))["verdict"] == "hit, tier unknown"
    assert one(rounds(2))["verdict"] == tier_verdicts.UNKNOWN


def test_under_pd_the_prefiller_counts_and_not_the_decoder() -> None:
    rows = [(1, "decoder", 0.0, 39_990.0, 10.0), (1, "prefiller", 0.0, 0.0, 40_000.0)]
    assert one(rounds(1, reported=39_990.0), tier_rows=rows)["verdict"] == tier_verdicts.COLD


@pytest.mark.parametrize(
    ("gpu", "below", "moves", "verdict", "tier"),
    [
        (36_000.0, 0.0, TRAFFIC, "GPU hit", "gpu"),
        (0.0, 36_000.0, traffic("load_get", 1e9, number=2), "store hit", "store"),
        (0.0, 36_000.0, TRAFFIC, "hit below the GPU", "below"),
        (18_000.0, 18_000.0, TRAFFIC, "hit from several tiers", "mixed"),
        (100.0, 0.0, TRAFFIC, tier_verdicts.NO_HIT, None),
    ],
)
def test_a_hit_is_named_by_the_tier_that_answered(
    gpu: float, below: float, moves: pd.DataFrame, verdict: str, tier: str | None
) -> None:
    found = one(rounds(2), tier_rows=[(2, "server", gpu, below, 40_000.0 - gpu - below)], moves=moves)
    assert (found["verdict"], found["tier"]) == (verdict, tier)


def test_a_store_arm_that_the_gpu_answered_is_a_warning() -> None:
    info = {**INFO, "rounds": [{"scenario": "s", "round": 3, "arm": "store_hit"}]}
    judged = tier_verdicts.judge(rounds(3), parse_run_info(info), tiers((3, "server", 36_000.0, 0.0, 4_000.0)), TRAFFIC, BLOCK)
    (problem,) = tier_verdicts.problems_of(judged, tiers())
    assert problem.code == "wrong_tier"
    assert "was to be a store_hit, but is a GPU hit" in problem.text
    judged = tier_verdicts.judge(rounds(3), parse_run_info(info), tiers((3, "server", 0.0, 0.0, 40_000.0)), TRAFFIC, BLOCK)
    assert [problem.code for problem in tier_verdicts.problems_of(judged, tiers())] == ["arm_not_hit"]


@pytest.mark.parametrize(("cached", "verdict"), [(32_400.0, "GPU hit"), (32_240.0, "GPU hit"), (32_239.0, "partial GPU hit")])
def test_a_hit_well_below_the_plan_is_partial(cached: float, verdict: str) -> None:
    """90 % of the planned 36,000 tokens, less a block for each of the 10 requests: 32,240."""
    info = {**INFO, "rounds": [{"scenario": "s", "round": 2, "arm": "gpu_hit"}]}
    judged = tier_verdicts.judge(
        rounds(2, planned=36_000.0), parse_run_info(info), tiers((2, "server", cached, 0.0, 40_000.0 - cached)), TRAFFIC, BLOCK
    )
    assert judged["verdict"].iloc[0] == verdict
    assert [problem.code for problem in tier_verdicts.problems_of(judged, tiers())] == ["partial_hit"] * (verdict != "GPU hit")


@pytest.mark.parametrize("engines", [1, 2])
def test_a_partial_hit_names_the_engines_that_share_the_requests(engines: int) -> None:
    found = tiers((2, "server", 20_000.0, 0.0, 20_000.0), engines=engines)
    (problem,) = tier_verdicts.problems_of(tier_verdicts.judge(rounds(2, planned=36_000.0), RUN, found, TRAFFIC, BLOCK), found)
    assert problem.what_to_do.startswith("2 engines share the requests: ") == (engines == 2)


def test_the_canary_is_part_of_the_evidence() -> None:
    canary = {"prompt_tokens": 800, "gpu_tokens": 0.0, "external_tokens": 784.0, "computed_tokens": 16.0}
    info = {**INFO, "rounds": [{"scenario": "s", "round": 3, "arm": "store_hit", "canary": canary}]}
    found = one(rounds(3), info, tier_rows=[(3, "server", 0.0, 36_000.0, 4_000.0)])
    assert found["evidence"] == "counters of the server, a canary answered by a tier below and computing"


def test_failures_that_no_client_sees() -> None:
    rows = tiers((1, "prefiller", 0.0, 0.0, 40_000.0), (1, "decoder", 0.0, 36_000.0, 2_560.0))
    assert hidden_failures.hidden_failures(rounds(1), rows, TRAFFIC, BLOCK) == []  # 256 tokens per request: the rest of a chunk
    rows = tiers((1, "prefiller", 0.0, 0.0, 40_000.0), (1, "decoder", 0.0, 0.0, 40_000.0))
    table = rounds(1, failed_by_status={"no_output": 2})
    found = hidden_failures.hidden_failures(table, rows, traffic("save_put", 1e9, failed=2_301.0), BLOCK)
    assert [problem.code for problem in found] == ["no_hand_off", "store_failures", "empty_streams"]
    assert "4,000 per request" in found[0].text
    assert "2,301 transfers or keys failed in save_put (Mooncake store)" in found[1].text


def records() -> pd.DataFrame:
    """10 requests: 20 ms on a GPU hit (round 2), 120 ms on a store hit (round 3), with a little spread."""
    rows = [
        {"scenario": "s", "round": number, "request_index": i, "session_id": i, "ok": True, "started_at_s": 1.0 * i,
         "ttft_ms": ttft_ms + i % 3, "prefill_estimate_ms": 1.0, "e2e_ms": 1.0, "tpot_ms": 1.0, "itl_p50_ms": 1.0}
        for number, ttft_ms in ((2, 20.0), (3, 120.0))
        for i in range(10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_load_rate_is_the_difference_between_two_arms() -> None:
    """4,000 tokens in 100 ms more: 40,000 tokens/s; at 327,680 bytes each 13.1 GB/s."""
    judged = tier_verdicts.judge(
        rounds(2, 3), RUN, tiers((2, "server", 40_000.0, 0.0, 0.0), (3, "server", 0.0, 40_000.0, 0.0)), TRAFFIC, BLOCK
    )
    (row,) = arm_effects.load_rates(judged, records(), 327_680.0, 63.0).to_dict("records")
    assert row["tokens_per_s"] == pytest.approx(40_000)
    assert row["gb_per_s"] == pytest.approx(13.1072)
    assert row["plausible"]
    impossible = arm_effects.load_rates(judged, records(), 327_680.0, 12.5)
    (problem,) = arm_effects.implausible(impossible)
    assert "13.1 GB/s; the link carries 12" in problem.text


def rounds_of(*ttfts_ms: float, apart_s: float = 10.0) -> pd.DataFrame:
    """Rounds 1, 2, ... of ten requests at these TTFTs, each alone."""
    base = {"scenario": "s", "ok": True, "shares_prefix_with": None, "prefill_estimate_ms": 1.0, "e2e_ms": 1.0, "tpot_ms": 1.0}
    return pd.DataFrame([
        {**base, "round": number, "request_index": i, "session_id": i, "started_at_s": 1000.0 * number + apart_s * i,
         "ttft_ms": ttft_ms + i % 3, "itl_p50_ms": 1.0}
        for number, ttft_ms in enumerate(ttfts_ms, 1)
        for i in range(10)
    ])  # fmt: skip


def rates_of(found: pd.DataFrame) -> pd.DataFrame:
    judged = tier_verdicts.judge(
        rounds(1, 2, 3), RUN,
        tiers((1, "server", 0.0, 0.0, 40_000.0), (2, "server", 40_000.0, 0.0, 0.0), (3, "server", 0.0, 40_000.0, 0.0)), TRAFFIC, BLOCK,
    )  # fmt: skip
    return arm_effects.load_rates(judged, found, 327_680.0, 63.0)


def test_a_load_breaks_even_where_it_takes_as_long_as_computing() -> None:
    """4,000 tokens are 1.31 GB. Computing takes 80 ms more than a GPU hit: 16.4 GB/s; loading 100 ms more: 13.1 GB/s, too slow."""
    rates = rates_of(rounds_of(100.0, 20.0, 120.0))
    assert rates["break_even_gb_per_s"].iloc[0] == pytest.approx(16.384)
    (problem,) = arm_effects.below_break_even(rates)
    assert "loads 13.1 GB/s and would have to load more than 16.4 GB/s" in problem.text
    assert not arm_effects.below_break_even(rates_of(rounds_of(140.0, 20.0, 120.0)))


def test_a_queue_of_cold_requests_gives_no_break_even() -> None:
    rates = rates_of(rounds_of(100.0, 20.0, 120.0, apart_s=0.01))
    assert rates["break_even_gb_per_s"].isna().all()
    assert not arm_effects.below_break_even(rates)


@pytest.mark.parametrize(
    ("cached", "verdict"), [(0.0, tier_verdicts.NO_HIT), (1_360.0, tier_verdicts.NO_HIT), (30_000.0, "hit, tier unknown")]
)
def test_a_share_of_a_few_per_cent_is_no_hit(cached: float, verdict: str) -> None:
    """3.4 % of 40,000 prompt tokens are 1,360."""
    judged = tier_verdicts.judge(rounds(2, reported=cached), RUN, tiers(), TRAFFIC, BLOCK)
    assert judged["verdict"].iloc[0] == verdict
    assert [problem.code for problem in tier_verdicts.problems_of(judged, tiers())] == ["nothing_hit"] * (
        verdict == tier_verdicts.NO_HIT
    )


def test_a_control_round_is_judged_as_cold() -> None:
    info = {**INFO, "rounds": [{"scenario": "s", "round": 2, "kind": "control"}]}
    assert one(rounds(2, reported=0.0), info)["verdict"] == tier_verdicts.COLD


def test_missing_tokens_are_connected_to_requests_that_failed_before() -> None:
    """Request 0 failed in round 1: its 900 planned tokens could not be cached; request 1 was served all."""
    base = {"scenario": "s", "planned_cached_tokens": 900.0, "reported_cached_tokens": 900.0, "ok": True}
    made = pd.DataFrame([
        {**base, "round": 1, "request_index": 0, "ok": False}, {**base, "round": 1, "request_index": 1},
        {**base, "round": 2, "request_index": 0, "reported_cached_tokens": 0.0}, {**base, "round": 2, "request_index": 1},
    ])  # fmt: skip
    lost = never_stored(made)
    assert str(lost["s", 2]) == "900 of the missing tokens are those of 1 request that failed in round 1"
    found = tiers((2, "server", 20_000.0, 0.0, 20_000.0))
    judged = tier_verdicts.judge(rounds(2, planned=36_000.0), RUN, found, TRAFFIC, BLOCK)
    (problem,) = tier_verdicts.problems_of(judged, found, lost)
    assert problem.what_to_do.startswith("900 of the missing tokens are those of 1 request that failed in round 1: ")


def test_a_dead_store_that_slows_hits_on_the_gpu_is_said_in_one_sentence() -> None:
    judged = pd.DataFrame([{"scenario": "s", "round": 2, "tier": "gpu"}])
    times = pd.DataFrame([("s", "round", "1", "ttft_ms", 100.0), ("s", "round", "2", "ttft_ms", 470.0)],
                         columns=["scenario", "split", "group", "metric", "mean"])  # fmt: skip
    (problem,) = hidden_failures.slow_puts(judged, traffic("save_put", 0.0, failed=12.0), times)
    assert "took 4.7 times the cold TTFT, while puts to the Mooncake store failed" in problem.text
    assert hidden_failures.slow_puts(judged, traffic("save_put", 1e9), times) == []


def test_requests_that_load_at_once_have_no_load_rate_of_their_own() -> None:
    """10 requests that start together wait 120 to 122 ms each: 1.209 s of waiting in 0.122 s."""
    judged = tier_verdicts.judge(
        rounds(2, 3), RUN, tiers((2, "server", 40_000.0, 0.0, 0.0), (3, "server", 0.0, 40_000.0, 0.0)), TRAFFIC, BLOCK
    )
    (row,) = arm_effects.load_rates(judged, records().assign(started_at_s=0.0), 327_680.0, 63.0).to_dict("records")
    assert row["withheld"] == "10 requests waited for their first token at once, so the difference is not the time of one load"
    assert row["gb_per_s"] is None


def test_a_difference_that_could_be_nothing_bounds_no_load_rate() -> None:
    """Store hits that take 0.1 ms longer, with a spread of 2 ms: no rate; nor one that the connector's counters contradict."""
    judged = tier_verdicts.judge(
        rounds(2, 3), RUN, tiers((2, "server", 40_000.0, 0.0, 0.0), (3, "server", 0.0, 40_000.0, 0.0)), TRAFFIC, BLOCK
    )
    made = records()
    apart = 0.1 * made["round"].eq(3) * (1 - made["request_index"] % 2 * 2)
    close = made.assign(ttft_ms=20.0 + made["request_index"] % 3 + apart)
    (row,) = arm_effects.load_rates(judged, close, 327_680.0, None).to_dict("records")
    assert row["withheld"].startswith("loading cost -")
    assert pd.isna(row["gb_per_s"])
    counted = traffic("load_get", 1e8, number=3).assign(gb_per_s=0.1)
    (row,) = arm_effects.load_rates(judged, records(), 327_680.0, None, counted).to_dict("records")
    assert row["withheld"] == "the connector's own counters say 0.1 GB/s, the difference 13.1"
    assert row["plausible"] is None


@pytest.mark.parametrize(("nonce", "wanted"), [([], tier_verdicts.BY_NONCE), (["--nonce", "ab"], tier_verdicts.UNKNOWN)])
def test_one_engine_of_four_proves_no_round_cold(nonce: list[str], wanted: str) -> None:
    info = {"rounds": [], "command": ["locust", *nonce]}
    found = one(rounds(1), info, tier_rows=[(1, "server", 0.0, 0.0, 10_000.0)])
    assert found["verdict"] == wanted
    assert "engines that got 25.0 % of the prompt tokens; there is no evidence for the rest" in found["text"]
    assert one(rounds(1), info, tier_rows=[(1, "server", 900.0, 0.0, 9_100.0)])["verdict"] == tier_verdicts.CONTAMINATED


def test_the_hit_rate_of_one_engine_of_four_is_of_what_it_got() -> None:
    """9,000 of its 10,000 tokens were cached, not of the 40,000 that were sent; an ideal cache has 9,250 of them."""
    found = one(rounds(1, 2, planned=37_000.0), tier_rows=[(2, "server", 9_000.0, 0.0, 1_000.0)])
    assert found["verdict"] == "GPU hit"
    assert found["text"].startswith("90.0 % of the prompt tokens came from a cache: 9,000 from the GPU cache")
    less = one(rounds(1, 2, planned=37_000.0), tier_rows=[(2, "server", 5_000.0, 0.0, 5_000.0)])
    assert less["verdict"] == "partial GPU hit"
    assert less["text"].endswith("an ideal cache would have served 9,250")
