"""python -m benchmarks.coverage: how often the intervals that a report prints hold the truth, and how often a verdict is false.

Runs with a known truth are simulated: users in a closed loop in front of one server that works off a queue; questions that share a
document have what the document does in common. The product's own functions label them, compare cold with hit, and judge. Coverage counts
the intervals that were printed; where none is printed the share is in its column, and the reason is in the report.
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from locust_kvcache.analysis.cache import prefixes
from locust_kvcache.analysis.stats import busy_time, comparison, dependence, pairing, summary, verdicts
from locust_kvcache.analysis.stats.intervals import Floats

STATISTICS = (("ttft_ms", "mean"), ("ttft_ms", "median"), ("ttft_ms", "p90"), ("ttft_ms", "p95"), ("ttft_ms", "p99"),
              ("requests_per_s", "rate"), ("busy_requests_per_s", "rate"))  # fmt: skip
TRUTH_RUNS = 3000
TURNAROUND_S = (
    1e-4  # from an answer to the user's next request: as real clients have it, ends and starts do not fall on one moment
)


@dataclass(frozen=True)
class Case:
    """`requests` in documents (or sessions) of `alike`; times are log-normal: sigmas of a document, of a request, and of each try."""

    name: str
    requests: int
    alike: int = 1
    users: int = 1
    load: float = 1.0  # of the server; 1: users do not pause
    rounds: int = 2
    ratio: float = 0.4
    document: float = 0.3  # on cold and hit each by itself
    request: float = 0.3  # on both
    noise: float = 0.2


CASES = (
    Case("independent", 30),
    Case("independent", 100),
    *(Case(f"{pairs} pairs", pairs) for pairs in (3, 4, 5, 6, 10)),
    Case("5 sessions of 5 turns", 25, alike=5),
    Case("6 sessions of 5 turns", 30, alike=5),
    Case("12 sessions of 10 turns", 120, alike=10),
    Case("25 sessions of 8 turns", 200, alike=8),
    Case("6 documents of 8 questions", 48, alike=8, document=0.5, noise=0.05),
    Case("24 documents of 5 questions", 120, alike=5, document=0.5, noise=0.05),
    Case("heavy tails", 30, noise=1.0),
    Case("heavy tails", 200, noise=1.0),
    Case("3 rounds", 60, rounds=3),
    Case("6 rounds", 60, rounds=6),
    Case("6 rounds", 200, rounds=6),
    *(Case(f"1 user, load {load:g}", 60, users=1, load=load) for load in (0.3, 0.7, 1.0)),
    *(Case(f"8 users, load {load:g}", count, users=8, load=load) for load in (0.3, 0.7, 1.0) for count in (24, 60, 200)),
    Case("8 users, load 1, 6 rounds", 60, users=8, rounds=6),
    Case("8 users, load 0.7, documents of 5", 120, alike=5, users=8, load=0.7),
)


def simulated(case: Case, rng: np.random.Generator) -> list[tuple[Floats, Floats, Floats]]:
    """Per round: start, TTFT and decoding of each request in the plan's order, in s."""
    size = np.exp(rng.normal(0, case.request, case.requests))
    documents = np.arange(case.requests) // case.alike
    found, clock = [], 0.0
    effects = [np.exp(rng.normal(0, case.document, documents.max() + 1))[documents] for _ in range(2)]
    for number in range(case.rounds):
        work = size * effects[number > 0] * np.exp(rng.normal(0, case.noise, case.requests)) * (case.ratio if number else 1.0)
        decode = 0.2 * np.exp(rng.normal(0, 0.1, case.requests)) * (case.ratio if number else 1.0)
        start, ttft = queue(case, rng, work, decode)
        found.append((clock + start, ttft, decode))
        clock += float((start + ttft + decode).max()) + 1.0
    return found


