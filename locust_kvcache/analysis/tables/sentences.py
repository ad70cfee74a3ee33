"""Writes the sentences of a report: what was run, the answer, one sentence per scenario."""

from __future__ import annotations

from collections import Counter
from typing import Any

from locust_kvcache.analysis.basics.number_text import is_missing, listed, number, percent, plural
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.stats.targets import NOT_JUDGED, PASS, RUN_TARGETS
from locust_kvcache.analysis.tables import arm_sentences
from locust_kvcache.analysis.tables.claim_words import VERBS, answer, answering_split, claim_of, is_unserved
from locust_kvcache.analysis.tables.fleet_tables import fleet_sentence
from locust_kvcache.analysis.tables.table import Stats, find, run_of, scenarios

KIND_WORDS = {"non_disagg": "single", "pd_disagg": "PD"}
ROLES = {"server": "engine", "prefiller": "prefiller", "decoder": "decoder"}


def deployment_text(run: RunInfo) -> str:
    """lab_pair (PD, 2 GPUs: 1 prefiller, 1 decoder)."""
    deployment = run.deployment
    found = Counter(role for role in deployment.engine_roles or deployment.roles if role in ROLES)
    engines = ", ".join(plural(found[role], noun) for role, noun in ROLES.items() if found[role])
    engines = "" if sum(found.values()) < 2 else engines
    gpus = plural(deployment.gpus, "GPU") if deployment.gpus else ""
    kind = KIND_WORDS.get(deployment.kind or "", deployment.kind or "other")
    counted = ": ".join(part for part in (gpus, engines) if part)
    return f"{deployment.name or 'unnamed deployment'} ({', '.join(part for part in (kind, counted) if part)})"


def load_text(run: RunInfo) -> str:
    """24 users; or the arrivals."""
    if run.arrival.closed and run.shape and run.timed_rounds:
        return f"users by the shape {run.shape}"
    if run.arrival.closed:
        return "an unknown number of users" if run.users is None else plural(run.users, "user")
    rate = run.arrival.request_rate_per_s
    return f"{run.arrival.kind} arrivals" + ("" if rate is None else f", {number(rate)} requests/s")


def subtitle(stats: Stats) -> str:
    """One line that says what was run."""
    run = run_of(stats)
    workers = run.workers or 1
    processes = "sent by 1 worker process" if workers == 1 else f"sent by {workers} worker processes"
    return f"{run.run_id}: {deployment_text(run)}, {run.model or 'unknown model'}, {load_text(run)}, {processes}"


