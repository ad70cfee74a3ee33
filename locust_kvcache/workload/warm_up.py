"""Decides which sessions a warm-up sends before a scenario's first round, and when it stops.

A window is the same few sessions each time, once with fresh prompts and, where the run has rounds that hit, once more as they were.
Equal lengths in equal order, so that two windows are compared request by request; docs/warm-up-and-control.md has the rule and why.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.workload.plan import Plan

AUTO, OFF = "auto", "off"
FRESH, AGAIN = "fresh", "again"
WINDOW_REQUESTS = 8  # at least
WINDOWS = 3  # of each kind, before anything is called steady
LEAST_REQUESTS = 32
FASTER = 0.9  # a window is faster than an earlier one if its requests take less than this share of the time, by the median,
BY_CHANCE = 0.05  # and more of them are faster at all than chance gives this often (sign test): else it is noise
LIMIT_REQUESTS = 200  # or the windows that the rule needs, where those are more
LIMIT_S = 120.0
OPEN_WINDOW_SESSIONS = 16  # open loop: as many at most in one window
OPEN_WINDOW_S = 5.0  # a window's arrivals are not spread over more than this
OUTPUT_TOKENS = 32  # an answer of the warm-up is no longer: it is the first token that has to become steady
RULE = (
    f"steady: at least {WINDOWS} windows of each kind and {LEAST_REQUESTS} requests, and the last window of each kind is not more than "
    f"{1 - FASTER:.0%} faster than either of the two before it (median of the ratios of the TTFT, request by request; more of the "
    f"requests faster than chance gives in {BY_CHANCE:.0%} of cases, 7 of 8); "
    f"limits: {LIMIT_REQUESTS} requests (or {WINDOWS} windows of each kind), {LIMIT_S:g} s"
)


def window_sessions(plan: Plan, users: int | None) -> list[int]:
    """Session ids of one window, in plan order, spread evenly over the plan's prompt lengths, the shortest and the longest among them.

    `users` of a closed loop all get a session; None: an open loop.
    """
    last, count = len(plan.sessions) - 1, min(len(plan.sessions), _sessions_needed(plan, users))
    positions = {last} if count == 1 else {round(k * last / (count - 1)) for k in range(count)}
    return _sessions_at(plan, positions)


def _sessions_at(plan: Plan, positions: set[int]) -> list[int]:
    """The sessions that stand at these positions when all are sorted by their prompt tokens, those of one length in plan order. Lengths
    are counted instead of sorted: a plan may hold millions."""
    counts = Counter(map(sum, plan.prompts()))
    before, wanted = 0, dict[int, set[int]]()  # by length: which of the sessions of that length
    for length in sorted(counts):
        wanted[length] = {position - before for position in positions if before <= position < before + counts[length]}
        before += counts[length]
    found, seen = list[int](), Counter[int]()
    for session, length in enumerate(map(sum, plan.prompts())):
        if wanted[length]:
            if seen[length] in wanted[length]:
                found.append(session)
            seen[length] += 1
    return found


def _sessions_needed(plan: Plan, users: int | None) -> int:
    per_session = len(plan.turns) / len(plan.sessions)
    for_requests = math.ceil(WINDOW_REQUESTS / per_session)
    return max(for_requests, users) if users is not None else min(max(for_requests, 1), OPEN_WINDOW_SESSIONS)


def rate_per_s(asked_per_s: float | None, sessions: int) -> float | None:
    """Session starts per second of an open loop's window: the run's own rate, unless a window would take too long at it."""
    return None if asked_per_s is None else max(asked_per_s, sessions / OPEN_WINDOW_S)


@dataclass(frozen=True)
class Window:
    """One window that was sent; `ttft_ms` in plan order, None for a request that failed."""

    kind: str  # fresh | again
    seconds: float
    ttft_ms: tuple[float | None, ...]

    @property
    def failed(self) -> int:
        return sum(value is None for value in self.ttft_ms)

    @property
    def median_ttft_ms(self) -> float | None:
        known = [value for value in self.ttft_ms if value is not None]
        return statistics.median(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        known = {"kind": self.kind, "requests": len(self.ttft_ms), "failed": self.failed, "seconds": round(self.seconds, 3)}
        median = self.median_ttft_ms
        return {**known, "median_ttft_ms": None if median is None else round(median, 3)}


def ratios(later: Window, earlier: Window) -> list[float]:
    """later / earlier TTFT of each request that succeeded in both."""
    pairs = zip(later.ttft_ms, earlier.ttft_ms, strict=True)
    return [a / b for a, b in pairs if a is not None and b]


def ratio(later: Window, earlier: Window) -> float | None:
    """Their median; None where no request of both succeeded."""
    found = ratios(later, earlier)
    return statistics.median(found) if found else None


def no_faster(later: Window, earlier: Window) -> bool:
    """False also where nothing can be compared."""
    found = ratios(later, earlier)
    if not found:
        return False
    return statistics.median(found) >= FASTER or sum(value < 1 for value in found) < least_faster(len(found))


def least_faster(count: int) -> int:
    """The fewest of so many requests that are no chance: heads of a coin as often as that, or more, come in at most BY_CHANCE."""
    ways = 0
    for heads in range(count, 0, -1):
        ways += math.comb(count, heads)
        if ways > BY_CHANCE * 2**count:
            return min(count, heads + 1)
    return count


def lane_is_steady(windows: Sequence[Window]) -> bool:
    """The last window is not faster than either of the two before it."""
    if len(windows) < WINDOWS:
        return False
    return all(no_faster(windows[-1], earlier) for earlier in windows[-WINDOWS:-1])


@dataclass
class WarmUp:
    """What a scenario's warm-up has sent so far, and whether it goes on. `wanted`: auto, or a number of requests."""

    scenario: str
    wanted: str | int
    repeats: bool  # the run has rounds that hit
    windows: list[Window] = field(default_factory=list)
    ended: str | None = None  # why: steady | request limit | time limit | asked for | nothing succeeded
    after: dict[str, Any] = field(default_factory=dict)  # what was done before round 1, e.g. to the caches

    @property
    def kinds(self) -> tuple[str, ...]:
        return (FRESH, AGAIN) if self.repeats else (FRESH,)

    @property
    def next_kind(self) -> str:
        return self.kinds[len(self.windows) % len(self.kinds)]

    @property
    def requests(self) -> int:
        return sum(len(window.ttft_ms) for window in self.windows)

    @property
    def seconds(self) -> float:
        return sum(window.seconds for window in self.windows)

    def lane(self, kind: str) -> list[Window]:
        return [window for window in self.windows if window.kind == kind]

    def add(self, window: Window) -> None:
        self.windows.append(window)
        self.ended = self._why_enough()

    def _why_enough(self) -> str | None:
        """None: go on."""
        if self.windows[-1].failed == len(self.windows[-1].ttft_ms):
            return "nothing succeeded"
        if self.wanted != AUTO:
            return "asked for" if self.requests >= int(self.wanted) else None
        whole = len(self.windows) % len(self.kinds) == 0
        if whole and self.requests >= LEAST_REQUESTS and all(lane_is_steady(self.lane(kind)) for kind in self.kinds):
            return "steady"
        needed = WINDOWS * len(self.kinds) * len(self.windows[-1].ttft_ms)
        if whole and self.requests >= max(LIMIT_REQUESTS, needed):
            return "request limit"
        return "time limit" if self.seconds >= LIMIT_S else None

    def text(self) -> str:
        """For the console."""
        fresh = self.lane(FRESH)
        if not fresh or fresh[0].median_ttft_ms is None or fresh[-1].median_ttft_ms is None:
            return f"{self.requests} requests in {self.seconds:.1f} s"
        change = f"median TTFT {fresh[0].median_ttft_ms:,.0f} ms at first, {fresh[-1].median_ttft_ms:,.0f} ms at the end"
        return f"{self.requests} requests in {self.seconds:.1f} s, {change}"

    def change(self) -> float | None:
        """Of the fresh requests' TTFT, from the first window to the last: a ratio."""
        fresh = self.lane(FRESH)
        return ratio(fresh[-1], fresh[0]) if len(fresh) > 1 else None

    def limit_text(self) -> str:
        """For the console: what the rule could not have seen, where it saw no slow start."""
        change = self.change()
        if self.ended != "steady" or change is None or change < FASTER:
            return ""
        return f"; no slow start was seen: one that is even for more than {self.requests} requests would show as drift in round 1 only"

    def to_dict(self) -> dict[str, Any]:
        """As run.json has it."""
        fresh = self.lane(FRESH)
        first, last = (fresh[0], fresh[-1]) if fresh else (None, None)
        change = self.change()
        return {
            "scenario": self.scenario,
            "wanted": self.wanted,
            "rule": RULE if self.wanted == AUTO else None,
            "ended": self.ended,
            "requests": self.requests,
            "failed": sum(window.failed for window in self.windows),
            "seconds": round(self.seconds, 3),
            "first_median_ttft_ms": first.to_dict()["median_ttft_ms"] if first else None,
            "last_median_ttft_ms": last.to_dict()["median_ttft_ms"] if last else None,
            "change": None if change is None else round(change - 1, 4),
            "windows": [window.to_dict() for window in self.windows],
            **self.after,
        }
