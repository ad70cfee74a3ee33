"""What is said of each cache state: decided, undecided, without an interval; of one scenario and of several."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.analysis.tables.arm_sentences import headline

CLAIM = {"lead": "", "valid": True, "control": None}


def effect(ratio: float, verdict: str, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    return {
        "split": "arm", "metric": "ttft_ms", "statistic": "mean", "round": 2, "baseline": 1000.0, "contender": 1000.0 * ratio,
        "ratio": ratio, "ratio_low": low, "ratio_high": high, "verdict": verdict, "why_open": None, **more,
    }  # fmt: skip


CUT = effect(0.2, "better", 0.18, 0.22)
RAISED = effect(1.5, "worse", 1.2, 1.8)
OPEN = effect(1.04, "undecided", 0.998, 1.086, p_adjusted=0.06)
ADJUSTED = effect(0.9, "undecided", 0.81, 0.99, p_adjusted=0.08)
BARE = effect(0.86, "undecided", None, None)


def stats(*effects: dict[str, Any]) -> dict[str, Any]:
    """A scenario per effect, of 1,000, 2,000, ... prompt tokens."""
    names = [f"s{n}" for n in range(len(effects))]
    verdict = {"cached_tokens": None, "allowed_tokens": None}
    return {
        "verdicts": [
            {"scenario": name, "round": number, "arm": arm, "verdict": said, **verdict}
            for name in names
            for number, arm, said in ((1, "cold", "cold proven"), (2, "store_hit", "store hit"))
        ],
        "claims": [{"scenario": name, **CLAIM} for name in names],
        "effects": [{**one, "scenario": name} for name, one in zip(names, effects, strict=True)],
        "rounds": [
            {"scenario": name, "round": 1, "prompt_tokens": 1000.0 * n, "succeeded": 1, "kind": "cold"}
            for n, name in enumerate(names, 1)
        ],
        "control": [],
    }


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (CUT, "A store hit cuts the mean TTFT from 1,000 to 200 ms (−80.0 % [−82.0, −78.0])"),
        (RAISED, "A store hit raises the mean TTFT from 1,000 to 1,500 ms"),
        (OPEN, "A store hit had a mean TTFT of 1,040 against 1,000 ms (+4.0 % [−0.2, +8.6], undecided)"),
        (ADJUSTED, "900 against 1,000 ms (−10.0 % [−19.0, −1.0], undecided)"),
        (BARE, "A store hit had a mean TTFT of 860 against 1,000 ms (−14.0 %, no interval)"),
    ],
)  # fmt: skip
def test_a_change_is_said_as_its_verdict_allows(one: dict[str, Any], said: str) -> None:
    text = headline(stats(one))
    assert said in text
    assert ("cuts" in text, "raises" in text) == (one is CUT, one is RAISED)


def test_of_several_scenarios_the_least_and_the_most_and_how_many_are_open() -> None:
    text = headline(stats(CUT, OPEN, BARE))
    assert text.startswith(
        "A store hit changes the mean TTFT from 1,000 to 1,040 ms at 2,000 prompt tokens (+4.0 %) and from 1,000 to 200 ms"
    )
    assert "; 1 of 3 without an interval and 1 of 3 undecided" in text
    assert headline(stats(CUT, BARE)).startswith("A store hit cuts the mean TTFT from 1,000 to 860 ms")
    assert headline(stats(BARE, BARE)).startswith("A store hit changed the mean TTFT from ")
    assert headline(stats(CUT, RAISED)).startswith("A store hit changes the mean TTFT from ")


def test_a_run_that_ended_before_its_second_arm_says_only_that() -> None:
    """Without a later round nothing follows what weakens the scenario, no empty sentence either."""
    ended = stats(CUT)
    ended["verdicts"], ended["effects"] = ended["verdicts"][:1], []
    ended["claims"][0]["lead"] = "the run is incomplete"
    assert headline(ended) == "s0 (1,000 prompt tokens): the run is incomplete."
