"""Finds the same planned requests on two sides, such as the cold round and the hit rounds of one run.

What is kept of a side is which of its rows count and which planned request each is of; the values stay in the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.mapped import release
from locust_kvcache.analysis.stats import dependence
from locust_kvcache.analysis.stats.influence import Side
from locust_kvcache.analysis.stats.intervals import Floats, Ints
from locust_kvcache.contract.round_kinds import COLD, CONTROL, HIT

KEYS = ("request_index", "session_id")  # of a scenario's planned request


@dataclass(frozen=True)
class Rows:
    """Rows of a table of records by their places, and the planned request (a number from 0) that each is of."""

    records: pd.DataFrame
    places: Ints
    unit: Ints

    def finite(self, metric: str) -> Side:
        """The values of a metric that are known."""
        values: Floats = self.records[metric].to_numpy(dtype="float64")[self.places]
        release()
        known = np.isfinite(values)
        return Side(values, self.unit) if known.all() else Side(values[known], self.unit[known])


@dataclass(frozen=True)
class Matched:
    """One scenario's planned requests that both sides have. `first`: the places of the baseline's first row of each."""

    scenario: str
    baseline: Rows
    contender: Rows
    first: Ints

    def units(self) -> pd.DataFrame:
        """One row per planned request, with what it depends on."""
        records = self.baseline.records
        units = records[[name for name in dependence.OF_UNITS if name in records]].iloc[self.first]
        release()
        return units


@dataclass(frozen=True)
class Pairs:
    """What both sides have, by scenario in the order of their names."""

    matched: tuple[Matched, ...]
    why_not: str = ""  # why nothing here can have an interval

    @property
    def empty(self) -> bool:
        return not self.matched

    def __len__(self) -> int:
        return sum(len(one.first) for one in self.matched)


def pair_rounds(records: pd.DataFrame, baseline: str = "cold", contender: str = "hit") -> Pairs:
    """One planned request in the rounds of two kinds, in which it succeeded."""
    return pair(records, records["round_window"].eq(baseline), records, records["round_window"].eq(contender))


def pair_two_rounds(records: pd.DataFrame, baseline: int, contender: int, scenario: str | None = None) -> Pairs:
    """The same planned request in two rounds in which it succeeded, of one scenario or of all."""
    ok = records["ok"] if scenario is None else records["ok"] & records["scenario"].eq(scenario)
    return pair(records, ok & records["round"].eq(baseline), records, ok & records["round"].eq(contender))


def pair_windows(records: pd.DataFrame) -> Pairs:
    """Cold and hit of one planned request by evidence: all its cold records, and all its hit records; those of a control apart."""
    mine = records["round_window"].ne(CONTROL)
    return pair(records, mine & records["window"].eq("cold"), records, mine & records["window"].eq("hit"))


def pair_runs(baseline: pd.DataFrame, contender: pd.DataFrame, why_not: str, window: str | None = None) -> Pairs:
    """The same planned request of the same round in two runs, in all rounds or in those of one kind; both succeeded. Requests say nothing
    of how runs differ: no intervals."""
    sides = [records["ok"] if window is None else _succeeded(records, window) for records in (baseline, contender)]
    return pair(baseline, sides[0], contender, sides[1], (*KEYS, "round"), why_not)


def pair_hit_with_cold(cold: pd.DataFrame, hit: pd.DataFrame, why_not: str) -> Pairs:
    """The same planned request in the cold rounds of one run and in the hit rounds of another."""
    return pair(cold, _succeeded(cold, COLD), hit, _succeeded(hit, HIT), KEYS, why_not)


def pair_rounds_of_runs(first: pd.DataFrame, of_first: int, second: pd.DataFrame, of_second: int, why_not: str) -> Pairs:
    """The same planned request in one round of a run and in one of another run."""
    sides = [records["ok"] & records["round"].eq(number) for records, number in ((first, of_first), (second, of_second))]
    return pair(first, sides[0], second, sides[1], KEYS, why_not)


def _succeeded(records: pd.DataFrame, window: str) -> pd.Series:
    return records["ok"] & records["round_window"].eq(window)


def pair(
    first: pd.DataFrame,
    of_first: pd.Series,
    second: pd.DataFrame,
    of_second: pd.Series,
    keys: Sequence[str] = KEYS,
    why_not: str = "",
) -> Pairs:
    """The rows of two masks, cut down to the planned requests that both have."""
    sides = ((first, of_first.astype(bool)), (second, of_second.astype(bool)))
    names = [set(map(str, records["scenario"][mask].unique())) for records, mask in sides]
    found = []
    for scenario in sorted(names[0] & names[1]):
        places = [np.flatnonzero((mask & records["scenario"].eq(scenario)).to_numpy()) for records, mask in sides]
        if (matched := _matched(scenario, (first, second), places, keys)) is not None:
            found.append(matched)
    return Pairs(tuple(found), why_not)


def _matched(scenario: str, tables: Sequence[pd.DataFrame], places: Sequence[Ints], keys: Sequence[str]) -> Matched | None:
    before, after = _codes(tables, places, keys)
    in_both = np.zeros(int(before.max()) + 1, dtype=bool)  # by the codes of the baseline, which come first
    in_both[after[after < len(in_both)]] = True
    if not in_both.any():
        return None
    number = np.cumsum(in_both) - 1
    sides = []
    for records, mine, codes in zip(tables, places, (before, after), strict=True):
        shared = codes < len(in_both)
        shared[shared] = in_both[codes[shared]]
        sides.append(Rows(records, mine[shared], number[codes[shared]]))
    new = np.diff(np.maximum.accumulate(sides[0].unit), prepend=-1) > 0
    return Matched(scenario, sides[0], sides[1], sides[0].places[new])


def _codes(tables: Sequence[pd.DataFrame], places: Sequence[Ints], keys: Sequence[str]) -> tuple[Ints, Ints]:
    """A number per row of both sides: equal where all keys are, in the order in which they first occur."""
    whole: Ints = np.zeros(sum(map(len, places)), dtype=np.int64)
    for name in keys:
        values = np.concatenate([table[name].to_numpy(dtype="int64")[mine] for table, mine in zip(tables, places, strict=True)])
        release()
        values -= values.min()
        if int(whole.max()) + 1 > 2**62 // (int(values.max()) + 1):
            whole, values = pd.factorize(whole)[0].astype(np.int64), pd.factorize(values)[0].astype(np.int64)
        whole = whole * (int(values.max()) + 1) + values
    codes = pd.factorize(whole)[0].astype(np.int64, copy=False)
    return codes[: len(places[0])], codes[len(places[0]) :]
