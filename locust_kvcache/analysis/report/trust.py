"""Writes a few sentences about how far the figures can be trusted, for the first screen of every page.

Incomplete runs, server versions, the emulator, the load generator, requests and failures, whether cold and hits are confirmed, the
control round, and what the page itself adds. What weakens the result comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from locust_kvcache.analysis.basics.number_text import listed, percent, plural
from locust_kvcache.analysis.cache.tier_verdicts import BY_NONCE, COLD, NO_HIT, UNKNOWN
from locust_kvcache.analysis.tables.claim_words import (
    NO_CONTROL,
    answering_split,
    claim_of,
    hypotheses,
    kind_of,
    lost_by_adjustment,
)
from locust_kvcache.analysis.tables.said_above import lateness_is_said
from locust_kvcache.analysis.tables.table import Stats, find, run_of, scenarios

COLD_UNKNOWN = "Cold: not known, because the servers do not report cached tokens; the prompts start with a fresh nonce."
HITS_UNKNOWN = "Hits: not known, because there is no evidence of what the caches served."
CLIENT_UNKNOWN = "Load generator: not known whether it was on time."
EMULATED = "Measured on the emulator: times are those of its profile, not of a GPU."
ONE_RUN = "One run: its intervals (95 %) hold for this run, and other runs may differ more."
OBSERVATIONS = "Requests that share a prefix or overlap in time count as one observation."
MIXED_CONTROL = "A control round (--control) was run in some of the runs only."


@dataclass(frozen=True)
class Said:
    """One sentence of the list, and whether it weakens the result."""

    text: str
    weakens: bool = False


def run_trust(stats: Stats) -> tuple[str, ...]:
    return common_trust([stats], own=[_intervals(stats), _adjusted(stats)], late_is_said=lateness_is_said(stats))


def common_trust(
    runs: Sequence[Stats], own: Iterable[Said] = (), caches: bool = True, control: bool = True, late_is_said: bool = False
) -> tuple[str, ...]:
    """What every page says, of all its runs together, and its `own`. `caches`: rounds are cold or hit; `control`: they are compared;
    `late_is_said`: the headline says it of a late load generator."""
    found = [_incomplete(runs), _versions(runs), _emulator(runs), _client(runs, late_is_said), _records(runs)]
    found += [_cold(runs), _hits(runs)] if caches else []
    found += [_control(runs)] if control else []
    return weakest_first([*found, *own])


def weakest_first(found: Iterable[Said]) -> tuple[str, ...]:
    """The texts; what weakens the result stands before the rest."""
    said = [one for one in found if one.text]
    return tuple(one.text for one in sorted(said, key=lambda one: not one.weakens))


def _rounds(runs: Iterable[Stats]) -> list[dict[str, Any]]:
    return [row for stats in runs for row in stats["rounds"]]


def _incomplete(runs: Sequence[Stats]) -> Said:
    part = [stats for stats in runs if not stats["complete"]]
    if not part:
        return Said("")
    if len(runs) == 1:  # where requests are missing, the sentence that counts them says it
        planned, records = _counted(runs)
        return Said("The run is incomplete." if planned in (0, records) else "", True)
    return Said(f"Incomplete: {len(part)} of {plural(len(runs), 'run')}.", True)


def _version(stats: Stats) -> str | None:
    return (stats["run"].get("server") or {}).get("version")


def _versions(runs: Sequence[Stats]) -> Said:
    """A deployment whose server version changed from one of its runs to another."""
    found: dict[str, list[str]] = {}
    for stats in runs:
        known = found.setdefault(str(run_of(stats).deployment.name), [])
        version = _version(stats)
        if version and version not in known:
            known.append(version)
    changed = [f"{name} {listed(versions)}" for name, versions in found.items() if len(versions) > 1]
    return Said(f"The server version changed between runs: {'; '.join(changed)}." if changed else "", True)


def _emulator(runs: Sequence[Stats]) -> Said:
    emulated = sum((_version(stats) or "").startswith("emulator") for stats in runs)
    if not emulated:
        return Said("")
    if emulated == len(runs):
        return Said(EMULATED, True)
    return Said(f"Measured on the emulator, with the times of its profile: {emulated} of {plural(len(runs), 'run')}.", True)


def _counted(runs: Sequence[Stats]) -> tuple[float, int]:
    """(planned requests, those with a record)."""
    rounds = _rounds(runs)
    return sum(row["planned_requests"] or 0 for row in rounds), sum(row["requests"] for row in rounds)


def _records(runs: Sequence[Stats]) -> Said:
    planned, records = _counted(runs)
    failed = sum(row["failed"] for row in _rounds(runs))
    if planned == records and records > 1:
        measured = f"All {records:,} planned requests were measured"
    elif planned and planned != records:
        measured = f"{records:,} of {planned:,.0f} planned requests were measured"
        if len(runs) == 1 and not runs[0]["complete"]:
            measured = f"The run is incomplete: {measured}"
    else:
        measured = "1 request was measured" if records == 1 else f"{records:,} requests were measured"
    share = f" ({percent(failed / records)})" if failed and records else ""
    return Said(f"{measured}; {failed or 'none'} failed{share}.", bool(failed) or planned != records)


def _verdicts(runs: Iterable[Stats], wanted: str) -> list[dict[str, Any]]:
    """The verdicts of all rounds of one kind: cold, or hit."""
    found = []
    for stats in runs:
        kinds = {(row["scenario"], row["round"]): kind_of(row) for row in stats["rounds"]}
        found += [row for row in stats["verdicts"] if kinds.get((row["scenario"], row["round"])) == wanted]
    return found


def _cold(runs: Sequence[Stats]) -> Said:
    """Whether the rounds with new prompts found nothing in a cache, and by what evidence."""
    cold = _verdicts(runs, "cold")
    if not cold:
        return Said("")
    proven = [row for row in cold if row["verdict"] == COLD]
    if len(proven) == len(cold):
        rounds = _rounds(runs)
        if all(row["round"] == 1 for row in rounds) and any(row.get("planned_hit_rate") for row in rounds):
            return Said(f"Caches were empty at first: {_evidence(proven)} confirm it. All hits are on prompts of this run.")
        said = f"Cold is confirmed by {_evidence(proven)} for {_all(len(cold), 'cold round')}."
        return Said(" ".join(text for text in (said, _shared(runs)) if text))
    if all(row["verdict"] in (COLD, BY_NONCE) for row in cold):
        return Said(COLD_UNKNOWN, True)
    return Said(f"Cold is confirmed for {len(proven)} of {plural(len(cold), 'cold round')} only.", True)


def _shared(runs: Sequence[Stats]) -> str:
    """Cold means that nothing is left from before; a round whose prompts share prefixes hits what it computed itself."""
    cold = [row for row in _rounds(runs) if kind_of(row) == "cold" and row.get("planned_hit_rate")]
    share = max((row.get("hit_rate") or 0.0 for row in cold), default=0.0)
    return f"Up to {percent(share)} of a cold round's tokens are hits on prefixes that its own prompts share." if share else ""


def _hits(runs: Sequence[Stats]) -> Said:
    """Whether the rounds that repeat prompts were served from a cache as planned, and by what evidence."""
    later = _verdicts(runs, "hit")
    if not later:
        return Said("")
    told = [row for row in later if row["verdict"] != UNKNOWN]
    if not told:
        return Said(HITS_UNKNOWN, True)
    full = [row for row in told if row["verdict"] != NO_HIT and not row["verdict"].startswith("partial ")]
    if len(full) == len(later):
        return Said(f"Hits are confirmed by {_evidence(full)} for {_all(len(later), 'later round')}.")
    parts = [
        (sum(row["verdict"].startswith("partial ") for row in told), "hit less than planned"),
        (sum(row["verdict"] == NO_HIT for row in told), "hit nothing"),
        (len(later) - len(told), "not known"),
    ]
    others = ", ".join(f"{count} {word}" for count, word in parts if count)
    return Said(f"Hits are confirmed for {len(full)} of {plural(len(later), 'later round')}; {others}.", True)


def _evidence(rows: list[dict[str, Any]]) -> str:
    return "the servers' counters" if all("counters" in row["evidence"] for row in rows) else "the reported cached tokens"


def _client(runs: Sequence[Stats], is_said: bool) -> Said:
    told = [row["client_limited"] for row in _rounds(runs)]
    late = sum(1 for limited in told if limited)
    if late and is_said:
        return Said(f"Rounds with a late load generator: {late} of {len(told)} (above).", True)
    if late:
        return Said(f"The load generator was late in {late} of {plural(len(told), 'round')}: their times are too long.", True)
    if None in told:
        return Said(CLIENT_UNKNOWN, True)
    return Said(f"The load generator was on time in {_all(len(told), 'round')}.")


def _all(count: int, noun: str) -> str:
    if count <= 2:
        return f"the only {noun}" if count == 1 else f"both {noun}s"
    return f"all {plural(count, noun)}"


def _control(runs: Sequence[Stats]) -> Said:
    if all(row["round"] == 1 for row in _rounds(runs)):
        return Said("")
    controls = {stats["run"].get("run_id"): [claim_of(stats, name)["control"] for name in scenarios(stats)] for stats in runs}
    numbers = sorted({number for found in controls.values() for number in found if number})
    if not numbers:
        return Said(NO_CONTROL, True)
    if not all(any(found) for found in controls.values()):
        return Said(MIXED_CONTROL, True)
    return Said(f"Control: round {listed(numbers)} sent fresh prompts, and hits are compared with that round.")


def _intervals(stats: Stats) -> Said:
    """How many independent groups of requests carry the intervals; none: what was measured is one sample."""
    arms = bool(run_of(stats).arms)
    rows = [
        row
        for name in scenarios(stats)
        for row in find(stats["effects"], split="arm" if arms else answering_split(stats, name), scenario=name)
        if row["metric"] == "ttft_ms" and row["statistic"] == "mean" and row["ratio"] is not None
    ]
    if not rows:
        return Said("")
    carried = [row for row in rows if row["ratio_low"] is not None]
    if not carried:
        least = min((int(row["pairs"]) for row in rows if row["pairs"]), default=0)
        why = f"{plural(least, 'request')} per round, too few for an interval" if least else "too few requests for an interval"
        return Said(f"{why[0].upper()}{why[1:]}: no change is certain.", True)
    known = [int(row["clusters"]) for row in carried if row["clusters"]]
    if not known:
        return Said("One run: intervals (95 %) hold for this run; other runs may differ more.", True)
    least = min(known)
    least_text = f"{'at least ' if len(carried) > 1 else ''}{plural(least, 'observation')}"
    some = "" if len(carried) == len(rows) else f" in {len(carried)} of {len(rows)} comparisons; the others have too few"
    rest = f"The intervals rest on {least_text}{some}."
    return Said(" ".join((ONE_RUN, OBSERVATIONS, rest)), True)


def _adjusted(stats: Stats) -> Said:
    """An interval that leaves out no change stands beside `undecided`: the verdict counts every comparison of the report."""
    lost = [
        row
        for name in scenarios(stats)
        for row in find(stats["effects"], split=answering_split(stats, name), scenario=name, metric="ttft_ms", statistic="mean")
        if row["ratio"] is not None and lost_by_adjustment(row)
    ]
    if not lost:
        return Said("")
    count = plural(hypotheses(stats), "comparison")
    return Said(
        f"Verdicts are adjusted for {count} (Holm), intervals are not: an undecided change may have an interval without 0 %.",
        True,
    )
