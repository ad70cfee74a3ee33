"""A comparison has one basis for all figures, and judges nothing across runs that are not comparable."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.across_runs.conditions import _short, accepted_conditions
from locust_kvcache.analysis.across_runs.run_comparison import RunComparison, compare_runs
from locust_kvcache.analysis.commands.repeats import judged_targets
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report.command_line import comparison_gate
from locust_kvcache.analysis.report.comparison_page import comparison_page
from locust_kvcache.analysis.report.run_text import target_lines
from locust_kvcache.contract import exit_codes
from tests.analysis.synthetic import Truth, make_records, round_rows, synthetic_run, write_run

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=5, turns=2)
SINGLE = {"name": "single", "kind": "non_disagg", "endpoint": "http://127.0.0.1:8000"}
PD = {"name": "pd", "kind": "pd_disagg", "endpoint": "http://127.0.0.1:8000"}


def compared(folder: Path, **info: object) -> RunComparison:
    """A single server's run of 3 rounds and a PD run of 2."""
    single = synthetic_run(folder / "single", TRUTH.but(run_id="s", rounds=3), deployment=SINGLE)
    targets = {"pd_tpot_increase_max": 0.2, "pd_hit_ttft_ratio_max": 2.5}
    pd_run = synthetic_run(folder / "pd", TRUTH.but(run_id="p"), deployment=PD, targets=targets, **info)
    return compare_runs([analyse_folder(single), analyse_folder(pd_run)], accepted_conditions("rounds"))


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> RunComparison:
    return compared(tmp_path_factory.mktemp("alike"))


def test_all_figures_are_of_the_rounds_that_both_runs_have(alike: RunComparison) -> None:
    found = alike
    assert [problem.text for problem in found.problems if problem.code == "rounds_cut"] == [
        "The runs have different numbers of rounds: rounds 1, 2, which all of them have, are compared."
    ]
    assert {row["round"] for run in found.runs for row in run.stats["rounds"]} == {1, 2}
    hit = found.effects[found.effects["window"].eq("hit")].set_index(["metric", "statistic"])
    for metric, statistic in (("ttft_ms", "mean"), ("tpot_ms", "mean"), ("requests_per_s", "rate")):
        assert hit.loc[(metric, statistic), "ratio"] == pytest.approx(1.0)
    assert hit.loc[("ttft_ms", "mean"), "pairs"] == 10, "each request once, not once for round 2 and once for round 3"


def test_runs_that_are_not_comparable_meet_no_target_across_runs(alike: RunComparison, tmp_path: Path) -> None:
    across = {row["target"]: row["verdict"] for row in alike.targets}
    assert across == {"pd_tpot_increase_max": "pass", "pd_hit_ttft_ratio_max": "pass"}
    found = compared(tmp_path / "other", users=10)
    assert not found.comparable
    assert {(row["verdict"], row["why"], row["value"]) for row in found.targets} == {("not judged", "not comparable", None)}


def test_plans_that_differ_are_told_with_the_value_of_each_run() -> None:
    plans = [{"name": "cold_start", "requests": 4, "seed": 1}, {"name": "cold_start", "requests": 30, "seed": 1}]
    three = [*plans, {"name": "cold_start", "requests": 4, "seed": 1, "pause_s": 2}]
    assert _short("scenarios", [[plan] for plan in plans], same=False) == ["cold_start: requests 4", "cold_start: requests 30"]
    assert _short("scenarios", [[plan] for plan in three], same=False) == [
        "cold_start: requests 4", "cold_start: requests 30", "cold_start: requests 4, pause_s 2",
    ]  # fmt: skip
    assert _short("scenarios", [[plans[0]]] * 2, same=True) == ["cold_start", "cold_start"]


ARMS = ["cold", "gpu_hit", "store_hit"]


def played(folder: Path, name: str, deployment: dict[str, str], arms: list[str], times: float = 1.0, **info: object) -> Analysis:
    """Cold 1,000 ms, a GPU hit 100 ms, a store hit 800 ms, in the order of the arms; all times `times` as long."""
    took = {"cold": 1000.0, "gpu_hit": 100.0, "store_hit": 800.0}
    records = [
        replace(record, ttft_ms=times * took[arms[record.round - 1]], e2e_ms=times * took[arms[record.round - 1]] + 780.0)
        for record in make_records(TRUTH.but(run_id=name, rounds=len(arms)))
    ]
    truth = TRUTH.but(run_id=name, rounds=len(arms))
    return analyse_folder(write_run(folder / name, records, truth, deployment=deployment, arms=arms, **info))


