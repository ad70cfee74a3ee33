"""Statistics (the content of stats.json) come in, tables of finished text go out: the same ones for console, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from locust_kvcache.analysis.basics.number_text import DASH, change, number, percent, plural, target_value, whole
from locust_kvcache.analysis.stats.summary import METRICS
from locust_kvcache.analysis.stats.targets import FAIL, NOT_JUDGED, PASS

Stats = dict[str, Any]
RATE_NAMES = {
    "requests_per_s": ("Request throughput", "requests/s"),
    "total_tokens_per_s": ("Total throughput", "tokens/s"),
    "output_tokens_per_s": ("Output throughput", "output tokens/s"),
}
ANSWER_ROWS = ("ttft_ms", "prefill_estimate_ms", "e2e_ms", "tpot_ms", "requests_per_s", "output_tokens_per_s")


@dataclass(frozen=True)
class Table:
    """Finished text. `rule` says how its rows were split, as every table must; the first column is the row's name."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rule: str = ""
    notes: tuple[str, ...] = ()
    texts: tuple[int, ...] = ()  # columns of words, beside the first: to the left
    sortable: bool = False


def metric_name(metric: str) -> str:
    """Name with its unit."""
    name, unit = METRICS.get(metric) or RATE_NAMES[metric]
    return f"{name}, {unit}"


def statistic_name(statistic: str) -> str:
    """mean, median, P90; the pairs' own ratios in words."""
    if statistic == "pair_ratio":
        return "median of the pairs' ratios"
    return f"P{statistic[1:]}" if statistic[0] == "p" else statistic


def scenarios(stats: Stats) -> list[str]:
    return list(dict.fromkeys(row["scenario"] for row in stats["rounds"]))


def find(rows: Iterable[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def run_line(stats: Stats) -> str:
    """One line that says what was run."""
    run = stats["run"]
    deployment = run.get("deployment") or {}
    users = "an unknown number of users" if run.get("users") is None else plural(run["users"], "user")
    load = f"{users} on {plural(run.get('workers') or 1, 'worker')}"
    arrival = run.get("arrival") or {}
    if arrival.get("kind", "closed") != "closed":
        load = f"{arrival['kind']} arrivals, {arrival.get('request_rate_per_s')} requests/s"
    records = sum(row["requests"] for row in stats["rounds"])
    planned = sum(row["planned_requests"] or 0 for row in stats["rounds"])
    state = "complete" if stats["complete"] else "INCOMPLETE"
    kind = deployment.get("kind") or "other"
    name = deployment.get("name") or "unnamed deployment"
    where = name if name == kind else f"{name} ({kind})"
    return f"{run.get('run_id')}: {where}, {run.get('model') or 'unknown model'}, {load}; {state}, {records:,} of {planned:,.0f} records"


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


def answer_table(stats: Stats, scenario: str, split: str = "round") -> Table:
    """Cold against hit: the mean of each metric, its change with interval, the verdict."""
    effects = find(stats["effects"], split=split, scenario=scenario)
    rows = []
    for metric in ANSWER_ROWS:
        for row in [row for row in find(effects, metric=metric) if row["statistic"] in ("mean", "rate")]:
            rows.append(
                (metric_name(metric), number(row["baseline"]), number(row["contender"]), change(row), row["verdict"] or DASH)
            )
    pairs = max((row["pairs"] or 0 for row in effects), default=0)
    clusters = max((row["clusters"] or 0 for row in effects), default=0)
    notes = (f"{plural(int(pairs), 'pair')} of the same planned request in {plural(int(clusters), 'session')}; means; "
             f"{stats['confidence']:.0%} bootstrap intervals, sessions resampled whole.",)  # fmt: skip
    header = ("", "cold", "hit", "change [interval]", "verdict")
    return Table(f"{scenario}: cold against hit, by {split}", header, tuple(rows), stats["split_rules"][split], notes)


def round_table(stats: Stats, scenario: str) -> Table:
    """One column per round: counts, wall time, throughput, tokens, hit rates."""
    rounds = find(stats["rounds"], scenario=scenario)
    kinds = ["cold" if row["round"] == 1 else "hit" for row in rounds]
    header = ("", *(f"round {row['round']} ({kind})" for row, kind in zip(rounds, kinds, strict=True)))
    lines: list[tuple[str, list[str]]] = [
        ("requests planned", [whole(row["planned_requests"]) for row in rounds]),
        ("succeeded", [whole(row["succeeded"]) for row in rounds]),
        ("failed", [failures(row) for row in rounds]),
        ("wall time, s", [_wall(row) for row in rounds]),
        ("request throughput, requests/s", [number(row["requests_per_s"]) for row in rounds]),
        ("total throughput, tokens/s", [number(row["total_tokens_per_s"]) for row in rounds]),
        ("output throughput, tokens/s", [number(row["output_tokens_per_s"]) for row in rounds]),
        ("prompt tokens", [whole(row["prompt_tokens"]) for row in rounds]),
        ("output tokens", [whole(row["output_tokens"]) for row in rounds]),
        ("hit rate, reported (tokens)", [percent(row["hit_rate"]) for row in rounds]),
        ("hit rate, an ideal cache", [percent(row["planned_hit_rate"]) for row in rounds]),
        ("cache efficiency", [percent(row["cache_efficiency"]) for row in rounds]),
    ]
    rows = tuple((name, *cells) for name, cells in lines)
    return Table(f"{scenario}: rounds", header, rows, stats["split_rules"]["round"])


def _wall(row: dict[str, Any]) -> str:
    text = DASH if row["wall_s"] is None else f"{row['wall_s']:,.2f}"
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


def targets_table(stats: Stats) -> Table | None:
    """Every target with its threshold, what was found, and the judgement."""
    if not stats["targets"]:
        return None
    marks = {PASS: "PASS", FAIL: "FAIL", NOT_JUDGED: "not judged"}
    rows = []
    for row in stats["targets"]:
        bound = f"{'at least' if row['minimum'] else 'at most'} {target_value(row['threshold'], row['kind'])}"
        value = target_value(row["value"], row["kind"])
        if row["low"] is not None:
            value += f" [{target_value(row['low'], row['kind'])}, {target_value(row['high'], row['kind'])}]"
        verdict = marks[row["verdict"]] + (f" ({row['why']})" if row["why"] else "")
        rule = f", by {row['split']}" if row["split"] else ""
        rows.append((row["text"] + rule, row["scenario"] or "", bound, value, verdict))
    return Table("Targets", ("target", "scenario", "wanted", "found [interval]", "judgement"), tuple(rows), texts=(1, 4))
