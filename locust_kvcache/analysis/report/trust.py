"""How far a run's figures can be trusted, in a few sentences for the first screen: records, cold, client, intervals, control."""

from __future__ import annotations

from locust_kvcache.analysis.basics.number_text import percent, plural
from locust_kvcache.analysis.cache.tier_verdicts import BY_NONCE, COLD
from locust_kvcache.analysis.tables.claim_words import NO_CONTROL, answering_split, claim_of, kind_of
from locust_kvcache.analysis.tables.table import Stats, find, run_of, scenarios


def run_trust(stats: Stats) -> tuple[str, ...]:
    found = (_records(stats), _cold(stats), _client(stats), _intervals(stats), _control(stats))
    return tuple(text for text in found if text)


def _records(stats: Stats) -> str:
    planned = sum(row["planned_requests"] or 0 for row in stats["rounds"])
    records = sum(row["requests"] for row in stats["rounds"])
    failed = sum(row["failed"] for row in stats["rounds"])
    of = f" of {planned:,.0f} planned" if planned and planned != records else ""
    share = f" ({percent(failed / records)})" if failed and records else ""
    return f"{records:,}{of} requests were measured; {failed or 'none'} failed{share}."


def _cold(stats: Stats) -> str:
    """Whether the rounds with new prompts found nothing in a cache, and by what evidence."""
    kinds = {(row["scenario"], row["round"]): kind_of(row) for row in stats["rounds"]}
    cold = [row for row in stats["verdicts"] if kinds.get((row["scenario"], row["round"])) == "cold"]
    if not cold:
        return ""
    proven = [row for row in cold if row["verdict"] == COLD]
    if len(proven) == len(cold):
        evidence = (
            "the servers' counters" if all("counters" in row["evidence"] for row in proven) else "the reported cached tokens"
        )
        return f"Cold was cold: {evidence} confirm it for {_all(len(cold), 'cold round')}."
    if all(row["verdict"] in (COLD, BY_NONCE) for row in cold):
        return "Cold rests on fresh prompts (a nonce) alone: the server does not tell what it cached."
    return f"Cold is confirmed for {len(proven)} of {plural(len(cold), 'cold round')} only."


def _client(stats: Stats) -> str:
    told = [row["client_limited"] for row in stats["rounds"]]
    late = sum(1 for limited in told if limited)
    if late:
        return f"The load generator was late in {late} of {plural(len(told), 'round')}."
    if None in told:
        return "It is not known whether the load generator was on time."
    return f"The load generator was on time in {_all(len(told), 'round')}."


def _all(count: int, noun: str) -> str:
    if count <= 2:
        return f"the only {noun}" if count == 1 else f"both {noun}s"
    return f"all {plural(count, noun)}"


def _intervals(stats: Stats) -> str:
    """How many independent groups of requests carry the intervals; none: what was measured is one sample."""
    arms = bool(run_of(stats).arms)
    rows = [
        row
        for name in scenarios(stats)
        for row in find(stats["effects"], split="arm" if arms else answering_split(stats, name), scenario=name)
        if row["metric"] == "ttft_ms" and row["statistic"] == "mean" and row["ratio"] is not None
    ]
    if not rows:
        return ""
    carried = [row for row in rows if row["ratio_low"] is not None]
    if not carried:
        return "There are too few independent requests for an interval: the changes are those of this sample."
    known = [int(row["clusters"]) for row in carried if row["clusters"]]
    if not known:
        return "Intervals (95 %) hold for this run; other runs may differ more."
    least = min(known)
    groups = f"{'at least ' if len(carried) > 1 else ''}{least} independent groups of requests"
    some = "" if len(carried) == len(rows) else f" in {len(carried)} of {len(rows)} comparisons; the others have too few requests"
    return f"Intervals (95 %) rest on {groups}{some}. They hold for this run; other runs may differ more."


def _control(stats: Stats) -> str:
    if all(row["round"] == 1 for row in stats["rounds"]):
        return ""
    return "" if any(claim_of(stats, name)["control"] for name in scenarios(stats)) else NO_CONTROL