def test_each_cache_state_is_compared_with_the_same_one(tmp_path: Path) -> None:
    """A GPU hit of 100 ms and a store hit of 800 ms have a mean of 450 ms, which is neither; twice as long is 200 and 1,600."""
    targets = {"pd_hit_ttft_ratio_max": 1.5}
    pd_arms = ["cold", "store_hit", "gpu_hit"]  # in another order
    runs = [played(tmp_path, "s", SINGLE, ARMS), played(tmp_path, "p", PD, pd_arms, 2.0, targets=targets)]
    found = compare_runs(runs)
    assert found.windows == ("cold", "gpu_hit", "store_hit")
    means = found.effects[found.effects["metric"].eq("ttft_ms") & found.effects["statistic"].eq("mean")].set_index("window")
    assert means["baseline"].to_dict() == pytest.approx({"cold": 1000.0, "gpu_hit": 100.0, "store_hit": 800.0})
    assert means["contender"].to_dict() == pytest.approx({"cold": 2000.0, "gpu_hit": 200.0, "store_hit": 1600.0})
    page = comparison_page(found)
    assert "GPU hit (mean TTFT 200 against 100 ms)" in page.lead
    assert "store hit (mean TTFT 1,600 against 800 ms)" in page.lead
    assert page.short[0].header[3:] == ("GPU hit: single", "PD", "store hit: single", "PD")
    assert page.short[0].rows[0] == ("TTFT, ms", "1,000", "2,000", "100", "200", "800", "1,600")
    assert not [problem for problem in found.problems if problem.code == "arms_not_shared"]
    (row,) = [row for row in found.targets if row["target"] == "pd_hit_ttft_ratio_max"]
    assert (row["value"], row["verdict"]) == (pytest.approx(1.6), "fail")  # 1,600 / 1,000; the mean of both would have passed
    assert row["text"].endswith("store hit (worst of GPU hit / store hit)")


def test_a_cache_state_that_one_run_lacks_is_named_and_not_judged(tmp_path: Path) -> None:
    targets = {"pd_hit_ttft_ratio_max": 1.5}
    runs = [played(tmp_path, "s", SINGLE, ARMS[:2]), played(tmp_path, "p", PD, ARMS, 2.0, targets=targets)]
    found = compare_runs(runs, accepted_conditions("rounds"))
    assert found.windows == ("cold", "gpu_hit")
    (problem,) = [problem for problem in found.problems if problem.code == "arms_not_shared"]
    assert problem.text == "Not compared and not judged: store hit, which not every run has."
    (row,) = [row for row in found.targets if row["target"] == "pd_hit_ttft_ratio_max"]
    assert (row["value"], row["text"].rpartition(", ")[2]) == (pytest.approx(0.2), "GPU hit")


def test_runs_without_a_state_in_common_are_compared_when_cold_alone(tmp_path: Path) -> None:
    targets = {"pd_hit_ttft_ratio_max": 1.5}
    runs = [played(tmp_path, "s", SINGLE, ARMS[:2]), played(tmp_path, "p", PD, ["cold", "store_hit"], targets=targets)]
    found = compare_runs(runs)
    assert set(found.effects["window"]) == {"cold"}
    (row,) = [row for row in found.targets if row["target"] == "pd_hit_ttft_ratio_max"]
    assert (row["verdict"], row["why"]) == ("not judged", "the runs have no cache state after cold in common")


def test_without_a_state_after_cold_in_common_tpot_is_not_judged(tmp_path: Path) -> None:
    """Hits are of the GPU here and of a store there."""
    targets = {"pd_tpot_increase_max": 0.2}
    pd_runs = [played(tmp_path, f"p{i}", PD, ["cold", "store_hit"], targets=targets) for i in range(2)]
    single = [played(tmp_path, f"s{i}", SINGLE, ARMS[:2]) for i in range(2)]
    for judged in compare_runs([single[0], pd_runs[0]]).targets, judged_targets([*single, *pd_runs]):
        (row,) = [row for row in judged if row["target"] == "pd_tpot_increase_max"]
        assert (row["verdict"], row["why"]) == ("not judged", "the runs have no cache state after cold in common")


def test_a_target_is_not_met_where_one_of_the_states_has_no_value(tmp_path: Path) -> None:
    """Of the store hit no request succeeded: 0.2 on a GPU hit does not say that the worst is below 1.5."""
    records = [
        replace(record, status="timeout", ttft_ms=None) if record.round == 3 else replace(record, ttft_ms=200.0)
        for record in make_records(TRUTH.but(run_id="p", rounds=3))
    ]
    truth = TRUTH.but(run_id="p", rounds=3)
    targets = {"pd_hit_ttft_ratio_max": 1.5}
    allowed = {"max_failures": "100%", "targets": targets}
    pd_run = analyse_folder(write_run(tmp_path / "p", records, truth, deployment=PD, arms=ARMS, **allowed))
    (row,) = [
        row
        for row in compare_runs([played(tmp_path, "s", SINGLE, ARMS), pd_run]).targets
        if row["target"] == "pd_hit_ttft_ratio_max"
    ]
    assert (row["verdict"], row["value"], row["text"].rpartition(", ")[2]) == ("not judged", None, "store hit")


