"""What was recorded on real H200s, through the whole analysis: what was healthy is named so, and what no client could see is found."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.tables.store_cost import cost_row, has_store
from locust_kvcache.analysis.tables.table import find
from tests.analysis.recorded import recorded_run

pytestmark = pytest.mark.slow
MOONCAKE = "qwen2.5-72b-fp8_tp1_vllm0.26_mooncake-store-tcp_arms.jsonl"
LMCACHE = "qwen2.5-72b-fp8_tp1_vllm0.26_lmcache-cpu_arms.jsonl"
NAIVE_PD = "qwen2.5-72b-fp8_pd-2xH200_mooncake-store-tcp_naive.jsonl"
Stats = dict[str, Any]
Analysed = Callable[..., Analysis]


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    """The analysis of a recorded file, made once."""

    @functools.cache
    def analyse(name: str, deployment: str | None = None) -> Analysis:
        return analyse_folder(recorded_run(tmp_path_factory.mktemp("recorded") / "run", name, deployment))

    return analyse


def verdicts(stats: Stats, scenario: str) -> list[str]:
    return [row["verdict"] for row in find(stats["verdicts"], scenario=scenario)]


def problems(stats: Stats, code: str) -> list[str]:
    return [row["text"] for row in stats["problems"] if row["code"] == code]


@pytest.mark.parametrize("name", [MOONCAKE, LMCACHE])
@pytest.mark.parametrize("length", ["n4096", "n16384", "n30000"])
def test_healthy_arms_are_named_by_what_answered(analysed: Analysed, name: str, length: str) -> None:
    stats = analysed(name).stats
    assert verdicts(stats, length) == ["cold proven", "GPU hit", "hit below the GPU"]
    assert not [code for code in ("wrong_tier", "partial_hit", "contaminated", "no_hand_off") if problems(stats, code)]


def test_load_rates_of_a_tcp_store_and_an_impossible_one(analysed: Analysed) -> None:
    """By hand: (30,000 - 16) * 327,680 B / (3,394 - 301 ms) = 3.2 GB/s; LMCache's 97 GB/s is more than PCIe 5 x16 carries."""
    store = analysed(MOONCAKE).stats
    (rate,) = find(store["load_rates"], scenario="n30000")
    assert rate["gb_per_s"] == pytest.approx(29_984 * 327_680 / (3.3944 - 0.3006) / 1e9, rel=0.01)
    assert rate["plausible"]
    host = analysed(LMCACHE).stats
    (rate,) = find(host["load_rates"], scenario="n30000")
    assert rate["gb_per_s"] == pytest.approx(29_952 * 327_680 / (0.22549 - 0.12616) / 1e9, rel=0.01)
    assert not rate["plausible"]
    assert any("98.8 GB/s; the link carries 63" in text for text in problems(host, "load_rate"))


def test_the_stores_put_makes_cold_slower(analysed: Analysed) -> None:
    """30,000 tokens: 9,287 ms cold with the store's put, 5,331 ms with LMCache in host memory: shown beside the gain of a hit."""
    host, store = (analysed(n).stats for n in (LMCACHE, MOONCAKE))
    assert has_store(store)
    row = cost_row(host, store, "n30000")
    assert row
    assert row["cold_ms"] == pytest.approx(5331, abs=1)
    assert row["cost_ms"] == pytest.approx(9287 - 5331, abs=1)


def test_a_decoder_that_computes_everything_again(analysed: Analysed) -> None:
    stats = analysed(NAIVE_PD, "pd").stats
    texts = problems(stats, "no_hand_off")
    assert any("32,768 prompt tokens in round 1 of n16384 (16,384 per request)" in text for text in texts)
    assert not any("round 2" in text for text in texts)  # there the decoder's own cache held the prompt
    parts = find(stats["ttft_parts"], scenario="n16384", round=1)
    assert [row["part"] for row in parts if row["role"] == "decoder"][-2] == "prefill once more (no hand-off)"
    assert sum(row["ms"] for row in parts) == pytest.approx((4753.158 + 4739.678) / 2, abs=0.01)


def test_a_reset_that_was_refused_shows_in_the_tier(analysed: Analysed) -> None:
    stats = analysed(NAIVE_PD, "pd").stats
    assert verdicts(stats, "n16384") == ["cold proven", "GPU hit", "GPU hit"]
    (text,) = [text for text in problems(stats, "wrong_tier") if "n16384" in text]
    assert "Round 3 of n16384 was to be a store_hit, but is a GPU hit" in text


def test_a_partial_store_hit(analysed: Analysed) -> None:
    """30,000 tokens, of which the store gave 8,272."""
    stats = analysed(NAIVE_PD, "single").stats
    row = find(stats["verdicts"], scenario="n30000", round=3)[0]
    assert row["verdict"] == "partial store hit"
    assert "8,272 from below, 21,728 computed; an ideal cache would have served 29,984" in row["text"]
    assert any("Round 3 of n30000 hit less than planned" in text for text in problems(stats, "partial_hit"))
    (efficiency,) = stats["transfer_efficiency"]
    assert efficiency["bytes_per_token"] == pytest.approx(2_710_568_960 / 8272)  # 327,680: exactly the model's
    assert efficiency["of_kv_bytes"] == pytest.approx(1.0)
    parts = {row["part"]: row for row in find(stats["ttft_parts"], scenario="n30000", round=3)}
    assert parts["KV load"]["ms"] == pytest.approx(899.8, abs=0.1)  # the queue time, of which a round without loads had nothing
    assert parts["KV load"]["known"] == "estimate"


def test_stage_sums_are_within_5_percent_of_the_clients_ttft(analysed: Analysed) -> None:
    """Cold PD at 16,384 tokens: P 2,326 ms and D 2,380 ms are 99 % of the client's 4,746 ms."""
    stats = analysed(NAIVE_PD, "pd").stats
    rows = find(stats["ttft_parts"], scenario="n16384", round=1)
    rest = sum(row["ms"] for row in rows if row["known"] == "rest")
    assert 0 < rest < 0.05 * sum(row["ms"] for row in rows)


def test_records_say_what_answered_them(analysed: Analysed) -> None:
    requests = analysed(MOONCAKE).requests
    found = requests[requests["scenario"].eq("n4096")].groupby("round")["answered_by"].unique()
    assert [list(values) for values in found] == [["computed"], ["gpu"], ["below"]]
    assert set(requests.loc[requests["round"].eq(3), "verdict"]) == {"hit below the GPU"}


def test_a_decoder_that_loaded_a_part_lies_by_that_part(tmp_path: Path) -> None:
    """As on a real PD pair on CPU: the decoder reported 3,200 of each cold prompt as cached, of which the prefiller had found nothing."""
    folder = recorded_run(tmp_path / "run", NAIVE_PD, "pd")
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    for record in records:
        if record["round"] == 1:
            record["reported_cached_tokens"] = 3200
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    analysis = analyse_folder(folder)
    (text,) = problems(analysis.stats, "cached_tokens_lie")
    assert "In round 1 of n16384 the responses reported 6,400 cached tokens, but the prefiller found 0" in text
    assert not problems(analysis.stats, "not_cold")
    assert analysis.requests["reported_cached_tokens"].isna().all()
    assert verdicts(analysis.stats, "n16384")[0] == "cold proven"