def queue(case: Case, rng: np.random.Generator, work: Floats, decode: Floats) -> tuple[Floats, Floats]:
    """Users in a closed loop, one server, first come first served; a pause between requests that gives the load."""
    mean = float(work.mean())
    pause = 0.0 if case.load >= 1 else mean * (case.users / case.load - 1)
    users = [(0.0 if not pause else float(rng.exponential(pause)), user) for user in range(case.users)]
    heapq.heapify(users)
    free, start, ttft = 0.0, np.empty(len(work)), np.empty(len(work))
    for index, seconds in enumerate(work):
        sent, user = heapq.heappop(users)
        free = max(sent, free) + seconds
        start[index], ttft[index] = sent, free - sent
        heapq.heappush(users, (free + decode[index] + TURNAROUND_S + (float(rng.exponential(pause)) if pause else 0.0), user))
    return start, ttft


def records_of(case: Case, runs: Sequence[list[tuple[Floats, Floats, Floats]]]) -> pd.DataFrame:
    """As the analysis has them after reading; each run is a scenario of its own, as nothing is shared between scenarios."""
    index = np.arange(case.requests)
    first = index // case.alike * case.alike
    columns: dict[str, list[object]] = {
        name: [] for name in ("scenario", "round", "started_at_s", "ttft_ms", "e2e_ms", "tpot_ms")
    }
    for name, rounds in enumerate(runs):
        for number, (start, ttft, decode) in enumerate(rounds, start=1):
            columns["scenario"].append(np.full(case.requests, f"{name}"))
            columns["round"].append(np.full(case.requests, number))
            columns["started_at_s"].append(start)
            columns["ttft_ms"].append(1000 * ttft)
            columns["e2e_ms"].append(1000 * (ttft + decode))
            columns["tpot_ms"].append(1000 * decode / 40)
    count = len(columns["round"])
    table = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})  # type: ignore[arg-type]
    table = table.assign(
        request_index=np.tile(index, count),
        session_id=np.tile(index, count),
        shares_prefix_with=np.tile(np.where(first == index, np.nan, first), count),
        ok=True,
        itl_p50_ms=table["tpot_ms"],
        schedule_lag_ms=0.0,
        round_window=np.where(table["round"].gt(1), "hit", "cold"),
    )
    records = summary.add_estimates(table)
    return dependence.add_dependence(records, prefixes.roots(records))


def rates_of(case: Case, runs: Sequence[list[tuple[Floats, Floats, Floats]]]) -> pd.DataFrame:
    rows = []
    for name, rounds in enumerate(runs):
        for number, (start, ttft, decode) in enumerate(rounds, start=1):
            wall_s = float((start + ttft + decode).max() - start.min())
            rate = case.requests / wall_s
            rows.append((f"{name}", number, wall_s, rate, 4000 * rate, 40 * rate, *busy_rate(start, start + ttft + decode)))
    columns = ["scenario", "round", "wall_s", *comparison.RATES, "busy_s", comparison.BUSY_RATE]
    return pd.DataFrame(rows, columns=columns)


def busy_rate(start: Floats, end: Floats) -> tuple[float, float | None]:
    """Seconds in which all users were busy, and the rate in them, as the report has it."""
    _, _, busy_s, _, rate, _, _ = busy_time.busy_of(start, end)
    return busy_s, rate


def effects_of(
    case: Case, runs: Sequence[list[tuple[Floats, Floats, Floats]]], metrics: Sequence[str] = comparison.METRICS
) -> pd.DataFrame:
    """What the reports of such runs say, but for the verdicts."""
    records = records_of(case, runs)
    latencies = comparison.effects(pairing.pair_rounds(records), metrics)
    rounds = rates_of(case, runs)
    sides = (rounds[rounds["round"] == 1], rounds[rounds["round"] > 1])
    rates = comparison.rate_effects(*sides, latencies, closed_loop=True, paused=dependence.paused(records))
    return pd.concat([latencies, rates], ignore_index=True).assign(split="round")


