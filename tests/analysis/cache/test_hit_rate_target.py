"""The target on the hit rate: counted by hand, known by evidence or not judged, and what a gate makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.cache.hit_rate_target import judge
from locust_kvcache.analysis.cache.round_evidence import RoundFacts
from locust_kvcache.analysis.commands.repeats import judged_targets
from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.report.command_line import gate
from locust_kvcache.analysis.report.run_text import target_line
from locust_kvcache.analysis.stats.targets import over_runs
from locust_kvcache.analysis.tables.run_tables import targets_table
from locust_kvcache.contract.failure_limit import parse_failure_limit
from locust_kvcache.contract.round_kinds import COLD, CONTROL, HIT
from tests.analysis.synthetic import Truth, make_records, synthetic_run, write_run

ANSWERS, COUNTERS = "cached tokens reported with the answers", "counters of the server"


def a_round(number: int, cached: float | None, kind: str = HIT, **more: Any) -> RoundFacts:
    """10 requests of 1,000 prompt tokens together, of which the plan allows 990 to be cached."""
    facts: dict[str, Any] = {"kind": kind, "planned": 10, "recorded": 10, "prompt_tokens": 1000.0, "cached_tokens": cached,
                             "cached_known": 0 if cached is None else 10, "allowed_tokens": 990.0 if kind == HIT else 0.0,
                             "evidence": "none" if cached is None else ANSWERS}  # fmt: skip
    return RoundFacts(number, **{**facts, **more})


def judged(*hits: RoundFacts, least: Any = 0.6, **more: Any) -> list[dict[str, Any]]:
    return judge({"hit_rate_min": least}, {"s": [a_round(1, 0.0, COLD), *hits]}, **more)


@pytest.mark.parametrize(("cached", "verdict"), [(599.0, "fail"), (600.0, "pass"), (990.0, "pass"), (0.0, "fail")])
def test_a_known_rate_is_met_or_missed_a_rate_of_nothing_too(cached: float, verdict: str) -> None:
    (row,) = judged(a_round(2, cached))
    assert (row["value"], row["verdict"], row["certain"], row["why"]) == (cached / 1000, verdict, True, "")
    assert row["text"] == f"Hit rate of the hit rounds (cached / prompt tokens), evidence: {ANSWERS}"


def test_tokens_are_summed_over_hit_rounds_and_no_ratio_is_averaged() -> None:
    """(900 + 300) / (1000 + 3000) is 0.3; the mean of 0.9 and 0.1 would be 0.5. Cold and control do not count."""
    control = a_round(2, 1000.0, CONTROL)
    (row,) = judged(control, a_round(3, 900.0), a_round(4, 300.0, prompt_tokens=3000.0, evidence=COUNTERS), least=0.4)
    assert (row["value"], row["verdict"]) == (pytest.approx(0.3), "fail")
    assert row["text"].endswith(f", evidence: {ANSWERS} and {COUNTERS}")


def test_each_arm_is_judged_by_itself() -> None:
    rows = judged(a_round(2, 900.0), a_round(3, 100.0), a_round(4, None), arms=True)
    assert [(row["value"], row["verdict"]) for row in rows] == [(0.9, "pass"), (0.1, "fail"), (None, "not judged")]
    assert [row["text"].rpartition(", ")[2] for row in rows] == ["round 2", "round 3", "round 4"]


@pytest.mark.parametrize(
    ("hit", "more", "why"),
    [
        (a_round(2, None), {}, "the server reports no cached tokens in round 2, and there are no counters"),
        (a_round(2, None, cached_known=9), {}, "only 9 of 10 requests of round 2 report cached tokens, and there are no counters"),
        (a_round(2, None, rejected=True), {}, "the reported cached tokens are rejected, and there are no counters for round 2"),
        (a_round(2, None, failed=10), {"limit": parse_failure_limit("100%")}, "no request succeeded in round 2"),
        (a_round(2, 900.0, prompt_tokens=None), {}, "the number of prompt tokens of round 2 is not known"),
        # A gateway's cache answered, with the usage of the first answer; counters of one replica of two; other traffic counted
        (a_round(2, 900.0, seen_share=0.05), {}, "in round 2 the servers counted 5.0 % of the prompt tokens that were sent"),
        (a_round(2, 900.0, evidence=COUNTERS, seen_share=0.5), {},
         "in round 2 the servers counted 50.0 % of the prompt tokens that were sent"),
        (a_round(2, 900.0, evidence=COUNTERS, seen_share=1.5), {},
         "in round 2 the servers counted 150 % of the prompt tokens that were sent"),
        (a_round(2, 900.0), {"complete": False}, "the run is incomplete"),
        (a_round(2, 900.0, failed=1), {}, "1 of 20 planned requests failed (--max-failures: 0)"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_neither_met_nor_missed(hit: RoundFacts, more: dict[str, Any], why: str) -> None:
    (row,) = judged(hit, **more)
    assert (row["verdict"], row["value"], row["certain"], row["why"]) == ("not judged", None, False, why)


def test_times_that_are_not_valid_and_unequal_loads_do_not_touch_it() -> None:
    (row,) = judged(a_round(2, 900.0, late="lag", users=4))
    assert row["verdict"] == "pass"


def test_the_answers_count_where_the_counters_are_not_the_evidence() -> None:
    (row,) = judged(a_round(2, 900.0, seen_share=0.5))
    assert row["verdict"] == "pass"


def test_one_unknown_hit_round_leaves_all_of_them_open() -> None:
    (row,) = judged(a_round(2, 900.0), a_round(3, None))
    assert row["why"] == "the server reports no cached tokens in round 3, and there are no counters"


def test_a_run_without_a_hit_round_and_a_target_that_nobody_set() -> None:
    (row,) = judged()
    assert (row["verdict"], row["why"]) == ("not judged", "the run has no hit round")
    assert judged(a_round(2, 900.0), least=None) == []


def test_a_threshold_that_is_no_number_is_named() -> None:
    (row,) = judged(a_round(2, 900.0), least="much")
    assert (row["verdict"], row["why"]) == ("not judged", "the threshold 'much' is not a number")


def test_repeated_runs_are_judged_by_their_mean_and_students_interval() -> None:
    """0.6, 0.7 and 0.8: mean 0.7, standard deviation 0.1, t(2 degrees) = 4.30265, so 0.7 -+ 0.2484."""
    rows = [judged(a_round(2, cached))[0] for cached in (600.0, 700.0, 800.0)]
    found = over_runs(rows)
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.7, 0.4516, 0.9484), abs=1e-4)
    assert (found["verdict"], found["certain"], found["why"]) == ("pass", False, "not statistically certain")
    assert over_runs(rows[:1]) == rows[0]


def stats_of(folder: Path, truth: Truth, **targets: float) -> dict[str, Any]:
    return analyse_folder(synthetic_run(folder, truth, targets=targets)).stats


def test_less_than_planned_passes_the_gate_where_the_target_asks_for_no_more(tmp_path: Path) -> None:
    """The cache serves 60 % of what it could: nothing is said of the TTFT, and a target on it keeps the gate shut."""
    truth = Truth(efficiency=0.6)
    met = stats_of(tmp_path / "met", truth, hit_rate_min=0.5)
    (row,) = met["targets"]
    assert row["value"] == pytest.approx(0.6, abs=0.02)
    assert target_line(row).startswith("PASS: hit rate of the hit rounds, long_context_high_reuse: ")
    table = targets_table(met)
    assert table is not None
    assert table.rows[0][2:] == ("at least 50.0 %", f"{100 * row['value']:.1f} %", "PASS")
    assert gate([met], met["targets"]).name == "ok"
    assert [claim["why_not_judged"].partition(":")[0] for claim in met["claims"]] == ["hit less than planned"]

    both = stats_of(tmp_path / "both", truth, hit_rate_min=0.5, hit_ttft_reduction_min=0.1)
    assert [row["verdict"] for row in both["targets"]] == ["pass", "not judged"]
    assert gate([both], both["targets"]).name == "nothing hit"


def test_repeated_runs_that_hit_enough_on_average_pass_the_gate(tmp_path: Path) -> None:
    """50, 60 and 70 % of what could be cached: 55 % is met by the mean, and missed by the first run alone."""
    made = [Truth(efficiency=share, run_id=f"run{share}") for share in (0.5, 0.6, 0.7)]
    runs = [analyse_folder(synthetic_run(tmp_path / one.run_id, one, targets={"hit_rate_min": 0.55})) for one in made]
    assert [run.stats["targets"][0]["verdict"] for run in runs] == ["fail", "pass", "pass"]
    (row,) = judged_targets(runs)
    assert (row["verdict"], row["value"]) == ("pass", pytest.approx(0.6, abs=0.02))
    stats = [run.stats for run in runs]
    assert gate(stats, [row]).name == "ok"
    assert gate(stats[:1], stats[0]["targets"]).name == "nothing hit"


def test_a_missed_target_fails_the_gate(tmp_path: Path) -> None:
    found = stats_of(tmp_path / "run", Truth(), hit_rate_min=0.999)
    assert [row["verdict"] for row in found["targets"]] == ["fail"]
    assert gate([found], found["targets"]).name == "target missed"


def test_cached_tokens_of_a_decoder_that_lies_judge_nothing(tmp_path: Path) -> None:
    """Every request is reported as cached but for its last token, cold ones too, and no counters tell."""
    records = [replace(record, reported_cached_tokens=(record.prompt_tokens or 0) - 1) for record in make_records(Truth())]
    found = analyse_folder(write_run(tmp_path / "run", records, targets={"hit_rate_min": 0.6})).stats
    (row,) = found["targets"]
    assert (row["verdict"], row["why"]) == (
        "not judged",
        "the reported cached tokens are rejected, and there are no counters for round 2",
    )
    assert gate([found], found["targets"]).name == "nothing could be judged"
    assert found["claims"][0]["lead"].endswith("(the reported cached tokens are rejected, and the servers have no counters)")