def test_repeated_runs_too_are_judged_on_the_worst_state(tmp_path: Path) -> None:
    """PD 2 and 2.2 times as long as the single server: a store hit over cold is 1.6 x sqrt(1.1)."""
    single = [played(tmp_path, f"s{i}", SINGLE, ARMS) for i in range(2)]
    targets = {"pd_hit_ttft_ratio_max": 1.5}
    pd_runs = [played(tmp_path, f"p{i}", PD, ARMS, times, targets=targets) for i, times in enumerate((2.0, 2.2))]
    (row,) = [row for row in judged_targets([*single, *pd_runs]) if row["target"] == "pd_hit_ttft_ratio_max"]
    assert (row["value"], row["verdict"]) == (pytest.approx(1.6 * math.sqrt(1.1)), "fail")
    assert row["text"].endswith("store hit (worst of GPU hit / store hit)")


def with_tpot(folder: Path, name: str, deployment: dict[str, str], tpot_ms: dict[int, float], **info: object) -> Analysis:
    """A run whose answers have this TPOT, by round."""
    truth = TRUTH.but(run_id=name, rounds=len(tpot_ms))
    records = [replace(record, tpot_ms=tpot_ms[record.round]) for record in make_records(truth)]
    return analyse_folder(write_run(folder / name, records, truth, deployment=deployment, **info))


