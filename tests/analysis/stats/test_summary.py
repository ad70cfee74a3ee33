"""Tables of one run against numbers that can be checked by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.tables.claim_words import known_of
from locust_kvcache.analysis.tables.run_tables import round_table
from tests.analysis.synthetic import Truth, make_records, synthetic_run, write_run

# prefix 4,000 + 96 tokens in blocks of 16, serial, no noise:
# cold:                        40 + 4096 / 8 = 552 ms
# hit on the prefix (round 1): 40 + 96 / 8 + 4000 / 200 = 72 ms
# hit in round 2:              planned (4095 // 16) * 16 = 4080: 40 + 16 / 8 + 4080 / 200 = 62.4 ms
TRUTH = Truth(sessions=4, turns=5)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse_folder(synthetic_run(tmp_path_factory.mktemp("run"), TRUTH))


def find(analysis: Analysis, table: str, **wanted: object) -> dict:
    [row] = [row for row in analysis.stats[table] if all(row[key] == value for key, value in wanted.items())]
    return row


def test_times_by_round(analysis: Analysis) -> None:
    cold = find(analysis, "distributions", split="round", group="1", metric="ttft_ms")
    assert cold["n"] == 20
    assert cold["mean"] == pytest.approx((4 * 552 + 16 * 72) / 20)
    assert cold["median"] == pytest.approx(72)
    assert cold["p90"] == pytest.approx(552)
    assert cold["p95"] is None  # 20 samples don't carry it
    hit = find(analysis, "distributions", split="round", group="2", metric="ttft_ms")
    assert hit["mean"] == pytest.approx(62.4)
    assert hit["sd"] == pytest.approx(0, abs=1e-9)
    estimate = find(analysis, "distributions", split="round", group="2", metric="prefill_estimate_ms")
    assert estimate["mean"] == pytest.approx(62.4 - 20)


def test_times_by_evidence(analysis: Analysis) -> None:
    assert find(analysis, "windows", window="cold")["requests"] == 4
    assert find(analysis, "windows", window="hit")["requests"] == 36
    assert find(analysis, "distributions", split="evidence", group="cold", metric="ttft_ms")["mean"] == pytest.approx(552)


def test_throughput_and_tokens(analysis: Analysis) -> None:
    row = find(analysis, "rounds", round=2)
    wall_s = 20 * (62.4 + 39 * 20) / 1000
    assert row["wall_s"] == pytest.approx(wall_s)
    assert row["requests_per_s"] == pytest.approx(20 / wall_s)
    assert row["output_tokens_per_s"] == pytest.approx(20 * 40 / wall_s)
    assert row["total_tokens_per_s"] == pytest.approx(20 * (4096 + 40) / wall_s)


def test_hit_rates_are_weighted_by_tokens(analysis: Analysis) -> None:
    cold = find(analysis, "rounds", round=1)
    assert cold["hit_rate"] == pytest.approx(16 * 4000 / (20 * 4096))
    assert cold["cache_efficiency"] == pytest.approx(1.0)
    assert find(analysis, "rounds", round=2)["hit_rate"] == pytest.approx(4080 / 4096)


def test_effects_of_a_hit(analysis: Analysis) -> None:
    row = find(analysis, "effects", split="evidence", metric="ttft_ms", statistic="mean")
    assert (row["pairs"], row["clusters"]) == (4, 4)
    assert row["ratio"] == pytest.approx(62.4 / 552)
    assert row["difference"] == pytest.approx(62.4 - 552)
    assert row["verdict"] == "better"
    by_round = find(analysis, "effects", split="round", metric="ttft_ms", statistic="mean")
    assert (by_round["pairs"], by_round["ratio"]) == (20, pytest.approx(62.4 / 168))
    pair = find(analysis, "effects", split="round", metric="ttft_ms", statistic="pair_ratio")
    assert pair["ratio"] == pytest.approx(62.4 / 72)
    rate = find(analysis, "effects", metric="requests_per_s")
    assert rate["ratio"] == pytest.approx((168 + 780) / (62.4 + 780))


def test_targets(analysis: Analysis) -> None:
    ttft = find(analysis, "targets", target="hit_ttft_reduction_min")
    assert (ttft["verdict"], ttft["certain"]) == ("pass", True)
    assert (ttft["split"], ttft["value"]) == ("evidence", pytest.approx(1 - 62.4 / 552))
    gain = find(analysis, "targets", target="hit_throughput_gain_min")
    assert gain["verdict"] == "fail"
    assert gain["value"] == pytest.approx(948 / 842.4 - 1)


def test_failed_requests_are_counted_and_left_out(tmp_path: Path) -> None:
    records = make_records(TRUTH)
    records[7] = dataclasses.replace(records[7], status="timeout", error="not complete", ttft_ms=9e9, e2e_ms=None)
    analysis = analyse_folder(write_run(tmp_path, records, TRUTH))
    row = find(analysis, "rounds", round=1)
    assert (row["planned_requests"], row["succeeded"], row["failed"], row["failed_by_status"]) == (20, 19, 1, {"timeout": 1})
    assert find(analysis, "distributions", split="round", group="1", metric="ttft_ms")["max"] == pytest.approx(552)
    assert find(analysis, "effects", split="round", metric="ttft_ms", statistic="mean")["pairs"] == 19
    assert find(analysis, "failures")["error"] == "not complete"
    assert "failures" in [problem["code"] for problem in analysis.stats["problems"]]


def test_missing_is_missing(tmp_path: Path) -> None:
    """No usage at all: no tokens, no TPOT, no hit rate; times and request throughput stand."""
    gone = {"prompt_tokens": None, "output_tokens": None, "tpot_ms": None, "itl_p50_ms": None, "itl_p99_ms": None}
    records = [dataclasses.replace(record, reported_cached_tokens=None, **gone) for record in make_records(TRUTH)]
    analysis = analyse_folder(write_run(tmp_path, records, TRUTH))
    row = find(analysis, "rounds", round=1)
    assert [row[key] for key in ("prompt_tokens", "output_tokens", "hit_rate", "output_tokens_per_s")] == [None] * 4
    assert row["requests_per_s"] > 0
    assert not [row for row in analysis.stats["distributions"] if row["metric"] == "tpot_ms"]
    assert {row["window"] for row in analysis.stats["windows"]} <= {"unknown", "racing"}
    assert find(analysis, "effects", split="round", metric="ttft_ms", statistic="mean")["ratio"] == pytest.approx(62.4 / 168)
    target = find(analysis, "targets", target="hit_ttft_reduction_min")
    assert (target["verdict"], target["why"]) == ("not judged", "there is no evidence that the later rounds hit")


def test_a_round_without_records_has_no_throughput(tmp_path: Path) -> None:
    """Its records are lost, which is not a rate of 0."""
    folder = write_run(tmp_path, make_records(TRUTH), TRUTH)
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    (folder / "records.jsonl").write_text("".join(line for line in lines if json.loads(line)["round"] == 1))
    row = find(analyse_folder(folder), "rounds", round=2)
    assert (row["requests"], row["requests_per_s"]) == (0, None)


def test_one_unknown_token_count_makes_the_sum_unknown(tmp_path: Path) -> None:
    records = make_records(TRUTH)
    records[0] = dataclasses.replace(records[0], output_tokens=None)
    analysis = analyse_folder(write_run(tmp_path, records, TRUTH))
    assert find(analysis, "rounds", round=1)["output_tokens_per_s"] is None
    assert find(analysis, "rounds", round=2)["output_tokens_per_s"] is not None


def test_wall_time_from_the_records_when_the_run_has_none(tmp_path: Path) -> None:
    records = make_records(TRUTH)
    folder = write_run(tmp_path, records, TRUTH, rounds=[])
    row = find(analyse_folder(folder), "rounds", round=1)
    assert row["wall_from"] == "records"
    assert row["wall_s"] == pytest.approx((4 * 552 + 16 * 72) / 1000 + 20 * 0.78 + 19 * 0.001)


def test_a_slow_client_is_named(tmp_path: Path) -> None:
    records = [dataclasses.replace(record, loop_lag_ms=50.0) for record in make_records(TRUTH)]
    analysis = analyse_folder(write_run(tmp_path, records, TRUTH))
    assert [problem["code"] for problem in analysis.stats["problems"]] == ["client_limited", "client_limited"]
    assert find(analysis, "rounds", round=1)["client_limited"] is True


def test_a_late_loop_that_moved_no_stamp_is_not_held_against_the_round(tmp_path: Path) -> None:
    """The kernel stamped in time, and the records say so; a round beyond the worker's certificate is limited all the same."""
    records = [dataclasses.replace(record, loop_lag_ms=50.0, client_limited=False) for record in make_records(TRUTH)]
    folder = write_run(tmp_path, records, TRUTH)
    analysis = analyse_folder(folder)
    assert find(analysis, "rounds", round=1)["client_limited"] is False
    info = json.loads((folder / "run.json").read_text())
    info["rounds"][1]["client_limited"] = True
    (folder / "run.json").write_text(json.dumps(info))
    analysis = analyse_folder(folder)
    assert [find(analysis, "rounds", round=number)["client_limited"] for number in (1, 2)] == [False, True]


