"""Finds rounds whose mean TTFT, or its change, is dominated by a few requests, such as a burst at the start or a server pause.

Records come in, the rounds that this is true of go out. Two rules, neither of which noise meets: the mean lies above the P90, and so far
up that as a value of its round it would be an outlier; or the change is less than half as large (on the log scale) without requests that
are far out of their round. A round whose few slow requests are those that compute their prefix by plan, for the others to hit, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.basics.number_text import number
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.stats.intervals import Floats, carried_quantile, quantile
from locust_kvcache.contract.round_kinds import COLD, CONTROL, HIT

LEAST = 20  # requests: fewer carry no P90
LEAST_FOR_CHANGE = 40  # of fewer the quartiles are too rough to say which requests are far out
FEW = 0.1  # of a round's requests
OUT, FAR = (
    1.5,
    3.0,
)  # interquartile ranges of the logarithm above the third quartile: 1 of 300 and 1 of 900,000 normal values lie there
TIMES_MEDIAN = 2.0  # where all times are nearly equal, far out is no long wait yet
LEAST_LIFT = 1.2  # times the mean without them: of nearly equal times the mean may lie above the P90 by a hair
MOST = 0.5  # of the change
LEAST_CHANGE = 0.1  # of the mean


@dataclass(frozen=True)
class FewSlow:
    """`slow` of `requests` waited longer than `over_ms`; `above_p90`: by them the mean is above the P90, else they carry the change."""

    slow: int
    requests: int
    over_ms: float
    mean_ms: float
    without_ms: float
    median_ms: float
    above_p90: bool = False


Key = tuple[str, int]


def few_slow(records: pd.DataFrame) -> dict[Key, FewSlow]:
    """By scenario and round: those of which a few requests make the mean, or its change against the cold round (or the control)."""
    above, far, kinds = dict[Key, FewSlow](), dict[Key, FewSlow](), dict[Key, str]()
    usable = records["ok"] & records["ttft_ms"].gt(0)
    for (scenario, number_), places in group_masks(records, ["scenario", "round"]):
        group = chosen(records, places & usable, ["ttft_ms", "round_window", "planned_cached_tokens"])
        if len(group) < LEAST:
            continue
        key = (str(scenario), int(number_))
        ordered = np.sort(group["ttft_ms"].to_numpy(dtype="float64"))
        kinds[key], far[key] = str(group["round_window"].iloc[0]), _far_out(ordered)
        if _by_plan(group, far[key]):
            far[key] = _beyond(ordered, math.inf)
        if (found := _above_p90(ordered)) and not _by_plan(group, found):
            above[key] = found
    return {**_of_changes(far, kinds), **above}


def _by_plan(group: pd.DataFrame, found: FewSlow) -> bool:
    """Whether most slow requests have nothing cached by plan, and most others have."""
    slow, hits = group["ttft_ms"].gt(found.over_ms), group["planned_cached_tokens"].gt(0)
    return bool(slow.any()) and hits[slow].mean() < MOST < hits[~slow].mean()


def _above_p90(ordered: Floats) -> FewSlow | None:
    mean, p90 = float(ordered.mean()), carried_quantile(ordered, 0.9)
    if p90 is None or mean <= max(p90, _fence(ordered, OUT)):
        return None
    found = _beyond(ordered, mean, above_p90=True)
    return found if found.mean_ms > LEAST_LIFT * found.without_ms else None


def _fence(ordered: Floats, ranges: float) -> float:
    """Tukey's, on the logarithms."""
    first, third = (quantile(np.log(ordered), q) for q in (0.25, 0.75))
    return math.exp(third + ranges * (third - first))


def _far_out(ordered: Floats) -> FewSlow:
    """The round with those far out; with none where they are more than a few, as they are another kind of request then."""
    if len(ordered) < LEAST_FOR_CHANGE:
        return _beyond(ordered, math.inf)
    found = _beyond(ordered, max(_fence(ordered, FAR), TIMES_MEDIAN * quantile(ordered, 0.5)))
    return found if found.slow <= FEW * len(ordered) else _beyond(ordered, math.inf)


def _beyond(ordered: Floats, over_ms: float, above_p90: bool = False) -> FewSlow:
    rest = ordered[ordered <= over_ms]
    figures = (float(ordered.mean()), float(rest.mean()), quantile(ordered, 0.5))
    return FewSlow(len(ordered) - len(rest), len(ordered), over_ms, *figures, above_p90)


def _of_changes(rounds: Mapping[Key, FewSlow], kinds: Mapping[Key, str]) -> dict[Key, FewSlow]:
    """Rounds without whose far-out requests the change from the cold round (or the control) to a later one is less than half as large."""
    found = dict[Key, FewSlow]()
    for scenario in dict.fromkeys(name for name, _ in rounds):
        mine = [key for key in rounds if key[0] == scenario]
        first = [key for kind in (CONTROL, COLD) for key in mine if kinds[key] == kind][:1]
        for before in first:
            for after in [key for key in mine if kinds[key] == HIT]:
                sides = {key: rounds[key] for key in (before, after) if rounds[key].slow}
                if sides and _carried(rounds[before], rounds[after]):
                    found |= {key: one for key, one in sides.items() if _carried_by(key, rounds, before, after)} or sides
    return found


def _carried_by(key: Key, rounds: Mapping[Key, FewSlow], before: Key, after: Key) -> bool:
    """Whether the slow requests of that round alone carry the change."""
    kept = [rounds[one] if one == key else replace(rounds[one], without_ms=rounds[one].mean_ms) for one in (before, after)]
    return _carried(*kept)


def _carried(before: FewSlow, after: FewSlow) -> bool:
    whole = math.log(after.mean_ms / before.mean_ms)
    return abs(whole) > math.log1p(LEAST_CHANGE) and math.log(after.without_ms / before.without_ms) / whole < MOST


def slow_problems(found: Mapping[Key, FewSlow], told: Set[Key]) -> list[Problem]:
    """`told`: rounds that have a warning of slow first requests: the same requests."""
    todo = (
        "All users send at once when a round starts: more requests (--requests) make that matter less, and arrivals at a rate (--arrival "
        "poisson --request-rate 2) avoid it. A pause of the server has the same effect. Compare the medians."
    )
    return [
        Problem(
            "warning",
            "few_slow",
            f"Round {number_} of {scenario}: {one.slow} of {one.requests} requests waited longer than {number(one.over_ms)} ms for their "
            f"first token; the median is {number(one.median_ms)} ms.",
            todo,
        )
        for (scenario, number_), one in found.items()
        if (scenario, number_) not in told
    ]


def leads(rounds: Iterable[tuple[int, FewSlow | None]]) -> list[str]:
    """What a headline says of the rounds of a scenario; from the third on they are counted."""
    texts = [_lead(number_, one) for number_, one in rounds if one]
    return [*texts[:2], *([f"the same is true of {len(texts) - 2} more of the rounds"] if len(texts) > 2 else [])]


def _lead(round_: int, one: FewSlow) -> str:
    few = f"{one.slow} of {one.requests} requests"
    figures = f"{number(one.mean_ms)} ms; {number(one.without_ms)} ms without them; median {number(one.median_ms)} ms"
    if one.above_p90:
        return f"{few} raise the mean TTFT of round {round_} above its P90 ({figures})"
    return f"{few} of round {round_} make most of the change (mean TTFT {figures})"
