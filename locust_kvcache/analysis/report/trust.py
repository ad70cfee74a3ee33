"""How far figures can be trusted, in a few sentences for the first screen, the same list on every kind of page.

Requests and failures, whether cold and hits are confirmed, the load generator, the control round; then what the page itself adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from locust_kvcache.analysis.basics.number_text import listed, percent, plural
from locust_kvcache.analysis.cache.tier_verdicts import BY_NONCE, COLD, NO_HIT, UNKNOWN
from locust_kvcache.analysis.tables.claim_words import NO_CONTROL, answering_split, claim_of, kind_of
from locust_kvcache.analysis.tables.table import Stats, find, run_of, scenarios

COLD_UNKNOWN = "Cold: not known, the servers do not tell what they cached; the prompts start with a fresh nonce."
HITS_UNKNOWN = "Hits: not known, nothing tells what the caches served."
CLIENT_UNKNOWN = "Load generator: not known whether it was on time."
MIXED_CONTROL = "A control round (--control) was run in some of the runs only."


def run_trust(stats: Stats) -> tuple[str, ...]:
    return tuple(text for text in (*common_trust([stats]), _intervals(stats)) if text)


def common_trust(runs: Sequence[Stats]) -> tuple[str, ...]:
    """What every page says, of all its runs together."""
    found = (_records(runs), _cold(runs), _hits(runs), _client(runs), _control(runs))
    return tuple(text for text in found if text)


def _rounds(runs: Iterable[Stats]) -> list[dict[str, Any]]:
    return [row for stats in runs for row in stats["rounds"]]


def _records(runs: Sequence[Stats]) -> str:
    rounds = _rounds(runs)
    planned = sum(row["planned_requests"] or 0 for row in rounds)
    records = sum(row["requests"] for row in rounds)
    failed = sum(row["failed"] for row in rounds)
    if planned == records and records > 1:
        measured = f"All {records:,} planned requests were measured"
    elif planned and planned != records:
        measured = f"{records:,} of {planned:,.0f} planned requests were measured"
    else:
        measured = "1 request was measured" if records == 1 else f"{records:,} requests were measured"
    share = f" ({percent(failed / records)})" if failed and records else ""
    return f"{measured}; {failed or 'none'} failed{share}."


def _verdicts(runs: Iterable[Stats], wanted: str) -> list[dict[str, Any]]:
    """The verdicts of all rounds of one kind: cold, or hit."""
    found = []
    for stats in runs:
        kinds = {(row["scenario"], row["round"]): kind_of(row) for row in stats["rounds"]}
        found += [row for row in stats["verdicts"] if kinds.get((row["scenario"], row["round"])) == wanted]
    return found


def _cold(runs: Sequence[Stats]) -> str:
    """Whether the rounds with new prompts found nothing in a cache, and by what evidence."""
    cold = _verdicts(runs, "cold")
    if not cold:
        return ""
    proven = [row for row in cold if row["verdict"] == COLD]
    if len(proven) == len(cold):
        return f"Cold was cold: {_evidence(proven)} confirm it for {_all(len(cold), 'cold round')}."
    if all(row["verdict"] in (COLD, BY_NONCE) for row in cold):
        return COLD_UNKNOWN
    return f"Cold is confirmed for {len(proven)} of {plural(len(cold), 'cold round')} only."


def _hits(runs: Sequence[Stats]) -> str:
    """Whether the rounds that repeat prompts were served from a cache as planned, and by what evidence."""
    later = _verdicts(runs, "hit")
    if not later:
        return ""
    told = [row for row in later if row["verdict"] != UNKNOWN]
    if not told:
        return HITS_UNKNOWN
    full = [row for row in told if row["verdict"] != NO_HIT and not row["verdict"].startswith("partial ")]
    if len(full) == len(later):
        return f"Hits were hits: {_evidence(full)} confirm it for {_all(len(later), 'later round')}."
    parts = [
        (sum(row["verdict"].startswith("partial ") for row in told), "hit less than planned"),
        (sum(row["verdict"] == NO_HIT for row in told), "hit nothing"),
        (len(later) - len(told), "not known"),
    ]
    others = ", ".join(f"{count} {word}" for count, word in parts if count)
    return f"Hits are confirmed for {len(full)} of {plural(len(later), 'later round')}; {others}."


def _evidence(rows: list[dict[str, Any]]) -> str:
    return "the servers' counters" if all("counters" in row["evidence"] for row in rows) else "the reported cached tokens"


def _client(runs: Sequence[Stats]) -> str:
    told = [row["client_limited"] for row in _rounds(runs)]
    late = sum(1 for limited in told if limited)
    if late:
        return f"The load generator was late in {late} of {plural(len(told), 'round')}."
    if None in told:
        return CLIENT_UNKNOWN
    return f"The load generator was on time in {_all(len(told), 'round')}."


def _all(count: int, noun: str) -> str:
    if count <= 2:
        return f"the only {noun}" if count == 1 else f"both {noun}s"
    return f"all {plural(count, noun)}"


def _control(runs: Sequence[Stats]) -> str:
    if all(row["round"] == 1 for row in _rounds(runs)):
        return ""
    controls = {stats["run"].get("run_id"): [claim_of(stats, name)["control"] for name in scenarios(stats)] for stats in runs}
    numbers = sorted({number for found in controls.values() for number in found if number})
    if not numbers:
        return NO_CONTROL
    if not all(any(found) for found in controls.values()):
        return MIXED_CONTROL
    return f"Control: round {listed(numbers)} sent fresh prompts, and hits are compared with that round."


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
        least = min((int(row["pairs"]) for row in rows if row["pairs"]), default=0)
        why = f"{plural(least, 'request')} per round, too few for an interval" if least else "too few requests for an interval"
        return f"{why[0].upper()}{why[1:]}: the changes are those of this sample."
    known = [int(row["clusters"]) for row in carried if row["clusters"]]
    if not known:
        return "Intervals (95 %) hold for this run; other runs may differ more."
    least = min(known)
    least_text = f"{'at least ' if len(carried) > 1 else ''}{least} independent groups of requests"
    groups = f"{least_text} (those that share a prefix, or overlap in time)"
    some = "" if len(carried) == len(rows) else f" in {len(carried)} of {len(rows)} comparisons; the others have too few requests"
    return f"Intervals (95 %) rest on {groups}{some}. They hold for this run; other runs may differ more."
