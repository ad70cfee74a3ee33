"""Finds which requests of a run depend on one another, through a shared prefix or through queueing.

Two rules, and the wider spread counts. Prefix: requests with one prefix root are one cluster. Time: where requests overlap, the plan's
order is cut into blocks, each at least twice as long as the number of requests in flight (at most 20 blocks); what neighbouring
blocks still have in common is estimated and added. Batch means: Schmeiser (1982); the correction for neighbours: Tafazzoli & Wilson (2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.mapped import kept
from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.basics.number_text import plural
from locust_kvcache.analysis.stats.intervals import MIN_CLUSTERS, Floats, Ints, Spread, effective_count

MOST_BLOCKS = 20
BLOCK_IN_FLIGHT = 2.0  # length of a block, in requests in flight at once
LEAST_QUEUES = 3.0  # requests of a round, in requests in flight at once: fewer are the filling of the queue and little else
OVERLAP = 0.05  # share of requests sent while another was open, above which they can queue
TOUCHING = 0.02  # of its duration by which a request may start before another's end: clocks are no finer
BUSY_SHARE = 0.75  # of the users that were ever busy at once, over the whole round: below it throughput is not users over latency
PAUSELESS_SHARE = 0.9  # the same between the first and the last moment at which all were busy: below it users paused
MOST_ALIKE = 0.8  # correlation of neighbouring blocks that is still corrected for
COLUMNS = ["prefix_root", "time_block", "in_flight", "block_requests"]
OF_UNITS = ["session_id", "started_at_s", *COLUMNS]  # what `of_requests` reads


@dataclass(frozen=True)
class Grouping:
    """A code per planned request: equal codes depend on one another. `inflation`: of the variance, for blocks that are short."""

    codes: Ints
    inflation: float = 1.0
    in_time: bool = False

    def variance(self, influence: Floats) -> float:
        """Of the estimate, from each group's influence on it (in the order of the codes)."""
        total = float((influence**2).sum())
        if not self.in_time or total == 0:
            return total * self.inflation
        alike = float((influence[1:] * influence[:-1]).sum()) / total + 1 / len(influence)
        alike = min(max(alike, 0.0), MOST_ALIKE)
        return total * self.inflation * (1 + alike) / (1 - alike)


@dataclass(frozen=True)
class Dependence:
    """The groupings of some planned requests, or why no interval can be had from them."""

    groupings: tuple[Grouping, ...]
    clusters: int
    freedom: float
    why_not: str = ""


def add_dependence(records: pd.DataFrame, roots: pd.Series) -> pd.DataFrame:
    """Adds `prefix_root` and, where requests overlap, `time_block`, `in_flight` and `block_requests` (how long a block is); alike in all
    rounds of a planned request."""
    columns = {
        "prefix_root": roots.to_numpy(dtype="int64", copy=True),
        "time_block": np.full(len(records), -1, dtype=np.int64),
        "in_flight": np.zeros(len(records)),
        "block_requests": np.zeros(len(records)),
    }
    for _, rows in group_masks(records, ["scenario"]):
        columns["prefix_root"][rows] = roots[rows].groupby(records["session_id"][rows]).transform("min")
        group = chosen(records, rows, ["round", "request_index", "ok", "started_at_s", "e2e_ms"])
        busy = in_flight(group)
        if busy > 0:
            blocks, length = _blocks(group, busy)
            columns["time_block"][rows], columns["in_flight"][rows], columns["block_requests"][rows] = blocks, busy, length
        del group
    made = {name: pd.Series(kept(columns.pop(name)), index=records.index, copy=False) for name in list(columns)}
    return records.assign(**made)


