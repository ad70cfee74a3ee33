"""The headline of --concurrency: levels that are not valid are named, and give no change."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.report.sweep_words import lead

LATE = "not valid: the load generator was late"


def level(valid: bool, **claim: Any) -> dict[str, Any]:
    row = {"split": "round", "scenario": "a", "metric": "ttft_ms", "statistic": "mean"}
    change = {"baseline": 100.0, "contender": 50.0, "ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6}
    claims = [{
        "scenario": "a", "valid": valid, "why_not_judged": "" if valid else LATE, "lead": "" if valid else LATE, "credited": valid,
        "cause": "ok", "rounds": [(2, "hit", "")], "also": [], **claim,
    }]  # fmt: skip
    return {"effects": [row | change, row | change | {"scenario": "b"}], "claims": claims}


def test_a_level_that_is_not_valid_gives_no_change() -> None:
    assert lead({1: level(False), 2: level(False)}, ["a"]) == f"a with 1 and 2 users: {LATE}."
    said = lead({1: level(False), 2: level(True)}, ["a"])
    assert said == f"a with 1 user: {LATE}. a: a hit changes the mean TTFT by −50.0 % [−60.0, −40.0] (100 to 50.0 ms) at 2 users."


NOTHING = {"lead": "nothing hit in round 2 (0.0 %)", "credited": False, "cause": "nothing hit", "rounds": [(2, "nothing", "")]}


def test_a_level_that_hit_nothing_tells_no_change_as_a_hits() -> None:
    said = lead({1: level(True, **NOTHING), 2: level(True)}, ["a"])
    assert (
        said
        == "a with 1 user: nothing hit in round 2. a: a hit changes the mean TTFT by −50.0 % [−60.0, −40.0] (100 to 50.0 ms) at 2 users."
    )
    both = lead({1: level(True, **NOTHING), 2: level(True)}, ["a", "b"])
    assert "At 1 user a hit cuts the mean TTFT in 1 of 2 scenarios (−50.0 %); no hit is shown in 1." in both


def test_what_weakens_a_level_comes_before_its_change() -> None:
    said = lead({1: level(True), 2: level(True, lead="round 1 was not cold (40.0 %)")}, ["a"])
    assert said.startswith("a with 2 users: round 1 was not cold. a: a hit changes the mean TTFT by −50.0 %")


def test_of_several_scenarios_the_valid_ones_are_counted() -> None:
    said = lead({1: level(False), 2: level(True)}, ["a", "b"])
    assert "At 1 user a hit cuts the mean TTFT in 1 of 2 scenarios (−50.0 %); not valid in 1." in said
    assert "At 2 users a hit cuts the mean TTFT in 2 of 2 scenarios (−50.0 %)." in said
