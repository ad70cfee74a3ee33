"""Reads --abort-if: rules such as `error_rate>5%/60s` that end a run while it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from locust.util.timespan import parse_timespan

from locust_kvcache.contract.errors import BadInput

SHARES = ("error_rate", "hit_rate")
TIMES = tuple(f"{name}_{statistic}_ms" for name in ("ttft", "tpot", "e2e") for statistic in ("mean", "p50", "p90", "p99"))
RATES = ("requests_per_s",)
FIGURES = (*SHARES, *TIMES, *RATES)
DEFAULT_WINDOW_S = 60.0
LONGEST_WINDOW_S = 3600.0
EXAMPLE = "error_rate>5%/60s, ttft_p90_ms>8000/60s, hit_rate<20%/2m"
_RULE = re.compile(r"\s*(\w+)\s*([<>])\s*([0-9.]+)\s*(%?)\s*(?:/\s*(\w+))?\s*")


@dataclass(frozen=True)
class AlertRule:
    """Fires where `figure` of the last `window_s` is above (or below) `limit`; shares are from 0 to 1."""

    text: str
    figure: str
    above: bool
    limit: float
    window_s: float

    def is_broken_by(self, value: float) -> bool:
        return value > self.limit if self.above else value < self.limit


def parse_rules(words: Iterable[str]) -> tuple[AlertRule, ...]:
    return tuple(_rule(word) for word in words)


def _rule(text: str) -> AlertRule:
    found = _RULE.fullmatch(text)
    if found is None:
        raise BadInput(f"--abort-if is {text!r}; expected FIGURE>LIMIT/WINDOW or FIGURE<LIMIT/WINDOW, such as {EXAMPLE}")
    figure, sign, number, percent, window = found.groups()
    if figure not in FIGURES:
        raise BadInput(f"--abort-if is {text!r}: {figure!r} is not a figure; allowed: {', '.join(FIGURES)}")
    try:
        limit = float(number)
    except ValueError as error:
        raise BadInput(f"--abort-if is {text!r}: {number!r} is not a number") from error
    if percent and figure not in SHARES:
        raise BadInput(f"--abort-if is {text!r}: {figure} is not a share; give its limit without %")
    limit = limit / 100 if percent else limit
    if figure in SHARES and limit > 1:
        raise BadInput(f"--abort-if is {text!r}: {figure} is a share; give 5% or 0.05")
    return AlertRule(text.strip(), figure, sign == ">", limit, _window_s(text, window))


def _window_s(text: str, window: str | None) -> float:
    if window is None:
        return DEFAULT_WINDOW_S
    try:
        seconds = float(parse_timespan(window))
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= LONGEST_WINDOW_S:
        raise BadInput(f"--abort-if is {text!r}: the window is {window!r}; expected 1s to 1h, such as 60s or 2m")
    return seconds