def in_flight(records: pd.DataFrame) -> float:
    """Mean number of requests in flight (sum of E2E / span) in the busiest round; 0 where no round has requests that overlap."""
    start, lasts = records["started_at_s"].to_numpy(dtype="float64"), records["e2e_ms"].to_numpy(dtype="float64") / 1000
    usable = records["ok"].to_numpy(dtype=bool) & np.isfinite(start) & (lasts > 0)
    number, found = records["round"].to_numpy(), 0.0
    for this in np.unique(number[usable]):
        mine = usable & (number == this)
        order = np.argsort(start[mine], kind="stable")
        begin, end = start[mine][order], (start + lasts)[mine][order]
        late = begin[1:] + TOUCHING * (end - begin)[1:]
        overlaps = float((late < np.maximum.accumulate(end)[:-1]).sum()) / len(begin)
        span = float(end.max() - begin[0])
        if overlaps > OVERLAP and span > 0:
            found = max(found, float((end - begin).sum()) / span)
    return found


def paused(records: pd.DataFrame) -> frozenset[str]:
    """Scenarios in which throughput is not the users over the latency: in some round too few of them were busy on average.

    Over the whole round ramp and tail count as well (BUSY_SHARE); without these, pauses alone (PAUSELESS_SHARE).
    """
    found = set()
    for (scenario, _), rows in group_masks(records, ["scenario", "round"]):
        group = chosen(records, rows & records["ok"], ["started_at_s", "e2e_ms"])
        start = group["started_at_s"].to_numpy(dtype="float64")
        end = start + group["e2e_ms"].to_numpy(dtype="float64") / 1000
        known = np.isfinite(end)
        if known.any() and end[known].max() > start[known].min():
            whole, inner = _busy_shares(start[known], end[known])
            if whole < BUSY_SHARE or inner < PAUSELESS_SHARE:
                found.add(str(scenario))
    return frozenset(found)


def _busy_shares(start: Floats, end: Floats) -> tuple[float, float]:
    """Mean requests in flight over the most, in the whole round and between the moments at which there were most."""
    first, last = np.sort(start), np.sort(end)
    late = first + TOUCHING * float((end - start).mean())
    ended = np.searchsorted(last, late, side="right")
    level = np.arange(1, len(first) + 1) - ended
    most = max(1, int(level.max()))
    full = np.flatnonzero(level == level.max())
    begins, ends = first[full[0]], last[min(ended[full[-1]], len(last) - 1)]
    inside = np.clip(np.minimum(end, ends) - np.maximum(start, begins), 0.0, None).sum()
    return float((end - start).sum()) / float(last[-1] - first[0]) / most, float(inside) / max(ends - begins, 1e-9) / most


