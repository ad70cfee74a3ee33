"""Makes the tables of a run, the same for console, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from locust_kvcache.analysis.basics.metrics import ANSWERED, OF_ROUNDS, metric_name
from locust_kvcache.analysis.basics.number_text import DASH, change, factor, number, percent, plural, target_value, whole
from locust_kvcache.analysis.cache.claimed import AGAINST_CONTROL, CONTROL, EVIDENCE, ROUND
from locust_kvcache.analysis.stats.comparison import BUSY_RATE
from locust_kvcache.analysis.stats.targets import FAIL, NOT_JUDGED, PASS
from locust_kvcache.analysis.tables.claim_words import NO_CONTROL, claim_of, known_of, lost_by_adjustment, round_label
from locust_kvcache.analysis.tables.table import Stats, Table, find, no_intervals

ADJUSTED = (
    "Verdicts are adjusted for all metrics of this report (Holm), intervals are not: a row may be undecided although "
    "its interval excludes 0 %."
)


def answer_table(stats: Stats, scenario: str, split: str = "round") -> Table:
    """Cold (or a control) against the later rounds: the mean of each metric, its change with interval, the verdict."""
    effects = find(stats["effects"], split=split, scenario=scenario)
    rows = []
    for metric in ANSWERED:
        for row in [row for row in find(effects, metric=metric) if row["statistic"] in ("mean", "rate")]:
            rows.append(
                (metric_name(metric), number(row["baseline"]), number(row["contender"]), change(row), row["verdict"] or DASH)
            )
    pairs = max((row["pairs"] or 0 for row in effects), default=0)
    clusters = max((row["clusters"] or 0 for row in effects), default=0)
    notes: tuple[str, ...] = (
        f"{plural(int(pairs), 'pair')} of the same planned request in {plural(int(clusters), 'independent cluster')}; means; "
        f"{stats['confidence']:.0%} intervals (Student's t on the log ratio), for this run.",
        *no_intervals(row for row in effects if row["statistic"] in ("mean", "rate")),
        *((ADJUSTED,) if any(map(lost_by_adjustment, effects)) else ()),
    )
    names = comparison_names(stats, scenario, split)
    if split in (ROUND, AGAINST_CONTROL):
        notes = notes if claim_of(stats, scenario)["control"] else (*notes, NO_CONTROL)
    title = f"{scenario}: {names[0]} against {names[1]}, by {'evidence' if split == EVIDENCE else 'round'}"
    return Table(title, ("", *names, "change [interval]", "verdict"), tuple(rows), split_rule(stats, split), notes)


def comparison_names(stats: Stats, scenario: str, split: str) -> tuple[str, str]:
    """What stands on the two sides of a split's effects."""
    if split == EVIDENCE:
        return "cold", "hit"
    if split == CONTROL:
        return "cold", "control"
    return ("control" if split == AGAINST_CONTROL else "cold"), claim_of(stats, scenario)["later"]


def split_rule(stats: Stats, split: str) -> str:
    return str(stats["split_rules"]["evidence" if split == EVIDENCE else "round"])


def round_table(stats: Stats, scenario: str) -> Table:
    """One column per round: counts, wall time, throughput, tokens, hit rates."""
    rounds = find(stats["rounds"], scenario=scenario)
    header = ("", *(round_label(stats, row) for row in rounds))
    lines: list[tuple[str, list[str]]] = [
        *_times(rounds),
        ("requests planned", [whole(row["planned_requests"]) for row in rounds]),
        ("succeeded", [whole(row["succeeded"]) for row in rounds]),
        ("failed", [failures(row) for row in rounds]),
        ("wall time, s", [_wall(row) for row in rounds]),
        *((_lower(rate.label), [number(row[rate.key]) for row in rounds]) for rate in OF_ROUNDS if rate.key != BUSY_RATE),
        ("request throughput while all users were busy [interval]", [_busy(row) for row in rounds]),
        ("prompt tokens", [whole(row["prompt_tokens"]) for row in rounds]),
        ("output tokens", [whole(row["output_tokens"]) for row in rounds]),
        ("hit rate, reported (tokens)", [known_rate(row, "hit_rate") for row in rounds]),
        ("hit rate, an ideal cache", [percent(row["planned_hit_rate"]) for row in rounds]),
        ("cache efficiency", [known_rate(row, "cache_efficiency") for row in rounds]),
    ]
    rows = tuple((name, *cells) for name, cells in lines)
    return Table(f"{scenario}: rounds", header, rows, stats["split_rules"]["round"])


