"""Converts the times of a trace's rows to seconds.

Decided here: which unit they are in, and how the rows of one step are spread over it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import groupby, pairwise

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.traces.source import TIME_UNITS

SHORT_S, FAST_PER_S = 10.0, 50.0  # a recorded trace is longer, and slower
FRACTIONS = (
    "its timestamps are read as seconds: they have fractions, and as ms they would be over in a moment (--trace-time-unit ms: they "
    "are ms)"
)
SINCE_1970 = {"s": 1e9, "ms": 1e11, "us": 1e14, "ns": 1e17}  # from here on, each up to the next; no trace begins so late else
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
LONGEST_S = 1e9  # of a trace, some 30 years
LONGEST_STEP_MS = 10_000  # of time stamps that were rounded; rows further apart are few, no steps
SLOW_S = 600.0
SINCE_1970_S = 1e8  # later times are dates: they count from the first row


def time_unit(times: Sequence[float], given: str | None, of_format: str | None) -> tuple[str, str | None]:
    """(unit, what to say of it). Without a word of it, ms as in the Mooncake traces; seconds where they have fractions and would else
    be over in a moment."""
    if given:
        return given, None
    usual = of_format or "ms"
    if (unit := since_1970(min(times))) and unit != usual:
        return unit, f"its timestamps are read as {NAMES[unit]} since 1970 (--trace-time-unit {usual}: they are {usual})"
    if of_format:
        return of_format, None
    if not _odd(times):
        return "ms", None
    if any(at != int(at) for at in times):
        return "s", FRACTIONS
    return "ms", None


def since_1970(at: float) -> str | None:
    """The unit in which this number is a time of our days; None for a time since the trace began."""
    return next((unit for unit, least in reversed(SINCE_1970.items()) if at >= least), None)


def in_seconds(at: float) -> float:
    """Of a format whose times are seconds: numbers since 1970 are so in whatever unit."""
    return at * TIME_UNITS[since_1970(at) or "s"] / 1000


def _odd(times: Sequence[float]) -> bool:
    """Whether they are strange as ms."""
    span_s = (max(times) - min(times)) / 1000
    return len(times) > 1 and (span_s < SHORT_S or len(times) / span_s > FAST_PER_S)


def unit_doubt(times: Sequence[float], unit: str, given: str | None) -> str | None:
    """Why times that are read as ms, of which nobody has said it, look like seconds."""
    if unit != "ms" or given or since_1970(min(times)):
        return None
    span_s = (max(times) - min(times)) / 1000
    if len(times) > 2 and span_s / len(times) > SLOW_S:
        return (
            f"{len(times):,} requests span {span_s / 3600:,.3g} h if its timestamps are ms, as in the Mooncake traces; "
            "if they are microseconds, add --trace-time-unit us, otherwise --trace-time-unit ms"
        )
    if not _odd(times):
        return None
    return (
        f"{len(times):,} requests span {span_s:,.3g} s if its timestamps are ms, as in the Mooncake traces; "
        "if they are seconds, add --trace-time-unit s, otherwise --trace-time-unit ms"
    )


def in_order(times: Sequence[float]) -> tuple[Sequence[int], int]:
    """(rows in the order of their times, how many stand before an earlier one)."""
    early = sum(1 for before, after in pairwise(times) if after < before)
    return (sorted(range(len(times)), key=times.__getitem__) if early else range(len(times))), early


def seconds(times: Sequence[float], unit: str, keep_bursts: bool) -> array[float]:
    """Ascending times in s, BadInput where they cannot be of one unit; dates count from the first.

    Published traces count in steps (Mooncake's of 3 s, an artefact of their making): rows of one step are spread evenly over it.
    """
    factor = TIME_UNITS[unit]
    zero = times[0] if times[0] * factor / 1000 > SINCE_1970_S or times[0] < 0 else 0.0  # before 1970: a clock without a day
    if (times[-1] - zero) * factor / 1000 > LONGEST_S:
        raise BadInput(
            f"its times go from {times[0]:.15g} to {times[-1]:.15g} {unit}, which is over {LONGEST_S / 3.15e7:.0f} years; expected "
            "times of one unit (--trace-time-unit says which)"
        )
    whole = array("q", (round((at - zero) * factor) for at in times))
    if keep_bursts:
        return array("d", (at_ms / 1000 for at_ms in whole))
    step_ms = _step_ms(whole)
    step_ms = step_ms if step_ms <= LONGEST_STEP_MS else 0
    spread = array("d")
    for at_ms, same in groupby(whole):
        count = sum(1 for _ in same)
        spread.extend((at_ms + step_ms * number / count) / 1000 for number in range(count))
    return spread


def _step_ms(times: Sequence[int]) -> int:
    step = 0
    for at_ms in times:
        step = math.gcd(step, at_ms - times[0])
        if step == 1:
            break
    return step