def tpot_target(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    (row,) = [row for row in rows if row["target"] == "pd_tpot_increase_max"]
    return row


def test_tpot_is_judged_on_the_worst_state_and_not_on_the_mean_of_all_rounds(tmp_path: Path) -> None:
    """Cold 21.56 against 20 ms is +7.8 %, a hit 18.34 against 20 ms is -8.3 %; both rounds together would be -0.25 %."""
    targets = {"pd_tpot_increase_max": 0.05}
    single = [with_tpot(tmp_path, f"s{i}", SINGLE, {1: 20.0, 2: 20.0}) for i in range(2)]
    pd_runs = [with_tpot(tmp_path, f"p{i}", PD, {1: 21.56, 2: 18.34}, targets=targets) for i in range(2)]
    for judged in compare_runs([single[0], pd_runs[0]]).targets, judged_targets([*single, *pd_runs]):
        row = tpot_target(judged)
        assert (row["value"], row["verdict"]) == (pytest.approx(0.078), "fail")
        assert row["text"] == "TPOT of PD above the single server's (mean), cold (worst of cold / hit)"
        (line,) = target_lines({"targets": [row]}, [{**row, "scenario": "s"}])
        assert line == "FAIL, not statistically certain: PD TPOT above single, cold, s: 7.8 %, wanted at most 5.0 %"


def test_tpot_of_runs_of_one_round_is_judged_when_cold(tmp_path: Path) -> None:
    runs = [
        with_tpot(tmp_path, "s", SINGLE, {1: 20.0}),
        with_tpot(tmp_path, "p", PD, {1: 22.0}, targets={"pd_tpot_increase_max": 0.2}),
    ]
    row = tpot_target(compare_runs(runs).targets)
    assert (row["value"], row["verdict"], row["text"].rpartition(", ")[2]) == (pytest.approx(0.1), "pass", "cold")


@pytest.mark.parametrize(("efficiency", "why"), [(0.0, "nothing hit"), (0.5, "hit less than planned")])
def test_a_target_on_hits_is_not_judged_where_pd_did_not_hit(tmp_path: Path, efficiency: float, why: str) -> None:
    """TTFT as the single server's cold one: a ratio of 1.0, of a round that hit nothing or half of what it could."""
    single = analyse_folder(synthetic_run(tmp_path / "s", TRUTH.but(run_id="s"), deployment=SINGLE))
    targets = {"pd_hit_ttft_ratio_max": 2.5, "pd_tpot_increase_max": 0.2}
    pd_run = analyse_folder(
        synthetic_run(tmp_path / "p", TRUTH.but(run_id="p", efficiency=efficiency), deployment=PD, targets=targets)
    )
    found = compare_runs([single, pd_run])
    judged = {row["target"]: row for row in found.targets}
    assert (judged["pd_hit_ttft_ratio_max"]["verdict"], judged["pd_hit_ttft_ratio_max"]["why"]) == ("not judged", why)
    tpot = judged["pd_tpot_increase_max"]
    assert tpot["verdict"] == "pass"
    assert tpot["text"].endswith("cold (worst of cold / later rounds)"), "round 2 is not called a hit"
    stats = {name: run.stats for name, run in zip(found.names, found.runs, strict=True)}
    assert comparison_gate(stats, list(found.targets), found.comparable) is exit_codes.NOTHING_HIT
    assert comparison_page(found).short[0].header[4] == "later: single", "no column is called a hit"


def test_targets_of_the_pair_are_not_judged_where_too_many_requests_failed(tmp_path: Path) -> None:
    records = [
        replace(record, status="timeout", ttft_ms=None) if record.request_index == 0 and record.round == 2 else record
        for record in make_records(TRUTH.but(run_id="p"))
    ]
    targets = {"pd_hit_ttft_ratio_max": 2.5, "pd_tpot_increase_max": 0.2}
    pd_run = analyse_folder(write_run(tmp_path / "p", records, TRUTH.but(run_id="p"), deployment=PD, targets=targets))
    single = analyse_folder(synthetic_run(tmp_path / "s", TRUTH.but(run_id="s"), deployment=SINGLE))
    why = "pd: 1 of 20 planned requests failed (--max-failures: 0)"
    assert {(row["verdict"], row["why"]) for row in compare_runs([single, pd_run]).targets} == {("not judged", why)}


def test_answers_that_differ_by_round_alone_are_not_compared_there(tmp_path: Path) -> None:
    """PD answers with 20 tokens when cold and with 60 on a hit, the single server with 40: the mean of both rounds is the same."""
    lengths = {1: 20, 2: 60}
    records = [
        replace(record, output_tokens=lengths[record.round], chunks=lengths[record.round])
        for record in make_records(TRUTH.but(run_id="p"))
    ]
    targets = {"pd_tpot_increase_max": 0.2, "pd_hit_ttft_ratio_max": 2.5}
    single = analyse_folder(synthetic_run(tmp_path / "s", TRUTH.but(run_id="s"), deployment=SINGLE))
    pd_run = analyse_folder(write_run(tmp_path / "p", records, TRUTH.but(run_id="p"), deployment=PD, targets=targets))
    found = compare_runs([single, pd_run])
    assert found.comparable
    judged = {row["target"]: (row["verdict"], row["why"]) for row in found.targets}
    assert judged["pd_hit_ttft_ratio_max"][0] == "pass", "a first token does not wait for the last one"
    why = "not comparable: answers of 20.0 against 40.0 output tokens on average"
    assert judged["pd_tpot_increase_max"] == ("not judged", why)
    texts = [problem.text for problem in found.problems if problem.code == "unequal_answers"]
    assert texts[0].startswith("PD, long_context_high_reuse, cold: answers of 20.0 against 40.0 output tokens on average. E2E")
    assert len(texts) == 2
    rows = {row[0]: row[3] for row in comparison_page(found).short[0].rows}
    assert rows["TPOT, ms"] == rows["requests/s"] == "not comparable"
    assert rows["TTFT, ms"] == "as fast"


def test_the_rate_of_a_single_arm_stands_beside_its_change(tmp_path: Path) -> None:
    """Ten requests of 1,780 ms when cold, of 880 ms on a GPU hit; twice as long in the other run."""
    arms = ["cold", "gpu_hit"]
    found = compare_runs([played(tmp_path, "s", SINGLE, arms), played(tmp_path, "p", PD, arms, 2.0)])
    (row,) = [row for row in comparison_page(found).short[0].rows if row[0] == "requests/s"]
    assert row[1:] == ("0.562", "0.360", "36.0 % lower", "1.14", "1.02", "10.2 % lower")


def test_a_control_round_is_no_hit(tmp_path: Path) -> None:
    """Two rounds beside cold, of which one sent fresh prompts: the rate on a hit is that of the other."""
    rounds = round_rows(make_records(TRUTH.but(rounds=3)))
    for row, kind in zip(rounds, ("cold", "control", "hit"), strict=True):
        row |= {"kind": kind, "wall_s": {"cold": 10.0, "control": 10.0, "hit": 2.0}[kind]}
    runs = [
        analyse_folder(synthetic_run(tmp_path / name, TRUTH.but(run_id=name, rounds=3), deployment=one, rounds=rounds))
        for name, one in (("s", SINGLE), ("p", PD))
    ]
    effects = compare_runs(runs).effects
    hit = effects[effects["window"].eq("hit") & effects["metric"].eq("requests_per_s")]
    assert hit["baseline"].tolist() == pytest.approx([5.0])


def test_the_console_names_the_state_that_was_judged(tmp_path: Path) -> None:
    targets = {"pd_hit_ttft_ratio_max": 1.5}
    found = compare_runs([played(tmp_path, "s", SINGLE, ARMS), played(tmp_path, "p", PD, ARMS, 2.0, targets=targets)])
    rows = [{**row, "scenario": row["run"]} for row in found.targets]
    (line,) = target_lines({"targets": rows}, rows)
    assert "PD hit TTFT / single cold TTFT, store hit" in line
    assert "1.60 x" in line
    assert len(line) <= 100
