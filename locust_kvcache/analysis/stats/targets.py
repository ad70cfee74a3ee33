"""Judges targets: pass, fail or not judged, and why."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from locust_kvcache.analysis.stats.intervals import Spread, half_width
from locust_kvcache.contract.targets import HIT_RATE

PASS, FAIL, NOT_JUDGED = "pass", "fail", "not judged"
# name -> (what it says, metric, statistic, how its value comes from contender / baseline, whether it is a minimum)
EFFECT_TARGETS = {
    "hit_ttft_reduction_min": ("TTFT: reduction by a hit (mean)", "ttft_ms", "mean", "reduction", True),
    "hit_throughput_gain_min": (
        "Throughput: gain by a hit (requests/s of whole rounds)",
        "requests_per_s",
        "rate",
        "gain",
        True,
    ),
    "hit_busy_throughput_gain_min": (
        "Throughput: gain by a hit (requests/s while all users were busy)",
        "busy_requests_per_s",
        "rate",
        "gain",
        True,
    ),
}
# All that one run can meet. The hit rate is no effect: cache/hit_rate_target.py judges it from the evidence of the hit rounds.
RUN_TARGETS = {
    HIT_RATE: ("Hit rate of the hit rounds (cached / prompt tokens)", "hit_rate", "sum", "share", True),
    **EFFECT_TARGETS,
}
PAIR_TARGETS = {
    "pd_tpot_increase_max": ("TPOT of PD above the single server's (mean)", "tpot_ms", "mean", "gain", False),
    "pd_hit_ttft_ratio_max": ("TTFT of PD on a hit over the single server's cold TTFT (mean)", "ttft_ms", "mean", "ratio", False),
}
RATES = ("requests_per_s", "busy_requests_per_s")
NO_FIGURE = {
    "busy_requests_per_s": "a round has no rate while all users were busy (fewer than 20 requests, or than 3 of each user)"
}
NO_VALUE = "one of the two sides has no value of this metric"
NOTHING_TO_COMPARE = "no request succeeded both in a cold and in a later round"
NO_STATE = "the runs have no cache state after cold in common"
_RATIO = {"reduction": lambda value: 1 - value, "gain": lambda value: 1 + value, "ratio": lambda value: value}
_VALUE = {"reduction": lambda ratio: 1 - ratio, "gain": lambda ratio: ratio - 1, "ratio": lambda ratio: ratio}


def judge_pair(
    targets: Mapping[str, Any],
    effects: Mapping[str, Mapping[str, pd.DataFrame]],
    scenarios: list[str],
    why_not: Callable[[str, str, str], str] = lambda name, state, scenario: "",
) -> list[dict[str, Any]]:
    """PD against the single server, per scenario; `effects` holds, by target and cache state, the table with PD as its contender.

    The state is empty where there is one. Of several the worst is judged, and named; without any the target is not judged. `why_not`
    says of a target, a state and a scenario why evidence forbids to judge it; empty where it does not.
    """
    return [
        _worst(name, targets[name], effects[name], scenario, why_not)
        for name in PAIR_TARGETS
        if targets.get(name) is not None
        for scenario in scenarios
    ]


def _worst(
    name: str, threshold: Any, by_state: Mapping[str, pd.DataFrame], scenario: str, why_not: Callable[[str, str, str], str]
) -> dict[str, Any]:
    """All targets of a pair are maxima: the worst state has the largest value."""
    if not by_state:
        return not_judged(name, threshold, scenario, NO_STATE)
    text, *rule = PAIR_TARGETS[name]
    found = {
        state: not_judged(name, threshold, scenario, why)
        if (why := why_not(name, state, scenario))
        else judge(name, threshold, (text, *rule), table[table["scenario"] == scenario], scenario)  # type: ignore[arg-type]
        for state, table in by_state.items()
    }
    known = {state: row for state, row in found.items() if row["value"] is not None}
    if not known:
        return next(iter(found.values()))
    state, row = max(known.items(), key=lambda item: item[1]["value"])
    if row["verdict"] == PASS and (open_ := [name for name in found if name not in known]):
        return {**found[open_[0]], "text": f"{text}, {open_[0]}".removesuffix(", ")}  # the worst may be one that has no value
    if row["verdict"] == PASS:  # as certain as the least certain: that one may be worse
        row = {**row, **next(({"certain": False, "why": one["why"]} for one in known.values() if not one["certain"]), {})}
    named = f"{text}, {state} (worst of {' / '.join(known)})" if len(known) > 1 else f"{text}, {state}"
    return {**row, "text": named if state else text}


def judge_run(
    targets: Mapping[str, Any],
    effects: pd.DataFrame,
    scenarios: list[str],
    why_not: Callable[[str, int | None], str] = lambda scenario, number: "",
    closed_loop: bool = True,
    intended: bool = False,
    no_ttft: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The targets of one run, per scenario, on cold against hit, each arm by itself. One without a threshold is left out.

    `intended`: the effects count from the intended time, as requests of an open loop were sent late; the text says so.

    `why_not` says of a scenario, and of an arm's round, why evidence forbids to judge it (cache/claimed.py); empty where it does not.
    `no_ttft` says by scenario why its TTFT is no time to a first token.
    """
    judged = []
    for name, (text, metric, *rest) in EFFECT_TARGETS.items():
        for scenario in scenarios if targets.get(name) is not None else []:
            no_figure = (no_ttft or {}).get(scenario, "") if metric == "ttft_ms" else ""
            for number, table in _sides(effects[effects["scenario"] == scenario], metric):
                which = "" if number is None else f", round {number:.0f}"
                which += ", from the intended time" if intended and metric == "ttft_ms" else ""
                why = why_not(scenario, number) or no_figure
                if not why and metric in RATES and not closed_loop:
                    why = "in an open loop the rate is that of the arrivals"
                if why:
                    judged.append(not_judged(name, targets[name], scenario, why, which))
                else:
                    judged.append(judge(name, targets[name], (text + which, metric, *rest), table, scenario))  # type: ignore[arg-type]
    others = [
        not_judged(name, targets[name], None, "needs a PD run and a single-server run: locust-kvcache compare")
        for name in PAIR_TARGETS
        if targets.get(name) is not None
    ]
    return judged + others


