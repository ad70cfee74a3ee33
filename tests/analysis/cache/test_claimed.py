"""No "better" where nothing hit, no verdict where the figures are not valid, and targets that say why they are not judged."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.cache.claimed import ARM, CONTROL, EVIDENCE, ROUND, why_not_judged, with_claims
from locust_kvcache.analysis.cache.claims import Claim, decide
from locust_kvcache.analysis.cache.round_evidence import RoundFacts
from locust_kvcache.analysis.stats.targets import judge_run
from locust_kvcache.contract.round_kinds import COLD, HIT

TARGETS = {"hit_ttft_reduction_min": 0.4, "hit_throughput_gain_min": 0.5}


def claim(*cached: float | None, **more: Any) -> Claim:
    """Rounds 2, 3, ... with so many of 1,000 tokens cached."""
    common: dict[str, Any] = {"planned": 10, "recorded": 10, "prompt_tokens": 1000.0, "slack_tokens": 10.0}
    first = RoundFacts(1, COLD, cached_tokens=0.0, allowed_tokens=0.0, **common)
    later = [
        RoundFacts(n, HIT, cached_tokens=tokens, allowed_tokens=990.0, **{**common, **more}) for n, tokens in enumerate(cached, 2)
    ]
    return decide("s", [first, *later])


def effects(*rows: tuple[str, int | None, str | None]) -> pd.DataFrame:
    """split, round, verdict; half the TTFT, and twice the throughput."""
    made = [
        {"scenario": "s", "split": split, "round": number, "metric": metric, "statistic": statistic, "ratio": ratio,
         "ratio_low": ratio * 0.9, "ratio_high": ratio * 1.1, "verdict": verdict}
        for split, number, verdict in rows
        for metric, statistic, ratio in (("ttft_ms", "mean", 0.5), ("requests_per_s", "rate", 2.0))
    ]  # fmt: skip
    return pd.DataFrame(made)


def verdicts(table: pd.DataFrame, found: Claim) -> list[Any]:
    return with_claims(table, {"s": found})["verdict"].tolist()[::2]


TABLE = effects((ROUND, None, "better"), (EVIDENCE, None, "better"), (CONTROL, None, "worse"), (ROUND, None, "undecided"))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (claim(990.0), ["better", "better", "slower", "undecided"]),
        (claim(0.0), ["nothing hit", "better", "slower", "undecided"]),
        (claim(400.0), ["hit less than planned", "better", "slower", "undecided"]),
        (claim(None), ["no sign of a hit", "better", "slower", "undecided"]),
        (claim(990.0, late="lag"), ["not valid"] * 4),
        (claim(0.0, late="lag"), ["not valid"] * 4),
        (claim(990.0, failed=8), ["not valid: failures"] * 4),
    ],
)
def test_verdicts_that_evidence_does_not_carry_are_replaced(found: Claim, wanted: list[str]) -> None:
    assert verdicts(TABLE, found) == wanted


def test_each_arm_is_claimed_by_its_own_round() -> None:
    table = effects((ARM, 2, "better"), (ARM, 3, "better"))
    assert verdicts(table, claim(990.0, 0.0)) == ["better", "nothing hit"]


def judged(found: Claim, table: pd.DataFrame, closed: bool = True) -> list[tuple[str, str]]:
    rows = judge_run(TARGETS, table, ["s"], lambda scenario, number: why_not_judged(found, number), closed)
    return [(row["verdict"], row["why"]) for row in rows]


def test_targets_on_hits_are_not_judged_where_nothing_hit() -> None:
    table = effects((ROUND, None, "better"))
    assert judged(claim(0.0), table) == [("not judged", "nothing hit")] * 2
    assert judged(claim(990.0), table) == [("pass", "")] * 2
    assert judged(claim(990.0, late="lag"), table) == [("not judged", "not valid: the load generator was late")] * 2
    assert judged(claim(990.0, failed=1), table) == [("not judged", "1 of 20 planned requests failed (--max-failures: 0)")] * 2


def test_an_arm_that_hit_is_judged_beside_one_that_did_not() -> None:
    table = effects((ARM, 2, "better"), (ARM, 3, "better"))
    assert judged(claim(990.0, 0.0), table) == [("pass", ""), ("not judged", "nothing hit")] * 2


def test_an_open_loops_throughput_is_that_of_its_arrivals() -> None:
    found = judged(claim(990.0), effects((ROUND, None, "better")), closed=False)
    assert found == [("pass", ""), ("not judged", "in an open loop the rate is that of the arrivals")]
