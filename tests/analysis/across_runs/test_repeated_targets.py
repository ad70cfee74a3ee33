"""Repeated runs are judged as each run's own report judges it: on all hit rounds, on each arm, against a control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from locust_kvcache.analysis.commands.repeats import check, judged_targets
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.stats.targets import over_runs
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.round_kinds import CONTROL, HIT
from tests.analysis.synthetic import Truth, make_records, round_rows, write_run

TRUTH = Truth(sessions=2, turns=1)  # too few clusters for an interval of a run: judged by round
TARGETS = {"hit_ttft_reduction_min": 0.6}


def played(
    folder: Path, name: str, ttft_ms: Sequence[float], kinds: Sequence[str] = (), arms: Sequence[str] = (), **targets: float
) -> Analysis:
    """A run whose requests have this TTFT, by round."""
    truth = TRUTH.but(run_id=name, rounds=len(ttft_ms))
    records = [
        replace(record, ttft_ms=ttft_ms[record.round - 1], round_kind=kinds[record.round - 1] if kinds else None)
        for record in make_records(truth)
    ]
    rounds = [
        row | ({"kind": kinds[row["round"] - 1]} if kinds else {}) | ({"arm": arms[row["round"] - 1]} if arms else {})
        for row in round_rows(records)
    ]
    info = {"targets": targets or TARGETS, "rounds": rounds} | ({"arms": list(arms)} if arms else {})
    return analyse_folder(write_run(folder / name, records, truth, **info))


def test_all_hit_rounds_count_and_not_the_first_of_them_alone(tmp_path: Path) -> None:
    """100 ms, then 50 and 25: the hits' mean of 37.5 ms is 62.5 % less; round 2 alone would be 50 %."""
    runs = [played(tmp_path, f"r{i}", (100.0, 50.0, 25.0)) for i in range(3)]
    (row,) = judged_targets(runs)
    assert (row["value"], row["verdict"]) == (pytest.approx(0.625), "pass")
    assert {one.stats["targets"][0]["value"] for one in runs} == {row["value"]}, "as each run says it"


def test_a_control_round_is_the_yardstick_and_no_hit(tmp_path: Path) -> None:
    """Cold 200 ms, the control 100 ms, a hit 50 ms: a hit takes half of the control. The control took half of cold without a cache."""
    runs = [played(tmp_path, f"r{i}", (200.0, 100.0, 50.0), ("cold", CONTROL, HIT)) for i in range(3)]
    (row,) = judged_targets(runs)
    assert (row["value"], row["verdict"], row["split"]) == (pytest.approx(0.5), "fail", "against control")


def test_each_arm_has_its_own_row(tmp_path: Path) -> None:
    """A GPU hit cuts 100 ms to 10, a store hit to 50: targets of runs with arms were not judged at all."""
    arms = ("cold", "gpu_hit", "store_hit")
    runs = [played(tmp_path, f"r{i}", (100.0, 10.0, 50.0), arms=arms) for i in range(3)]
    rows = {row["text"].partition(", ")[2]: row for row in judged_targets(runs)}
    assert {name: (row["verdict"], row["value"]) for name, row in rows.items()} == {
        "round 2": ("pass", pytest.approx(0.9)),
        "round 3": ("fail", pytest.approx(0.5)),
    }


def test_runs_that_played_other_states_in_a_round_are_refused(tmp_path: Path) -> None:
    orders = [("cold", "gpu_hit", "store_hit"), ("cold", "store_hit", "gpu_hit"), ("cold", "gpu_hit", "store_hit")]
    runs = [played(tmp_path, f"r{i}", (100.0, 10.0, 50.0), arms=arms) for i, arms in enumerate(orders)]
    with pytest.raises(BadInput, match="round 2 is gpu_hit in r0 and store_hit in r1: a mean over them is of neither"):
        check(runs)


def test_effects_over_runs_are_those_of_the_ratios_logarithms() -> None:
    """Hits take 0.5 and 0.32 of cold, 0.4 on the geometric mean. The logs are ln 0.4 -+ 0.2231, t(1) = 12.706, and their se 0.2231."""
    row = {"kind": "reduction", "threshold": 0.5, "low": None, "high": None, "verdict": "pass", "certain": False, "why": ""}
    found = over_runs([{**row, "value": 0.5}, {**row, "value": 0.68}])
    assert found["value"] == pytest.approx(0.6)
    spread = math.exp(12.706 * 0.22314)
    assert (found["low"], found["high"]) == pytest.approx((1 - 0.4 * spread, 1 - 0.4 / spread), rel=1e-3)
    assert (found["verdict"], found["why"]) == ("pass", "not statistically certain")
