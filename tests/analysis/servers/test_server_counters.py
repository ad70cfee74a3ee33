"""The servers' counters as deltas around rounds, by hand; names as vLLM 0.33 and the Mooncake connector write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from tests.analysis.synthetic import Truth, synthetic_run

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=4, turns=5)
SOURCE = 'vllm:prompt_tokens_by_source_total{{engine="{engine}",model_name="m",source="{source}"}}'


def samples(computed: float, gpu: float, external: float, requests: float, prefill_s: float, queue_s: float) -> dict[str, float]:
    halves = {}
    for engine in (0, 1):  # two engines of one server: their counters add up
        for source, tokens in (("local_compute", computed), ("local_cache_hit", gpu), ("external_kv_transfer", external)):
            halves[SOURCE.format(engine=engine, source=source)] = tokens / 2
    times = {"prefill": prefill_s, "queue": queue_s}
    for stage, seconds in times.items():
        halves[f"vllm:request_{stage}_time_seconds_sum"] = seconds
        halves[f"vllm:request_{stage}_time_seconds_count"] = requests
    halves['vllm:mooncake_store_operation_bytes_total{operation="load_get"}'] = external * 1e6
    halves['vllm:mooncake_store_operation_time_seconds_sum{operation="load_get"}'] = external / 1000
    return {**halves, "vllm:kv_cache_usage_perc": 0.25}


def scrape(number: int, when: str, values: dict[str, float], role: str = "server") -> dict:
    at_s = 1_700_000_000.0 + 100 * number + (50 if when == "after" else 0)
    return {"at_s": at_s, "role": role, "url": f"http://{role}/metrics", "scenario": TRUTH.scenario, "round": number, "when": when,
            "ok": True, "error": None, "samples": values}  # fmt: skip


def analysed(tmp_path: Path, scrapes: list[dict]) -> Analysis:
    folder = synthetic_run(tmp_path, TRUTH)
    (folder / "server_metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scrapes))
    return analyse_folder(folder)


# the client was told 16 * 4000 = 64,000 cached tokens in round 1, and 20 * 4080 = 81,600 in round 2
ROUNDS = [
    scrape(1, "before", samples(1000, 500, 0, 10, 5.0, 0.5)),
    scrape(1, "after", samples(1000 + 17_920, 500 + 60_000, 4000, 30, 5.0 + 3.0, 0.5 + 0.2)),
    scrape(2, "before", samples(18_920, 60_500, 4000, 30, 8.0, 0.7)),
    scrape(2, "after", samples(18_920 + 320, 60_500 + 81_600, 4000, 50, 8.0 + 0.1, 0.7)),
]


def test_tiers_stages_and_agreement(tmp_path: Path) -> None:
    stats = analysed(tmp_path, ROUNDS).stats
    assert [(row["gpu"], row["external"], row["computed"]) for row in stats["tiers"]] == [
        (60_000, 4000, 17_920),
        (81_600, 0, 320),
    ]
    assert [row["engines"] for row in stats["tiers"]] == [2, 2]
    first, second = stats["stages"]
    assert first["prefill_ms"] == pytest.approx(3000 / 20)
    assert (first["queue_ms"], second["prefill_ms"]) == (pytest.approx(10), pytest.approx(5))
    assert [row["server_cached_tokens"] for row in stats["server_counts"]] == [64_000, 81_600]
    assert [row["client_cached_tokens"] for row in stats["server_counts"]] == [64_000, 81_600]
    assert "cached_tokens_disagree" not in {problem["code"] for problem in stats["problems"]}
    grown = {(row["round"], row["metric"], row["of"]): row["delta"] for row in stats["counters"]}
    assert grown[1, "vllm:prompt_tokens_by_source_total", "local_cache_hit"] == 60_000
    assert grown[1, "vllm:request_prefill_time_seconds_sum", ""] == pytest.approx(3.0)
    [load] = [row for row in stats["transfers"] if row["bytes"]]
    assert load["gb_per_s"] == pytest.approx(4e9 / 4 / 1e9)


def test_client_and_servers_disagree(tmp_path: Path) -> None:
    scrapes = [dict(row) for row in ROUNDS]
    scrapes[3] = scrape(2, "after", samples(90_000, 70_500, 4000, 50, 8.1, 0.7))
    problems = analysed(tmp_path, scrapes).stats["problems"]
    [problem] = [problem for problem in problems if problem["code"] == "cached_tokens_disagree"]
    assert "counted 10,000 cached tokens, the answers reported 81,600" in problem["text"]


def test_a_server_that_was_started_again(tmp_path: Path) -> None:
    scrapes = [*ROUNDS[:3], scrape(2, "after", samples(10, 20, 0, 1, 0.1, 0.0))]
    stats = analysed(tmp_path, scrapes).stats
    assert [problem["code"] for problem in stats["problems"]] == ["counter_reset"]
    assert [row["round"] for row in stats["tiers"]] == [1]


def test_evictions_are_counted_and_a_store_that_was_started_again_is_named(tmp_path: Path) -> None:
    pages = [
        {"master_evicted_key_count": 5.0, "master_key_count": 90.0, "master_put_start_requests_total": 40.0},
        {"master_evicted_key_count": 12.0, "master_key_count": 60.0, "master_put_start_requests_total": 70.0},
    ]
    scrapes = [scrape(1, when, page, "mooncake_master") for when, page in zip(("before", "after"), pages, strict=True)]
    stats = analysed(tmp_path, scrapes).stats
    assert {row["metric"]: row["delta"] for row in stats["counters"]} == {
        "master_evicted_key_count": 7.0, "master_put_start_requests_total": 30.0}  # fmt: skip
    assert not stats["problems"]  # fewer keys are no restart
    scrapes[1]["samples"] = {**pages[1], "master_put_start_requests_total": 3.0}
    assert [problem["code"] for problem in analysed(tmp_path, scrapes).stats["problems"]] == ["counter_reset"]


def test_the_prefillers_count_is_the_true_one(tmp_path: Path) -> None:
    decoder = [scrape(n, when, samples(0, 0, 500_000 * n * (when == "after") + 500_000 * (n - 1), 1, 1, 0), "decoder")
               for n in (1, 2) for when in ("before", "after")]  # fmt: skip
    prefiller = [{**row, "role": "prefiller", "url": "http://p/metrics"} for row in ROUNDS]
    stats = analysed(tmp_path, [*prefiller, *decoder]).stats
    assert {row["role"] for row in stats["server_counts"]} == {"prefiller"}
    assert "cached_tokens_disagree" not in {problem["code"] for problem in stats["problems"]}


def test_failed_scrapes_and_torn_lines_are_notes(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    failed = {**scrape(1, "before", {}), "ok": False, "error": "refused"}
    (folder / "server_metrics.jsonl").write_text(json.dumps(failed) + "\n{torn")
    stats = analyse_folder(folder).stats
    assert [problem["code"] for problem in stats["problems"]] == ["server_metrics_torn", "scrape_failed"]
    assert stats["complete"]
