"""Statistics come in, sentences go out: what was run, the answer, and a sentence per scenario."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import change, number, percent, plural
from locust_kvcache.analysis.stats.targets import NOT_JUDGED, PASS
from locust_kvcache.analysis.tables.table import Stats, find, run_of, scenarios


def run_line(stats: Stats) -> str:
    """One line that says what was run."""
    run = run_of(stats)
    users = "an unknown number of users" if run.users is None else plural(run.users, "user")
    load = f"{users} on {plural(run.workers or 1, 'worker')}"
    if not run.arrival.closed:
        load = f"{run.arrival.kind} arrivals, {run.arrival.request_rate_per_s} requests/s"
    records = sum(row["requests"] for row in stats["rounds"])
    planned = sum(row["planned_requests"] or 0 for row in stats["rounds"])
    state = "complete" if stats["complete"] else "INCOMPLETE"
    kind = run.deployment.kind or "other"
    name = run.deployment.name or "unnamed deployment"
    where = name if name == kind else f"{name} ({kind})"
    return f"{run.run_id}: {where}, {run.model or 'unknown model'}, {load}; {state}, {records:,} of {planned:,.0f} records"


def headline(stats: Stats) -> str:
    """The answer in one sentence: what repeating the requests changes, and whether it is more than noise."""
    names = scenarios(stats)
    if not names:
        return "There is nothing to say: no round has a record."
    text = _answer(stats, names[0]) if len(names) == 1 else _overall(stats, names)
    judged = [row["verdict"] for row in stats["targets"] if row["verdict"] != NOT_JUDGED]
    return f"{text} {judged.count(PASS)} of {plural(len(judged), 'target')} met." if judged else text


def details(stats: Stats) -> list[str]:
    """A sentence per scenario, where there are several."""
    names = scenarios(stats)
    return [_answer(stats, name) for name in names] if len(names) > 1 else []


def _overall(stats: Stats, names: list[str]) -> str:
    rows = find(stats["effects"], split="round", metric="ttft_ms", statistic="mean")
    counts = [
        (verb, [row for row in rows if row["verdict"] == verdict]) for verdict, verb in (("better", "cuts"), ("worse", "raises"))
    ]
    parts = [
        f"{verb} the mean TTFT in {len(found)} of {len(names)} scenarios, by {span(found)}" for verb, found in counts if found
    ]
    return f"Repeating the requests {' and '.join(parts) or 'does not demonstrably change the mean TTFT in any scenario'}."


def span(rows: list[dict[str, Any]]) -> str:
    """39.4 to 76.6 %: the smallest and the largest change."""
    changes = sorted(abs(row["ratio"] - 1) for row in rows)
    return percent(changes[0]) if len(changes) == 1 else f"{100 * changes[0]:,.1f} to {percent(changes[-1])}"


def _answer(stats: Stats, scenario: str) -> str:
    effects = find(stats["effects"], split="round", scenario=scenario)
    ttft = find(effects, metric="ttft_ms", statistic="mean")
    if not ttft or ttft[0]["ratio"] is None:
        return f"{scenario}: cold and hit cannot be compared (no request succeeded both in round 1 and in a later round)."
    row = ttft[0]
    verb = {"better": "cuts", "worse": "raises"}.get(row["verdict"] or "", "does not demonstrably change")
    size = f" by {_interval(row)}" if verb != "does not demonstrably change" else f" ({_interval(row, signed=True)})"
    text = f"{scenario}: repeating the requests {verb} the mean TTFT{size}, {number(row['baseline'])} to {number(row['contender'])} ms"
    rate = find(effects, metric="requests_per_s")
    if rate:
        text += f"; throughput {change(rate[0])}"
    pure = find(stats["effects"], split="evidence", scenario=scenario, metric="ttft_ms", statistic="mean")
    if pure and pure[0]["ratio"] is not None and abs(pure[0]["ratio"] - row["ratio"]) > 0.02:
        text += f"; by evidence, a hit against a cold request: {change(pure[0])}"
    efficiency = [r["cache_efficiency"] for r in find(stats["rounds"], scenario=scenario) if r["round"] > 1]
    known = [value for value in efficiency if value is not None]
    return text + (f"; {percent(min(known))} of what could be cached was served from the cache." if known else ".")


def _interval(row: dict[str, Any], signed: bool = False) -> str:
    if signed:
        return change(row)
    size = f"{abs(100 * (row['ratio'] - 1)):,.1f} %"
    if row["ratio_low"] is None:
        return size
    ends = sorted(abs(100 * (row[key] - 1)) for key in ("ratio_low", "ratio_high"))
    return f"{size} (95 % interval {ends[0]:,.1f} to {ends[1]:,.1f} %)"