def test_one_round_has_no_comparison(tmp_path: Path) -> None:
    analysis = analyse_folder(synthetic_run(tmp_path, TRUTH.but(rounds=1)))
    assert analysis.stats["effects"] == []
    assert {row["verdict"] for row in analysis.stats["targets"]} == {"not judged"}


def test_open_loop_rates_have_no_interval(tmp_path: Path) -> None:
    info = {"arrival": {"kind": "poisson", "request_rate_per_s": 1.0}}
    analysis = analyse_folder(synthetic_run(tmp_path, TRUTH.but(noise=0.1), **info))
    row = find(analysis, "effects", metric="requests_per_s")
    assert (row["ratio_low"], row["verdict"]) == (None, "undecided")


def test_the_interval_holds_the_truth_under_noise(tmp_path: Path) -> None:
    truth = Truth(sessions=30, turns=1, noise=0.2)
    row = find(analyse_folder(synthetic_run(tmp_path, truth)), "effects", split="round", metric="ttft_ms", statistic="mean")
    assert row["ratio_low"] < 62.4 / 552 < row["ratio_high"]
    assert math.isclose(row["ratio"], 62.4 / 552, rel_tol=0.15)


def test_as_other_tools_count(analysis: Analysis) -> None:
    """Round 2: TTFT 62.4 ms, 40 tokens, 20 ms apart."""
    found = {row["column"]: row["mean"] for row in analysis.stats["other_tools"] if row["round"] == 2}
    e2e = 62.4 + 39 * 20
    assert found == pytest.approx({"vllm_ttft_ms": 62.4, "vllm_tpot_ms": 20.0, "aiperf_itl_ms": 20.0, "guidellm_tpot_ms": e2e / 40,
                                   "fw_ai_tpot_ms": 39 * 20 / 40})  # fmt: skip