def _blocks(records: pd.DataFrame, busy: float) -> tuple[Ints, float]:
    """Block of each record's planned request, by the order in which its first round sent it; and how many requests a block has."""
    index = records["request_index"].to_numpy(dtype="int64")
    sent = records["started_at_s"].to_numpy(dtype="float64")
    order = np.lexsort((index, sent, records["round"].to_numpy()))
    _, first = np.unique(index[order], return_index=True)  # in the order of the index
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first, kind="stable")] = np.arange(len(first))
    count = len(first)
    blocks = _block_count(count, busy)
    return (place * blocks // count)[np.searchsorted(np.unique(index), index)], count / blocks


def in_time(sides: Sequence[pd.DataFrame]) -> Dependence:
    """Of requests that stand for themselves, those of one side after those of the other: blocks of each side, by the order of sending."""
    codes, inflation, counts = list[Ints](), 1.0, list[int]()
    for side in sides:
        busy = max((in_flight(group) for _, group in side.groupby("scenario", observed=True)), default=0.0)
        blocks = min(len(side), MOST_BLOCKS, max(1, int(len(side) // max(BLOCK_IN_FLIGHT * busy, 1.0))))
        place = np.empty(len(side), dtype=np.int64)
        place[np.argsort(side["started_at_s"].to_numpy(dtype="float64"), kind="stable")] = np.arange(len(side))
        codes.append(place * blocks // max(len(side), 1) + sum(counts))
        counts.append(blocks)
        if busy > 0:
            inflation = max(inflation, _short_blocks(busy, len(side) / blocks))
    fewest = min(counts)
    why = f"{fewest} blocks in time, an interval needs {MIN_CLUSTERS}" if fewest < MIN_CLUSTERS else ""
    return Dependence((Grouping(np.concatenate(codes), inflation, in_time=True),), fewest, fewest - 1, why)


def of_requests(table: pd.DataFrame) -> Dependence:
    """Of rows with the columns of `add_dependence` (a row per planned request); of bare rows each session stands for itself."""
    groupings = [Grouping(_codes(table["prefix_root" if "prefix_root" in table else "session_id"]))]
    busy = float(table["in_flight"].max()) if "in_flight" in table and len(table) else 0.0
    sent = len(table)
    if busy > 0:
        codes, length = _codes(table["time_block"]), float(table["block_requests"].max())
        if effective_count(codes) < MIN_CLUSTERS - 0.5:
            codes, length = _own_blocks(table["started_at_s"].to_numpy(dtype="float64"), busy)
        groupings.append(Grouping(codes, _short_blocks(busy, length), in_time=True))
        sent = round((int(codes.max()) + 1) * length)
    return _dependence(groupings, sent, busy)


def _own_blocks(started_at_s: Floats, busy: float) -> tuple[Ints, float]:
    """Of requests that lie in a short stretch of the plan, as the first questions on all documents do: as if they were all of it."""
    count = len(started_at_s)
    place = np.empty(count, dtype=np.int64)
    place[np.argsort(started_at_s, kind="stable")] = np.arange(count)
    blocks = _block_count(count, busy)
    return place * blocks // count, count / blocks


def _block_count(count: int, busy: float) -> int:
    return min(count, MOST_BLOCKS, max(MIN_CLUSTERS, int(count // max(BLOCK_IN_FLIGHT * busy, 1.0))))


def _dependence(groupings: list[Grouping], sent: int, busy: float) -> Dependence:
    counts = [effective_count(grouping.codes) for grouping in groupings]
    clusters = min((int(grouping.codes.max(initial=-1)) + 1 for grouping in groupings), default=0)
    why = ""
    if busy and sent < LEAST_QUEUES * busy:
        many = f"{LEAST_QUEUES:g} times as many as are in flight"
        why = f"{plural(sent, 'request')} with {busy:.1f} in flight at once: an interval needs {many}"
    elif min(counts) < MIN_CLUSTERS - 0.5:
        alike = f"so unequal that they count as {min(counts):.1f}; " if clusters >= MIN_CLUSTERS else ""
        why = f"{clusters} {'prefix' if counts[0] == min(counts) else 'time'} clusters, {alike}an interval needs {MIN_CLUSTERS}"
    return Dependence(tuple(groupings), clusters, min(counts) - 1, why)


def _short_blocks(busy: float, length: float) -> float:
    """What blocks miss of the variance when each request waits for the `busy` before it.

    A moving sum's correlation falls in a straight line over `busy` requests, so blocks of `length` hold 1 - busy / (3 length) of the
    variance; shorter ones length / busy * (1 - length / (3 busy)).
    """
    ratio = busy / length
    return 1 / (1 - ratio / 3) if ratio <= 1 else ratio / (1 - 1 / (3 * ratio))


def _codes(values: pd.Series) -> Ints:
    return pd.factorize(values.to_numpy(), sort=True)[0].astype(np.int64)


def combined(dependence: Dependence, influence: list[Floats], alone: Floats) -> Spread:
    """The widest of: clusters, blocks, both together (clusters + blocks - each by itself: Cameron, Gelbach & Miller 2011)."""
    parts = [grouping.variance(mine) for grouping, mine in zip(dependence.groupings, influence, strict=True)]
    own = float((alone**2).sum())
    both = sum(parts) - own if len(parts) > 1 else 0.0
    return Spread(float(np.sqrt(max(*parts, both, 0.0))), dependence.freedom)
