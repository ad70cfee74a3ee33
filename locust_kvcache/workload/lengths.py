"""Draws token counts from a distribution of lengths, always within its bounds.

{normal: {mean: 500, std: 200, min: 10, max: 2000}}      {lognormal: {median: 300, sigma: 1.0, min: 10, max: 4000}}
{empirical: [120, 120, 900, 4000]}: one of these, each as likely as it is often listed
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section

KINDS = ("normal", "lognormal", "empirical")
TRIES = 1000
LARGEST = 50.0  # of a logarithm: beyond any bound, and still a number


@dataclass(frozen=True)
class Lengths:
    """`center` is the mean of `normal` and the median of `lognormal`; `spread` is in tokens, and of the logarithm."""

    kind: str  # one of KINDS, or even: all from low to high are as likely
    low: int
    high: int
    center: float = 0.0
    spread: float = 0.0
    values: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> Lengths | None:
        return None if values is None else cls(**{**values, "values": tuple(values["values"])})

    def draw(self, rng: random.Random) -> int:
        """One length. What falls outside the bounds is drawn again, so that none of them piles up there."""
        if self.kind == "empirical":
            return rng.choice(self.values)
        if self.kind == "even":
            return rng.randint(self.low, self.high)
        for _ in range(TRIES):
            factor = rng.gauss(0.0, self.spread)
            found = round(self.center + factor) if self.kind == "normal" else round(self.center * math.exp(min(factor, LARGEST)))
            if self.low <= found <= self.high:
                return found
        return min(max(round(self.center), self.low), self.high)


def parse_lengths(section: Section, key: str) -> Lengths:
    """The mapping under `key`: one kind with its parameters."""
    named = section.section(key)
    kinds = [kind for kind in KINDS if named.raw(kind) is not None]
    named.done()
    if len(kinds) != 1:
        raise BadInput(
            f"{section.name(key)} names {' and '.join(kinds) or 'no distribution'}; expected one of {', '.join(KINDS)}"
        )
    if kinds == ["empirical"]:
        return _empirical(named, section.name(key))
    given = named.section(kinds[0])
    center = given.take("mean" if kinds == ["normal"] else "median", float, low=1)
    spread = given.take("std" if kinds == ["normal"] else "sigma", float, low=0)
    low, high = given.take("min", int, low=1), given.take("max", int, low=1)
    given.done()
    if not low <= center <= high:
        raise BadInput(f"{section.name(key)} has its center {center:g} outside min {low} and max {high}")
    return Lengths(kinds[0], low, high, center, spread)


def _empirical(named: Section, name: str) -> Lengths:
    values = named.raw("empirical")
    whole = isinstance(values, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in values)
    if not whole or not values:
        raise BadInput(f"{name} has empirical {values!r}; expected a list of whole numbers of tokens, at least 1 each")
    return Lengths("empirical", min(values), max(values), values=tuple(values))