def _times(rounds: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Of timed rounds."""
    if not any(row.get("round_s") for row in rounds):
        return []
    return [
        ("time of the round, s", [number(row["round_s"]) for row in rounds]),
        ("its warm-up share, s (left out)", [number(row["warm_up_s"]) for row in rounds]),
        ("requests of the warm-up share", [whole(row["warm_up_requests"]) for row in rounds]),
        ("requests that were open at its end", [whole(row["open_at_end"]) for row in rounds]),
    ]


def _lower(label: str) -> str:
    """As it stands among other rows: request throughput."""
    return label[0].lower() + label[1:]


def _busy(row: dict[str, Any]) -> str:
    """The rate without ramp and tail, with its interval."""
    if row.get("busy_requests_per_s") is None:
        return DASH
    ends = (number(row["busy_requests_per_s_low"]), number(row["busy_requests_per_s_high"]))
    return f"{number(row['busy_requests_per_s'])} [{', '.join(ends)}]"


def known_rate(row: dict[str, Any], name: str) -> str:
    """A rate of cached tokens, and of how many requests it is known where not of all."""
    return percent(row[name]) + ("" if row[name] is None else known_of(row))


def _wall(row: dict[str, Any]) -> str:
    text = number(row["wall_s"])
    return f"{text} (from the records)" if row["wall_from"] == "records" else text


def failures(row: dict[str, Any]) -> str:
    """0, or `3 (2 timeout, 1 cut)`."""
    by_status = row.get("failed_by_status") or {}
    listed = ", ".join(f"{count} {status}" for status, count in by_status.items())
    return f"{row['failed']} ({listed})" if listed else whole(row["failed"])


def distribution_table(stats: Stats, scenario: str, split: str, group: str, title: str) -> Table:
    """One row per metric: mean, median, P90, P95, P99; a dash where the sample does not carry the percentile."""
    found = find(stats["distributions"], scenario=scenario, split=split, group=group)
    shown = [row for row in found if not (row["metric"] == "ttfvt_ms" and _same_as_ttft(row, found))]
    if any(row["metric"] == "itl_p50_ms" for row in shown):
        shown = [row for row in shown if row["metric"] != "icl_p50_ms"]
    columns = ("mean", "median", "p90", "p95", "p99")
    rows = tuple((metric_name(row["metric"]), whole(row["n"]), *(number(row[c]) for c in columns)) for row in shown)
    rule = stats["split_rules"]["evidence" if split == "evidence" else "round"]
    return Table(title, ("", "n", "mean", "median", "P90", "P95", "P99"), rows, rule)


def _same_as_ttft(row: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    return any(other["metric"] == "ttft_ms" and other["mean"] == row["mean"] and other["n"] == row["n"] for other in rows)


def window_table(stats: Stats, scenario: str) -> Table:
    """Requests by evidence: how many in each window, their tokens, their hit rate, their TTFT."""
    rows = []
    for row in find(stats["windows"], scenario=scenario):
        ttft = find(stats["distributions"], scenario=scenario, split="evidence", group=row["window"], metric="ttft_ms")
        times = [number(ttft[0][name]) if ttft else DASH for name in ("mean", "median", "p90", "p99")]
        by_round = find(stats["windows_by_round"], scenario=scenario, window=row["window"])
        where = ", ".join(f"{entry['requests']} in round {entry['round']}" for entry in by_round)
        rows.append((row["window"], whole(row["requests"]), where, percent(row["hit_rate"]), *times))
    header = ("window", "requests", "where", "hit rate", "TTFT mean, ms", "median", "P90", "P99")
    return Table(f"{scenario}: by evidence", header, tuple(rows), stats["split_rules"]["evidence"])


TARGETS = "Targets"
MARKS = {PASS: "PASS", FAIL: "FAIL", NOT_JUDGED: "not judged"}
ONE_RUN_MARKS = {PASS: "met in this run", FAIL: "missed in this run", NOT_JUDGED: "not judged"}


def _target_share(value: Any, kind: str) -> str:
    """235 % (3.35 x): a gain with its factor."""
    told = target_value(value, kind)
    return f"{told} ({factor(1 + value)})" if kind == "gain" and value is not None and value > 0 else told


def targets_table(stats: Stats, marks: Mapping[str, str] = MARKS) -> Table | None:
    """Every target with its threshold, what was found, and the judgement."""
    if not stats["targets"]:
        return None
    rows = []
    for row in stats["targets"]:
        bound = f"{'at least' if row['minimum'] else 'at most'} {_target_share(row['threshold'], row['kind'])}"
        value = _target_share(row["value"], row["kind"])
        if row["low"] is not None:
            value += f" [{target_value(row['low'], row['kind'])}, {target_value(row['high'], row['kind'])}]"
        verdict = marks[row["verdict"]] + (f", {row['why']}" if row["why"] else "")
        rule = f", by {row['split']}" if row["split"] else ""
        rows.append((row["text"] + rule, row["scenario"] or "", bound, value, verdict))
    return Table(TARGETS, ("target", "scenario", "wanted", "found [interval]", "verdict"), tuple(rows), texts=(1, 4))
