"""Sums up a run while it goes on, from the lines that reach the master: table rows and a chart's points per scenario and round.

Nothing is sorted or kept per record: times go into buckets 2 % apart, so a percentile is within 1 % of the exact one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from locust_kvcache.contract.record import OK

BUCKET_RATIO = 1.02  # a bucket's middle is within 1 % of all that lies in it
FEWEST = {0.5: 1, 0.9: 20, 0.99: 100}  # a percentile is shown only where the sample carries it
MAX_POINTS = 300
RoundKey = tuple[str, int]


class Histogram:
    """Positive values in buckets of equal ratio; memory grows with the spread of the values, not with their number."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0

    def add(self, value: float) -> None:
        self._buckets[math.floor(math.log(max(value, 1e-3)) / math.log(BUCKET_RATIO))] += 1
        self.count += 1

    def take(self, other: Histogram) -> None:
        """The other's values too."""
        self._buckets.update(other._buckets)
        self.count += other.count

    def _at(self, position: int) -> float:
        """The middle of the bucket that holds the order statistic at a 0-based position."""
        left = position
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left < 0:
                return float(BUCKET_RATIO ** (bucket + 0.5))
        raise IndexError(position)

    def quantile(self, q: float) -> float | None:
        """As locust_kvcache.contract.quantile.quantile, within 1 %; None where there are too few values for it."""
        if self.count < FEWEST[q]:
            return None
        position = q * (self.count - 1)
        low = math.floor(position)
        below, above = self._at(low), self._at(min(low + 1, self.count - 1))
        return below + (above - below) * (position - low)


@dataclass
class RoundSums:
    """Sums of one round; only whole streams count in the times and tokens."""

    planned: int
    done: int = 0
    failed: int = 0
    client_limited: int = 0
    prompt_tokens: int = 0  # of the requests whose cached tokens are reported
    cached_tokens: int = 0
    reported: int = 0
    ttft: Histogram = field(default_factory=Histogram)
    tpot: Histogram = field(default_factory=Histogram)

    def add(self, record: Mapping[str, Any]) -> None:
        if record["status"] != OK:
            self.failed += 1
            return
        self.done += 1
        self.client_limited += bool(record["client_limited"])
        if record["ttft_ms"] is not None:
            self.ttft.add(record["ttft_ms"])
        if record["tpot_ms"] is not None:
            self.tpot.add(record["tpot_ms"])
        if record["reported_cached_tokens"] is not None and record["prompt_tokens"]:
            self.reported += 1
            self.prompt_tokens += record["prompt_tokens"]
            self.cached_tokens += record["reported_cached_tokens"]

    @property
    def hit_percent(self) -> float | None:
        """Share of the prompt tokens that the server says it had; None where it does not say."""
        return 100 * self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


class Points:
    """Mean TTFT by the time a request started; the intervals double in width when there are too many of them."""

    def __init__(self) -> None:
        self._width_s = 1
        self._first_s: float | None = None
        self._keys: set[RoundKey] = set()
        self._sums: dict[tuple[str, int, int], list[float]] = {}

    def add(self, key: RoundKey, started_at_s: float, ttft_ms: float) -> None:
        if self._first_s is None:
            self._first_s = started_at_s
        self._put((*key, int((started_at_s - self._first_s) // self._width_s)), 1, ttft_ms)
        self._keys.add(key)
        while len(self._sums) > max(MAX_POINTS, 2 * len(self._keys)):
            old, self._sums, self._width_s = self._sums, {}, self._width_s * 2
            for (name, number, slot), (count, total) in old.items():
                self._put((name, number, slot // 2), count, total)

    def _put(self, key: tuple[str, int, int], count: float, total_ms: float) -> None:
        sums = self._sums.setdefault(key, [0, 0.0])
        sums[0] += count
        sums[1] += total_ms

    def lines(self) -> list[dict[str, Any]]:
        """Per scenario and round, in order of time: [seconds since the first request, mean TTFT in ms]."""
        lines: dict[RoundKey, list[list[float]]] = {}
        for (name, number, slot), (count, total) in sorted(self._sums.items()):
            lines.setdefault((name, number), []).append([slot * self._width_s, total / count])
        ordered = sorted(lines.items(), key=lambda line: line[1][0])
        return [{"scenario": name, "round": number, "points": points} for (name, number), points in ordered]


class Live:
    def __init__(self, planned: Mapping[RoundKey, int] | None = None) -> None:
        """`planned`: the requests of each round that the run will have."""
        self.rounds = {key: RoundSums(count) for key, count in (planned or {}).items()}
        self.points = Points()

    def add(self, lines: Iterable[str]) -> list[dict[str, Any]]:
        """Take a batch of lines as records.jsonl has them; the parsed records, for others who want them."""
        records = [orjson.loads(line) for line in lines]
        for record in records:
            self.rounds.setdefault((record["scenario"], record["round"]), RoundSums(0)).add(record)
            if record["status"] == OK and record["started_at_s"] is not None and record["ttft_ms"] is not None:
                self.points.add((record["scenario"], record["round"]), record["started_at_s"], record["ttft_ms"])
        return records

    def _reduction_percent(self, scenario: str, number: int) -> float | None:
        """How much lower the median TTFT is than round 1's; None for round 1."""
        first = self.rounds.get((scenario, 1))
        cold = first.ttft.quantile(0.5) if first else None
        warm = self.rounds[scenario, number].ttft.quantile(0.5)
        return 100 * (1 - warm / cold) if number > 1 and cold and warm else None

    def rows(self) -> list[dict[str, Any]]:
        """One row per scenario and round; None is not known, or not carried by the sample."""
        return [
            {
                "scenario": scenario,
                "round": number,
                "planned": state.planned,
                "done": state.done,
                "failed": state.failed,
                **{f"ttft_p{q * 100:.0f}_ms": state.ttft.quantile(q) for q in FEWEST},
                **{f"tpot_p{q * 100:.0f}_ms": state.tpot.quantile(q) for q in FEWEST},
                "hit_percent": state.hit_percent,
                "hit_unreported": state.done - state.reported,
                "ttft_reduction_percent": self._reduction_percent(scenario, number),
                "client_limited": state.client_limited,
            }
            for (scenario, number), state in self.rounds.items()
        ]
