"""Watches a run's figures over the last seconds on the master, and says which rule of --abort-if they break.

Made from the records that reach the master anyway; nothing of it runs where requests are sent. A window is 60 slots, so memory is bounded
whatever the load is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.contract.record import LOST, OK, STOPPED
from locust_kvcache.loadgen.options.alert_rules import AlertRule
from locust_kvcache.loadgen.run.live_statistics import Histogram

SLOTS = 60
FEWEST = 10  # requests that ended in a window, for a share or a mean
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass
class Slot:
    ended: int = 0
    failed: int = 0
    reported: int = 0  # requests whose cached tokens are reported
    prompt_tokens: int = 0  # of these
    cached_tokens: int = 0
    times: Histogram = field(default_factory=Histogram)
    total_ms: float = 0.0


@dataclass(frozen=True)
class Alert:
    """A rule that is broken, for run.json."""

    rule: AlertRule
    value: float

    def text(self) -> str:
        shown = f"{self.value:.1%}" if self.rule.figure.endswith("_rate") else f"{self.value:,.4g}"
        return f"--abort-if {self.rule.text}: {self.rule.figure} was {shown} over the last {self.rule.window_s:g} s"

    def to_dict(self) -> dict[str, Any]:
        return {"rule": self.rule.text, "figure": self.rule.figure, "limit": self.rule.limit, "window_s": self.rule.window_s,
                "value": self.value}  # fmt: skip


class Window:
    """The last seconds of one rule; times are seconds since the round began."""

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self._slots: deque[tuple[int, Slot]] = deque()
        self._field = f"{rule.figure.partition('_')[0]}_ms" if rule.figure.endswith("_ms") else None

    def add(self, at_s: float, record: Mapping[str, Any]) -> None:
        if record["status"] in (STOPPED, LOST):
            return  # of the load generator's own making
        slot = self._slot(at_s)
        slot.ended += 1
        if record["status"] != OK:
            slot.failed += 1
            return
        if self._field is not None and record[self._field] is not None:
            slot.times.add(record[self._field])
            slot.total_ms += record[self._field]
        if record["reported_cached_tokens"] is not None and record["prompt_tokens"]:
            slot.reported += 1
            slot.prompt_tokens += record["prompt_tokens"]
            slot.cached_tokens += record["reported_cached_tokens"]

    def _slot(self, at_s: float) -> Slot:
        number = int(at_s * SLOTS / self.rule.window_s)
        if not self._slots or self._slots[-1][0] < number:
            self._slots.append((number, Slot()))
        return self._slots[-1][1]

    def value(self, now_s: float) -> float | None:
        """None while the window is not full, or where too few requests ended in it."""
        first = int(now_s * SLOTS / self.rule.window_s) - SLOTS
        while self._slots and self._slots[0][0] <= first:
            self._slots.popleft()
        if now_s < self.rule.window_s:
            return None
        slots = [slot for _, slot in self._slots]
        ended = sum(slot.ended for slot in slots)
        if self.rule.figure == "requests_per_s":
            return (ended - sum(slot.failed for slot in slots)) / self.rule.window_s
        return self._figure(slots) if ended >= FEWEST else None

    def _figure(self, slots: Sequence[Slot]) -> float | None:
        if self.rule.figure == "error_rate":
            return sum(slot.failed for slot in slots) / sum(slot.ended for slot in slots)
        if self.rule.figure == "hit_rate":
            if sum(slot.reported for slot in slots) < FEWEST:
                return None
            return sum(slot.cached_tokens for slot in slots) / sum(slot.prompt_tokens for slot in slots)
        times = Histogram()
        for slot in slots:
            times.take(slot.times)
        statistic = self.rule.figure.split("_")[1]
        if statistic == "mean":
            return sum(slot.total_ms for slot in slots) / times.count if times.count >= FEWEST else None
        return times.quantile(QUANTILES[statistic])


class Alerts:
    """All rules, in one round at a time. A hit rate is judged in rounds that repeat what was sent: new prompts cannot hit."""

    def __init__(self, rules: Iterable[AlertRule]) -> None:
        self._rules = tuple(rules)
        self._windows: list[Window] = []

    def __bool__(self) -> bool:
        return bool(self._rules)

    def begin(self, repeats: bool) -> None:
        self._windows = [Window(rule) for rule in self._rules if repeats or rule.figure != "hit_rate"]

    def end(self) -> None:
        self._windows = []

    def add(self, at_s: float, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records if self._windows else ():
            for window in self._windows:
                window.add(at_s, record)

    def broken(self, now_s: float) -> Alert | None:
        """The first rule that is broken."""
        for window in self._windows:
            value = window.value(now_s)
            if value is not None and window.rule.is_broken_by(value):
                return Alert(window.rule, value)
        return None
