"""python -m benchmarks.evidence_coverage: how often the interval of hit against cold by evidence holds the truth.

Runs with a known truth are simulated in which questions share documents, and question 1 on every document comes first: in round 1 these
compute their document, all others hit. So the cold requests lie in the first stretch of the plan, where they queue together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.coverage import Case, Cell, queue
from locust_kvcache.analysis.cache import prefixes
from locust_kvcache.analysis.stats import comparison, dependence, pairing, summary
from locust_kvcache.analysis.stats.intervals import Floats

TRUTH_RUNS = 3000
CASES = (
    Case("6 documents of 5 questions, 1 user", 30, alike=5),
    Case("6 documents of 5 questions, 2 users", 30, alike=5, users=2),
    Case("6 documents of 5 questions, 6 users", 30, alike=5, users=6),
    Case("24 documents of 5 questions, 2 users", 120, alike=5, users=2),
    Case("24 documents of 5 questions, 8 users", 120, alike=5, users=8),
    Case("48 documents of 5 questions, 8 users", 240, alike=5, users=8),
    Case("15 documents of 20 questions, 4 users", 300, alike=20, users=4),
)
Run = list[tuple[Floats, Floats, Floats]]


def documents_of(case: Case) -> int:
    return case.requests // case.alike


def simulated(case: Case, rng: np.random.Generator) -> Run:
    """Per round: start, TTFT and decoding of each request in the plan's order, in s; only the first on each document computes it."""
    index = np.arange(case.requests)
    document, first = index % documents_of(case), index < documents_of(case)
    size = np.exp(rng.normal(0, case.request, case.requests))
    cold, hit = (np.exp(rng.normal(0, case.document, documents_of(case)))[document] for _ in range(2))
    found, clock = Run(), 0.0
    for number in range(case.rounds):
        work = size * np.where(first & (number == 0), cold, hit * case.ratio)
        work *= np.exp(rng.normal(0, case.noise, case.requests))
        decode = 0.2 * np.exp(rng.normal(0, 0.1, case.requests))
        start, ttft = queue(case, rng, work, decode)
        found.append((clock + start, ttft, decode))
        clock += float((start + ttft + decode).max()) + 1.0
    return found


def records_of(case: Case, runs: Sequence[Run]) -> pd.DataFrame:
    """Labelled, as the analysis has them; each run is a scenario of its own, as nothing is shared between scenarios."""
    index = np.arange(case.requests)
    first = index < documents_of(case)
    tables = [
        pd.DataFrame({
            "scenario": f"{name}", "round": number, "round_window": "hit" if number > 1 else "cold", "ok": True,
            "window": np.where(first & (number == 1), "cold", "hit"), "request_index": index, "session_id": index,
            "shares_prefix_with": np.where(first, np.nan, index % documents_of(case)), "schedule_lag_ms": 0.0,
            "started_at_s": start, "ttft_ms": 1000 * ttft, "e2e_ms": 1000 * (ttft + decode), "tpot_ms": 1000 * decode / 40,
        })
        for name, rounds in enumerate(runs)
        for number, (start, ttft, decode) in enumerate(rounds, start=1)
    ]  # fmt: skip
    records = summary.add_estimates(pd.concat(tables, ignore_index=True))
    return dependence.add_dependence(records, prefixes.roots(records))


def truth_of(case: Case, seed: int, runs: int) -> float:
    """Ratio of what many such runs have on average."""
    rng, cold, hit = np.random.default_rng(seed), 0.0, 0.0
    for _ in range(runs):
        times = [float(ttft[: documents_of(case)].mean()) for _, ttft, _ in simulated(case, rng)]
        cold, hit = cold + times[0], hit + float(np.mean(times[1:]))
    return hit / cold


def effects_of(case: Case, runs: int, seed: int = 1) -> pd.DataFrame:
    """What the reports of such runs say of the mean TTFT by evidence, a row for each."""
    rng = np.random.default_rng(seed)
    records = records_of(case, [simulated(case, rng) for _ in range(runs)])
    table = comparison.effects(pairing.pair_windows(records), ("ttft_ms",))
    return table[table["statistic"].eq("mean")]


def cell(case: Case, runs: int, seed: int = 1, truth_runs: int = TRUTH_RUNS) -> Cell:
    """Coverage of the mean's interval."""
    truth, table = truth_of(case, seed + 1000, truth_runs), effects_of(case, runs, seed)
    mine = table[table["ratio_low"].notna()]
    return Cell(len(mine), int((mine["ratio_low"].le(truth) & mine["ratio_high"].ge(truth)).sum()), runs)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence_coverage", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="simulated runs of each case (default: 1000)")
    args = parser.parse_args(arguments)
    print("| case | cold requests | mean | reports with an interval, % |\n|---|---|---|---|")
    for case in CASES:
        found = cell(case, args.runs)
        held = "none" if found.coverage is None else f"{100 * found.coverage:.1f}"
        print(f"| {case.name} | {documents_of(case)} | {held} | {100 * found.printed / found.runs:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