def time_text(seconds: float) -> str:
    """90 s, 5 min, 1.5 h."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit or seconds == unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def run_line(stats: Stats) -> str:
    """What was run, and whether it was measured as a whole: for pages and the console, which have no other list of that."""
    records = sum(row["requests"] for row in stats["rounds"])
    planned = sum(row["planned_requests"] or 0 for row in stats["rounds"])
    failed = sum(row["failed"] for row in stats["rounds"])
    whole = stats.get("records_complete", stats["complete"])
    state = (
        "INCOMPLETE, " if not whole else "complete, " if stats["complete"] else ""
    )  # too much failed: complete are the records alone
    counted = f"{records:,} of {planned:,.0f} records"
    lengths = sorted({timed.round_s for timed in run_of(stats).timed_rounds.values()})
    if lengths:
        counted = f"{' and '.join(map(time_text, lengths))} rounds, {records:,} requests without their warm-up share"
    line = f"{subtitle(stats)}; {state}{counted}"
    return f"{line}, {plural(failed, 'request')} failed" if failed else line


def headline(stats: Stats) -> str:
    """The answer in one sentence: what weakens it, what repeating the requests changes, and whether it is more than noise."""
    names = scenarios(stats)
    if not names:
        return "No round has a record, so nothing was measured."
    return " ".join(part for part in (fleet_sentence(stats), _answers(stats, names), targets_text(stats)) if part)


def _answers(stats: Stats, names: list[str]) -> str:
    if run_of(stats).arms:
        return arm_sentences.headline(stats)
    return answer(stats, names[0]) if len(names) == 1 else _overall(stats, names)


def targets_text(stats: Stats) -> str:
    """2 of 3 targets met, 1 not judged; empty where nobody set one that a single run can meet."""
    rows = [row for row in stats["targets"] if row["target"] in RUN_TARGETS]
    verdicts = [row["verdict"] for row in rows]
    judged, open_ = len(verdicts) - verdicts.count(NOT_JUDGED), verdicts.count(NOT_JUDGED)
    if judged:
        return f"{verdicts.count(PASS)} of {plural(judged, 'target')} met{f', {open_} not judged' if open_ else ''}."
    if not rows:
        return ""
    if any(rows[0]["why"] in claim["lead"] for claim in stats.get("claims") or []):
        return "So no target could be judged."  # the headline has said why
    return f"No target could be judged: {rows[0]['why']}."


def details(stats: Stats) -> list[str]:
    """A sentence per scenario, where there are several."""
    names = scenarios(stats)
    return [answer(stats, name) for name in names] if len(names) > 1 else []


def _overall(stats: Stats, names: list[str]) -> str:
    """What weakens some of the scenarios first; then what repeating the requests changes in those of which it may be said."""
    claims = {name: claim_of(stats, name) for name in names}
    against = [f"{name}: {'; '.join([claim['lead'], *claim['also']])}." for name, claim in claims.items() if claim["lead"]]
    good = [name for name, claim in claims.items() if claim["valid"] and not is_unserved(claim)]
    rows = [
        row
        for name in good
        for row in find(stats["effects"], split=answering_split(stats, name), scenario=name, metric="ttft_ms", statistic="mean")
    ]
    parts = [said for verdict, verb in VERBS.items() if (said := _several(rows, verdict, verb, len(good)))]
    open_ = len(good) - sum(1 for row in rows if row["verdict"] in VERBS)
    if not parts:
        said = _undecided(rows)
    else:
        more = f"; in {plural(open_, 'other scenario')} the change is undecided" if open_ else ""
        said = f"Repeating the requests {' and '.join(parts)}{more}."
    return " ".join([*against, *([said] if good else [])])


def _undecided(rows: list[dict[str, Any]]) -> str:
    """What the sample shows, that it is undecided beyond it, and in how many scenarios that is for want of requests."""
    ratios = sorted(row["ratio"] for row in rows if not is_missing(row.get("ratio")))
    short = sum(is_missing(row.get("ratio_low")) for row in rows if not is_missing(row.get("ratio")))
    ends = list(dict.fromkeys(percent(ratio - 1, signed=True) for ratio in ratios))
    seen = (
        f"In this run repeating the requests changed the mean TTFT by {' to '.join(ends[:1] + ends[1:][-1:])}. " if ends else ""
    )
    why = f": {short} of {plural(len(rows), 'scenario')} have too few requests for an interval" if short else ""
    return f"{seen}The change is undecided in every scenario{why}."


def _several(rows: list[dict[str, Any]], verdict: str, verb: str, count: int) -> str:
    """cuts the mean TTFT of cold_start by 92.7 %; of more than two scenarios their number."""
    found = [row for row in rows if row["verdict"] == verdict]
    if not found:
        return ""
    where = f"in {len(found)} of {count} scenarios," if len(found) > 2 else f"of {listed(row['scenario'] for row in found)}"
    return f"{verb} the mean TTFT {where} by {span(found)}"


def span(rows: list[dict[str, Any]]) -> str:
    """39.4 to 76.6 %: the smallest and the largest change."""
    changes = sorted(abs(row["ratio"] - 1) for row in rows)
    least, most = percent(changes[0]), percent(changes[-1])
    return most if least == most else f"{least.removesuffix(' %')} to {most}"
