"""Makes the console's short answer for one run: sentence, cold against hit, targets, caveats. The report has all tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from locust_kvcache.analysis.basics.number_text import DASH, change, number, percent, target_value
from locust_kvcache.analysis.cache.claimed import EVIDENCE
from locust_kvcache.analysis.stats.targets import FAIL, NOT_JUDGED, PAIR_TARGETS, PASS, RUN_TARGETS
from locust_kvcache.analysis.tables import sentences
from locust_kvcache.analysis.tables.claim_words import answering_split, arm_words, claim_of, kind_of, shown_verdict
from locust_kvcache.analysis.tables.console_lines import WIDTH, shortened, summary
from locust_kvcache.analysis.tables.run_tables import comparison_names, known_rate
from locust_kvcache.analysis.tables.said_above import shown_problems
from locust_kvcache.analysis.tables.table import Stats, Table, find, run_of, scenarios
from locust_kvcache.contract.language import told
from locust_kvcache.contract.targets import HIT_RATE
from locust_kvcache.contract.text_width import width

METRICS = (
    ("ttft_ms", "TTFT, ms"),
    ("tpot_ms", "TPOT, ms"),
    ("e2e_ms", "E2E latency, ms"),
    ("requests_per_s", "throughput, requests/s"),
)
MOST_TARGETS = 4


NAMES = {
    HIT_RATE: "hit rate of the hit rounds",
    "hit_ttft_reduction_min": "TTFT on a hit",
    "hit_throughput_gain_min": "throughput on a hit",
    "hit_busy_throughput_gain_min": "busy throughput on a hit",
    "pd_tpot_increase_max": "PD TPOT above single",
    "pd_hit_ttft_ratio_max": "PD hit TTFT / single cold TTFT",
}
WORDS = {FAIL: "FAIL", NOT_JUDGED: "not judged", PASS: "PASS"}


def run_text(stats: Stats) -> str:
    arms = bool(run_of(stats).arms)
    whole = stats["complete"] and stats.get("records_complete", True)
    names = scenarios(stats)
    lead = sentences.headline(stats)
    if arms:
        tables = [arm_lines(stats, name) for name in names]
    else:
        alone = len(names) == 1 and len(find(stats["rounds"], scenario=names[0])) == 1
        one = one_round_lines if alone else metric_lines
        tables = [one(stats, names[0])] if len(names) == 1 else [scenario_lines(stats, names)]
    _, _, facts = sentences.run_line(stats).partition(": ")
    return summary(
        lead if whole else f"INCOMPLETE{why_incomplete(stats)}: {lead}", facts, tables, target_lines(stats), shown_problems(stats)
    )


def why_incomplete(stats: Stats) -> str:
    reason = stats["run"].get("incomplete_reason")
    return f" ({shortened(told(str(reason)), WIDTH - 20)})" if reason else ""


def metric_lines(stats: Stats, scenario: str) -> Table:
    """One scenario: a row for each metric, and the hit rate."""
    split = answering_split(stats, scenario)
    rows = []
    for metric, name in METRICS:
        for row in effects_of(stats, scenario, metric):
            rows.append((name, number(row["baseline"]), number(row["contender"]), change_of(stats, scenario, row)))
    cold, hit = hit_rates(stats, scenario)
    rows.append(("hit rate", cold, hit, ""))
    header = ("", *comparison_names(stats, scenario, split), "change [interval]")
    return Table(f"{scenario}, means", header, tuple(rows))


def one_round_lines(stats: Stats, scenario: str) -> Table:
    """One round: nothing is compared, so each metric's mean stands beside its spread."""
    row = find(stats["rounds"], scenario=scenario)[0]
    rows = []
    for metric, name in METRICS:
        found = find(stats["distributions"], scenario=scenario, split="round", group=str(row["round"]), metric=metric)
        rows += [(name, *(number(one[key]) for key in ("mean", "median", "p90", "p99"))) for one in found]
    rows.append(("throughput, requests/s", number(row["requests_per_s"]), "", "", ""))
    rows.append(("hit rate", known_rate(row, "hit_rate"), "", "", ""))
    return Table(scenario, ("", "mean", "median", "P90", "P99"), tuple(rows))


def scenario_lines(stats: Stats, names: list[str]) -> Table:
    """Several scenarios: a row for each."""
    rows = []
    for name in names:
        ttft = next(iter(effects_of(stats, name, "ttft_ms")), None)
        rate = next(iter(effects_of(stats, name, "requests_per_s")), None)
        sides = (number(ttft["baseline"]), number(ttft["contender"])) if ttft else (DASH, DASH)
        moved = (
            percent(rate["ratio"] - 1, signed=True) if rate and rate["ratio"] is not None and not rate.get("withheld") else DASH
        )
        moved = moved if claim_of(stats, name)["valid"] else "not valid"
        rows.append((name, *sides, change_of(stats, name, ttft) if ttft else DASH, moved, hit_rates(stats, name)[1]))
    return Table("", ("mean TTFT", "cold, ms", "hit, ms", "change [interval]", "requests/s", "hit rate"), tuple(rows))