def _sides(effects: pd.DataFrame, metric: str) -> list[tuple[int | None, pd.DataFrame]]:
    """What a target is judged on: each arm's round against cold (a store's hits are not the GPU's), else all hits together."""
    arms = effects[effects["split"].eq("arm")]
    if arms.empty:
        return [(None, _best_evidence(effects, metric))]
    return [(int(number), arms[arms["round"].eq(number)]) for number in sorted(arms["round"].unique())]


def _best_evidence(effects: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The effects against a control round where there is one; else by evidence where enough pairs were cold and hit for an interval;
    else by round.

    A target speaks of a hit against cold; a cold round is full of hits wherever requests share a prefix.
    """
    mine = effects[effects["metric"].eq(metric) & effects["ratio"].notna()]
    if mine["split"].eq("against control").any():  # which the headline is about, with an interval or without
        return effects[effects["split"].eq("against control")]
    found = "evidence" if (mine["split"].eq("evidence") & mine["ratio_low"].notna()).any() else "round"
    return effects[effects["split"].eq(found)]


def judge(
    name: str, threshold: Any, rule: tuple[str, str, str, str, bool], effects: pd.DataFrame, scenario: str
) -> dict[str, Any]:
    """One target on one scenario. The point estimate decides; `certain` says whether the whole interval lies on its side."""
    text, metric, statistic, kind, minimum = rule
    rows = effects[(effects["metric"] == metric) & (effects["statistic"] == statistic)]
    if not is_number(threshold):
        return not_judged(name, threshold, scenario, "")
    if rows.empty or pd.isna(rows.iloc[0]["ratio"]):
        why = NO_FIGURE.get(metric, NO_VALUE)
        return not_judged(name, threshold, scenario, NOTHING_TO_COMPARE if effects.empty else why)
    row = rows.iloc[0]
    if row.get("withheld"):
        return not_judged(name, threshold, scenario, f"not comparable: {row['withheld']}")
    split = row.get("split")
    ends = [None if pd.isna(row[key]) else _VALUE[kind](float(row[key])) for key in ("ratio", "ratio_low", "ratio_high")]
    value, bounds = ends[0], sorted(end for end in ends[1:] if end is not None)
    assert value is not None
    met = value >= threshold if minimum else value <= threshold
    certain = bool(bounds) and all((end >= threshold if minimum else end <= threshold) == met for end in bounds)
    return {
        "target": name,
        "text": text,
        "scenario": scenario,
        "split": split,
        "kind": kind,
        "minimum": minimum,
        "threshold": float(threshold),
        "value": value,
        "low": bounds[0] if bounds else None,
        "high": bounds[1] if bounds else None,
        "verdict": PASS if met else FAIL,
        "certain": certain,
        "why": "" if certain else "not statistically certain" if bounds else "too few pairs for an interval",
    }


def over_runs(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One minimum that each of several runs was judged on by itself: the mean of their values, with Student's interval over runs. Of shares
    the arithmetic mean, of effects that of the ratios' logarithms.
    """
    kind, threshold = rows[0]["kind"], rows[0]["threshold"]
    values = [float(row["value"]) for row in rows]
    if len(values) < 2:
        return rows[0]
    if kind == "share":
        value, low, high = _students(values)
        low, high = max(0.0, low), min(1.0, high)
    elif min(ratios := [_RATIO[kind](one) for one in values]) <= 0:
        return {**rows[0], **dict.fromkeys(("value", "low", "high")), "verdict": NOT_JUDGED, "certain": False, "why": NO_VALUE}
    else:
        value, *ends = (_VALUE[kind](math.exp(end)) for end in _students([math.log(ratio) for ratio in ratios]))
        low, high = sorted(ends)
    met = value >= threshold
    certain = all((end >= threshold) == met for end in (low, high))
    return {
        **rows[0], "value": value, "low": low, "high": high, "verdict": PASS if met else FAIL, "certain": certain,
        "why": "" if certain else "not statistically certain",
    }  # fmt: skip


def _students(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and Student's interval."""
    mean = statistics.fmean(values)
    half = half_width(Spread(statistics.stdev(values) / math.sqrt(len(values)), len(values) - 1))
    return mean, mean - half, mean + half


def is_number(threshold: Any) -> bool:
    return isinstance(threshold, int | float) and not isinstance(threshold, bool)


def not_judged(name: str, threshold: Any, scenario: str | None, why: str, which: str = "") -> dict[str, Any]:
    """A row of a target without a figure; `which` is added to its text."""
    if not is_number(threshold):  # run.json may hold anything
        threshold, why = None, f"the threshold {threshold!r} is not a number"
    text, _, _, kind, minimum = RUN_TARGETS.get(name) or PAIR_TARGETS[name]
    return {
        "target": name, "text": text + which, "scenario": scenario, "split": None, "kind": kind, "minimum": minimum,
        "threshold": threshold,
        "value": None, "low": None, "high": None, "verdict": NOT_JUDGED, "certain": False, "why": why,
    }  # fmt: skip
