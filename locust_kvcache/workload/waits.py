"""Draws the seconds that a session waits before a turn: think times of people, run times of tools.

think_time: 5     {distribution: exponential, mean_s: 5}     {distribution: lognormal, median_s: 5.2, p99_s: 81.4, max_s: 300}
{distribution: empirical, file: gaps.txt}     {by_turn: [30, {distribution: exponential, mean_s: 5}]}
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section
from locust_kvcache.workload.data_files import whole_text
from locust_kvcache.workload.regular_files import read_file

DISTRIBUTIONS = ("constant", "exponential", "lognormal", "empirical")
P99_SIGMAS = 2.3263478740408408  # a normal distribution's 99th percentile, in standard deviations
MOST_VALUES = 100_000  # they travel to the workers with the scenario


@dataclass(frozen=True)
class Wait:
    """One distribution. `center_s` is the constant, the mean of `exponential` and the median of `lognormal`."""

    kind: str = "constant"
    center_s: float = 0.0
    sigma: float = 0.0  # of the logarithm
    most_s: float | None = None  # longer ones are cut to it
    values_s: tuple[float, ...] = ()

    def draw(self, rng: random.Random) -> float:
        if self.kind == "constant":
            return self.center_s
        if self.kind == "empirical":
            found = rng.choice(self.values_s)
        elif self.kind == "exponential":
            found = rng.expovariate(1 / self.center_s)
        else:
            found = self.center_s * math.exp(rng.gauss(0.0, self.sigma))
        return found if self.most_s is None else min(found, self.most_s)


@dataclass(frozen=True)
class Waits:
    """`by_turn`: before the second turn, the third, ...; the last one holds for all that follow."""

    by_turn: tuple[Wait, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Waits | None:
        if values is None:
            return None
        return cls(tuple(Wait(**{**one, "values_s": tuple(one["values_s"])}) for one in values["by_turn"]))

    def draw(self, turn: int, rng: random.Random) -> float:
        """Before this turn of a session, counted from 1; nothing is waited for before the first."""
        return self.by_turn[min(turn - 2, len(self.by_turn) - 1)].draw(rng) if turn > 1 else 0.0


NO_WAITS = Waits((Wait(),))


@dataclass(frozen=True)
class Gaps:
    """What --gap-scale and --max-gap make of drawn or recorded waits."""

    scale: float = 1.0
    most_s: float | None = None

    def of(self, seconds: float) -> float:
        scaled = seconds * self.scale
        return scaled if self.most_s is None else min(scaled, self.most_s)


AS_PLANNED = Gaps()


def parse_waits(section: Section, key: str, folder: Path) -> Waits:
    """The number or mapping under `key`; nothing is no wait. `folder`: where files of a scenario are."""
    value = section.raw(key)
    if isinstance(value, Mapping) and "by_turn" in value:
        given = section.section(key)
        listed = given.raw("by_turn")
        given.done()
        if not isinstance(listed, list) or not listed:
            raise BadInput(f"{given.name('by_turn')} is {listed!r}; expected a list of numbers of seconds or distributions")
        named = Section({str(place): one for place, one in enumerate(listed)}, given.name("by_turn"))
        return Waits(tuple(_wait(named, str(place), folder) for place in range(len(listed))))
    return Waits((_wait(section, key, folder),)) if value is not None else NO_WAITS


def _wait(section: Section, key: str, folder: Path) -> Wait:
    if not isinstance(section.raw(key), Mapping):
        return Wait(center_s=section.take(key, float, low=0))
    given = section.section(key)
    kind = given.take("distribution", str, choices=DISTRIBUTIONS)
    most_s = given.take("max_s", float, None, low=0) if kind != "constant" else None
    found = Wait(kind, most_s=most_s)
    if kind in ("constant", "exponential"):
        found = Wait(kind, given.take("mean_s", float, low=0 if kind == "constant" else 1e-6), most_s=most_s)
    elif kind == "lognormal":
        median_s = given.take("median_s", float, low=1e-6)
        p99_s = given.take("p99_s", float, low=median_s)
        found = Wait(kind, median_s, math.log(p99_s / median_s) / P99_SIGMAS, most_s)
    else:
        path = folder / given.take("file", str)
        found = Wait(kind, most_s=most_s, values_s=_values(path))
    given.done()
    return found


def _values(path: Path) -> tuple[float, ...]:
    """One number of seconds per line."""
    found = []
    for number, line in enumerate(whole_text(path, read_file(path)).splitlines(), 1):
        if not (text := line.strip()) or text.startswith("#"):
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise BadInput(f"{path}: line {number} is {text[:40]!r}; expected a number of seconds, at least 0, one per line")
        found.append(value)
    if not 1 <= len(found) <= MOST_VALUES:
        raise BadInput(f"{path}: holds {len(found):,} numbers; expected 1 to {MOST_VALUES:,} waits in seconds, one per line")
    return tuple(found)