def arm_lines(stats: Stats, scenario: str) -> Table:
    rows = []
    for row in find(stats["verdicts"], scenario=scenario):
        if row["arm"] is None:
            continue
        found = find(stats["distributions"], scenario=scenario, split="round", group=str(row["round"]), metric="ttft_ms")
        effect = find(stats["effects"], split="arm", scenario=scenario, round=row["round"], metric="ttft_ms", statistic="mean")
        rounds = find(stats["rounds"], scenario=scenario, round=row["round"])
        mean = number(found[0]["mean"]) if found else DASH
        moved = change_of(stats, scenario, effect[0]) if effect else DASH
        rate = known_rate(rounds[0], "hit_rate") if rounds else DASH
        rows.append((f"{arm_words(row['arm'])} (round {row['round']})", shown_verdict(row["verdict"]), mean, moved, rate))
    return Table(scenario, ("", "answered by", "TTFT, ms", "change [interval]", "hit rate"), tuple(rows), texts=(1,))


def effects_of(stats: Stats, scenario: str, metric: str) -> list[dict[str, Any]]:
    """The change of a mean or a rate, by the comparison that answers."""
    found = find(stats["effects"], split=answering_split(stats, scenario), scenario=scenario, metric=metric)
    return [row for row in found if row["statistic"] in ("mean", "rate")]


def change_of(stats: Stats, scenario: str, row: dict[str, Any]) -> str:
    return change(row) if claim_of(stats, scenario)["valid"] else "not valid"


def hit_rates(stats: Stats, scenario: str) -> tuple[str, str]:
    """Of the round that the later ones are compared with, and of the last one."""
    rounds, control = find(stats["rounds"], scenario=scenario), claim_of(stats, scenario)["control"]
    first = [row for row in rounds if row["round"] == (control or 1)]
    later = [row for row in rounds if kind_of(row) == "hit"]
    return tuple(known_rate(found[-1], "hit_rate") if found else DASH for found in (first, later))  # type: ignore[return-value]


def target_lines(stats: Stats, rows: list[dict[str, Any]] | None = None, words: Mapping[str, str] | None = None) -> list[str]:
    """A line for each target that one run can meet, those that are missed first; beyond some, how the others were judged."""
    words = words or WORDS
    order = {FAIL: 0, NOT_JUDGED: 1, PASS: 2}
    given = [row for row in stats["targets"] if row["target"] in RUN_TARGETS] if rows is None else rows
    shown = sorted(given, key=lambda row: order[row["verdict"]])
    lines = [target_line(row, words) for row in shown[:MOST_TARGETS]]
    rest = [row["verdict"] for row in shown[MOST_TARGETS:]]
    if not rest:
        return lines
    counted = ", ".join(f"{rest.count(verdict)} {word}" for verdict, word in words.items() if verdict in rest)
    return [*lines, told(f"more targets in the report: {counted}")]


def target_line(row: dict[str, Any], words: Mapping[str, str] = WORDS) -> str:
    """PASS: TTFT on a hit: 66.5 % [61.2 %, 70.1 %], wanted at least 60.0 %."""
    threshold = target_value(row["threshold"], row["kind"])
    found = target_value(row["value"], row["kind"])
    if row["low"] is not None:
        found += f" [{target_value(row['low'], row['kind'])}, {target_value(row['high'], row['kind'])}]"
    name = NAMES.get(row["target"], row["text"]) + _where(row)
    wanted = f"wanted {'at least' if row['minimum'] else 'at most'} {threshold}"
    if row["verdict"] == NOT_JUDGED:
        why = f" ({row['why']})" if row["why"] else ""
        return shortened(told(f"not judged: {name}, {wanted}{why}"), WIDTH)
    judged = words[row["verdict"]]
    line = told(f"{judged}{', not statistically certain' if row['why'] else ''}: {name}: {found}, {wanted}")
    if width(line) <= WIDTH:
        return line
    head = told(judged + (", not certain" if row["why"] else ""))
    tail = f"{found}, {told('wanted')} {'≥' if row['minimum'] else '≤'} {threshold}"
    return f"{head}: {shortened(told(name), WIDTH - width(head) - width(tail) - 4)}: {tail}"


def _where(row: dict[str, Any]) -> str:
    where = f", {row['scenario']}" if row["scenario"] else ""
    where += f", by {row['split']}" if row.get("split") == EVIDENCE else ""
    if row["target"] in PAIR_TARGETS:  # of several cache states the worst one is named
        return str(row["text"]).removeprefix(PAIR_TARGETS[row["target"]][0]).partition(" (")[0] + where
    _, comma, arm = row["text"].partition(", round ")  # with arms a target has a row for each later round
    return where + (comma + arm if row["target"] in NAMES else "")