def truth_of(case: Case, seed: int, runs: int) -> dict[tuple[str, str], float]:
    """Ratio of what many such runs have on average, and of the percentiles of all their values."""
    rng = np.random.default_rng(seed)
    cold, hit, rates, busy = [], [], [], []
    for _ in range(runs):
        rounds = simulated(case, rng)
        cold.append(rounds[0][1])
        hit.append(np.concatenate([ttft for _, ttft, _ in rounds[1:]]))
        walls = [float((start + ttft + decode).max() - start.min()) for start, ttft, decode in rounds]
        rates.append(math.log(walls[0] * (len(walls) - 1) / sum(walls[1:])))
        times = [busy_rate(start, start + ttft + decode) for start, ttft, decode in rounds]
        if all(rate for _, rate in times):
            done = [seconds * (rate or 0.0) for seconds, rate in times]
            later_s = sum(seconds for seconds, _ in times[1:])
            busy.append(math.log(sum(done[1:]) / later_s / (done[0] / times[0][0])))
    before, after = np.concatenate(cold), np.concatenate(hit)
    levels = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    found = {("ttft_ms", name): float(np.quantile(after, q) / np.quantile(before, q)) for name, q in levels.items()}
    return found | {("ttft_ms", "mean"): float(after.mean() / before.mean()),
                    ("requests_per_s", "rate"): math.exp(float(np.mean(rates))),
                    ("busy_requests_per_s", "rate"): math.exp(float(np.mean(busy))) if busy else math.nan}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """Of one statistic: runs that printed an interval, those in which it held the truth, and all."""

    printed: int
    held: int
    runs: int

    @property
    def coverage(self) -> float | None:
        return self.held / self.printed if self.printed else None


def cells(case: Case, runs: int, seed: int = 1, truth_runs: int = TRUTH_RUNS) -> dict[tuple[str, str], Cell]:
    """Coverage of each statistic over so many simulated runs."""
    rng, truth = np.random.default_rng(seed), truth_of(case, seed + 1000, truth_runs)
    table = effects_of(case, [simulated(case, rng) for _ in range(runs)], ("ttft_ms", "e2e_ms"))
    found = {}
    for metric, name in STATISTICS:
        mine = table[table["metric"].eq(metric) & table["statistic"].eq(name) & table["ratio_low"].notna()]
        held = mine["ratio_low"].le(truth[metric, name]) & mine["ratio_high"].ge(truth[metric, name])
        found[metric, name] = Cell(len(mine), int(held.sum()), runs)
    return found


def false_verdicts(case: Case, runs: int, seed: int = 2) -> float:
    """Share of reports with at least one better or worse, where the later rounds are as the first (A/A)."""
    rng = np.random.default_rng(seed)
    same = replace(case, ratio=1.0)
    table = effects_of(same, [simulated(same, rng) for _ in range(runs)])
    judged = [verdicts.add_verdicts(report)["verdict"] for _, report in table.groupby("scenario")]
    return sum(bool(one.isin([verdicts.BETTER, verdicts.WORSE]).any()) for one in judged) / runs


def row_of(case: Case, runs: int) -> str:
    """A row of the table: coverage in %, and in brackets the share of reports that print the interval where that is not all."""
    found = []
    for cell in cells(case, runs).values():
        share = cell.printed / cell.runs
        if not cell.printed or share < 0.01:
            found.append("none")
        else:
            found.append(f"{100 * (cell.coverage or 0):.1f}" + (f" ({100 * share:.0f} %)" if share < 0.995 else ""))
    return f"| {case.name} | {case.requests} | {' | '.join(found)} | {100 * false_verdicts(case, runs):.1f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="simulated runs of each case (default: 1000)")
    parser.add_argument("--cases", default="", help="only those whose name contains this")
    args = parser.parse_args(arguments)
    print(
        "| case | requests | mean | median | P90 | P95 | P99 | requests/s | busy users | false verdicts, % of reports |\n|"
        + "---|" * 10
    )
    for case in CASES:
        if args.cases in case.name:
            print(row_of(case, args.runs), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