def test_latency_from_the_intended_time_is_beside_that_from_the_actual_send(tmp_path: Path) -> None:
    """Open loop: each request left 1,000 ms late, so 552 ms after its send is 1,552 ms after its time."""
    records = [dataclasses.replace(record, schedule_lag_ms=1000.0) for record in make_records(TRUTH)]
    late = analyse_folder(write_run(tmp_path / "late", records, TRUTH))
    sent, meant = (
        find(late, "distributions", split="round", group="1", metric=name) for name in ("ttft_ms", "ttft_from_intended_ms")
    )
    assert meant["mean"] == pytest.approx(sent["mean"] + 1000)
    assert meant["max"] == pytest.approx(sent["max"] + 1000)


def test_the_cause_of_failures_is_named_in_the_caveat_and_in_the_headline(tmp_path: Path) -> None:
    page = "HTTP 413: <html><head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>"
    records = make_records(TRUTH)
    for index in range(4):
        records[index] = dataclasses.replace(records[index], status="http_error", http_status=413, error=page)
    records[5] = dataclasses.replace(records[5], status="stream_error", error="CUDA out of memory")
    analysis = analyse_folder(write_run(tmp_path, records, TRUTH))
    causes = "4 x 413 Request Entity Too Large, 1 x stream_error (CUDA out of memory)"
    caveat = next(problem for problem in analysis.stats["problems"] if problem["code"] == "failures")
    assert caveat["text"].startswith(f"5 of 40 requests failed: {causes}.")
    claim = find(analysis, "claims")
    assert claim["lead"] == f"5 of 40 planned requests failed (--max-failures: 0): {causes}"
    assert claim["why_not_judged"] == "5 of 40 planned requests failed (--max-failures: 0)"


def test_a_rate_that_some_requests_tell_says_of_how_many(tmp_path: Path) -> None:
    silent = [
        dataclasses.replace(record, reported_cached_tokens=None) if record.round == 2 and record.request_index >= 2 else record
        for record in make_records(TRUTH)
    ]
    analysis = analyse_folder(write_run(tmp_path, silent, TRUTH))
    assert find(analysis, "rounds", round=2)["cached_known"] == 2
    table = round_table(analysis.stats, TRUTH.scenario)
    cells = {row[0]: row[2] for row in table.rows}
    assert cells["hit rate, reported (tokens)"].endswith(" % (by 2 of 20 requests)")
    assert cells["cache efficiency"].endswith(" % (by 2 of 20 requests)")
    assert "only 2 of 20 requests report cached tokens" in find(analysis, "claims")["lead"]


def test_no_words_about_how_many_where_all_requests_tell(analysis: Analysis) -> None:
    assert known_of(find(analysis, "rounds", round=2)) == ""
