"""Says what repeated runs show: a sentence or two per scenario, and a table with a row for each deployment.

A deployment is called the best one only where its interval over runs overlaps with no other one's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs.run_comparison import gpus
from locust_kvcache.analysis.across_runs.run_spread import deployment_of
from locust_kvcache.analysis.basics.number_text import DASH, change, is_missing, listed, number, percent, plural, whole
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.report.comparison_tables import common_start
from locust_kvcache.analysis.tables.claim_words import claim_of, short_lead
from locust_kvcache.analysis.tables.sentences import load_text
from locust_kvcache.analysis.tables.table import Table, find

PER_GPU, RATE, TTFT, TPOT = "requests_per_s_per_gpu", "requests_per_s", "ttft_ms", "tpot_ms"
NO_SECOND_ROUND = "There is no second round, so nothing is known about hits."
RULE = "by round; geometric means over runs, in brackets 95 % intervals over runs"
Rows = list[dict[str, Any]]


def counted_runs(names: Sequence[str], shown: Mapping[str, str]) -> str:
    """3 runs of each of 4 deployments; else each deployment's number."""
    counts = {shown[name]: names.count(name) for name in dict.fromkeys(names)}
    if len(counts) > 1 and len(set(counts.values())) == 1:
        return f"{plural(len(names) // len(counts), 'run')} of each of {plural(len(counts), 'deployment')}"
    return listed(f"{plural(count, 'run')} of {name}" for name, count in counts.items())


def subtitle(runs: Sequence[Analysis], scenarios: Sequence[str], shown: Mapping[str, str], baseline: str) -> str:
    """Model, load, scenarios, runs; which deployment each shown name is; the baseline."""
    info = runs[0].info
    start = common_start(list(shown))
    told = [f"{name} is {own}" for own, name in shown.items() if own not in (name, start + name)]
    told += [f"names without {start}"] if start and all(own == start + name for own, name in shown.items()) else []
    counts = counted_runs([deployment_of(run) for run in runs], shown)
    base = f"; {baseline} is the baseline" if len(shown) > 1 else ""
    which = f"; {listed(told)}" if told else ""
    return f"{info.model or 'unknown model'}, {load_text(info)}, {listed(scenarios)}; {counts}{which}{base}"


def later_word(runs: Sequence[Analysis], scenario: str, round_: int) -> str:
    """hit, where every run's evidence calls its later rounds so; else the round's number."""
    hits = all(claim_of(run.stats, scenario)["later"] == "hit" for run in runs)
    return "hit" if hits else f"round {round_}"


def summary_table(runs: Sequence[Analysis], tables: dict[str, pd.DataFrame], scenario: str, shown: Mapping[str, str]) -> Table:
    """A row per deployment and later round: TTFT cold and later, its change, the throughput per GPU."""
    spread = rows_of(tables["spread"][tables["spread"]["scenario"].eq(scenario)])
    later = sorted({row["round"] for row in spread if row["round"] > 1})
    rows = []
    for own, name in shown.items():
        mine = [run for run in runs if deployment_of(run) == own]
        for round_ in later:
            changed = find(rows_of(tables["against_round_1"]), scenario=scenario, contender_run=name, round=round_, metric=TTFT)
            cold, hit = (find(spread, deployment=name, round=side, metric=TTFT) for side in (1, round_))
            rates = [find(spread, deployment=name, round=side, metric=PER_GPU) for side in (1, round_)]
            rows.append(
                (
                    name if len(later) == 1 else f"{name}, round {round_}",
                    whole(gpus(mine[0])),
                    str(len(mine)),
                    *(_with_interval(found) for found in (cold, hit)),
                    change(changed[0]) if changed else DASH,
                    percent(hit_rate(mine, scenario, round_)),
                    *(_with_interval(found) for found in rates),
                )
            )
    word = later_word(runs, scenario, later[0]) if len(later) == 1 else "later"
    header = (
        "", "GPUs", "runs", "cold TTFT, ms", f"{word} TTFT, ms", "change", f"{word}: from a cache", "cold: requests/s per GPU",
        f"{word}: requests/s per GPU",
    )  # fmt: skip
    return Table(f"{scenario}: each deployment", header, tuple(rows), RULE)


def console_table(table: Table) -> Table:
    """The same without intervals beside the means, in fewer columns."""
    word = table.header[4].removesuffix(" TTFT, ms")
    header = ("", "GPUs", "cold: TTFT", f"{word}: TTFT", "change [interval]", "cold: req/s", f"{word}: req/s")
    rows = tuple(
        (row[0], row[1], *(cell.partition(" [")[0] for cell in row[3:5]), row[5], *(cell.partition(" [")[0] for cell in row[7:]))
        for row in table.rows
    )
    return Table(table.title, header, rows, "TTFT in ms; req/s: requests/s per GPU; geometric means over runs")


def _with_interval(found: Rows) -> str:
    if not found:
        return DASH
    row = found[0]
    ends = "" if is_missing(row["low"]) else f" [{number(row['low'])}, {number(row['high'])}]"
    return number(row["mean"]) + ends


def hit_rate(runs: Sequence[Analysis], scenario: str, round_: int, name: str = "hit_rate") -> float | None:
    """Mean over runs of the share of the prompt tokens that came from a cache; None where a run does not know."""
    values = [row[name] for run in runs for row in find(run.stats["rounds"], scenario=scenario, round=round_)]
    return None if not values or any(is_missing(value) for value in values) else sum(values) / len(values)


def lead(runs: Sequence[Analysis], tables: dict[str, pd.DataFrame], scenarios: Sequence[str], shown: Mapping[str, str]) -> str:
    """Two sentences: which deployment is the fastest, and which serves most per GPU. Of one deployment, what later rounds change, or
    what one round measured."""
    spread = tables["spread"]
    if len(shown) > 1:
        said = _best(runs, spread, scenarios)
    else:
        said = _changes(tables["against_round_1"], scenarios) or _measured(spread, scenarios)
    return f"{said} {NO_SECOND_ROUND}" if said and spread["round"].max() == 1 else said


def _best(runs: Sequence[Analysis], spread: pd.DataFrame, scenarios: Sequence[str]) -> str:
    """cold_start: shortest mean TTFT with tp2 (1,280 ms) when cold, single (199 ms) in round 2. Most requests/s per GPU with ..."""
    rows = rows_of(spread)
    metric, unit = (PER_GPU, "requests/s per GPU") if find(rows, metric=PER_GPU) else (RATE, "requests/s")
    fastest, busiest = [], []
    for scenario in scenarios:
        mine = find(rows, scenario=scenario)
        later = max((row["round"] for row in mine), default=1)
        word = later_word(runs, scenario, later)
        name = f"{scenario}, " if len(scenarios) > 1 else ""
        for round_, when in [(1, "cold"), *([(later, word)] if later > 1 else [])]:
            fastest.append(f"{name}{when}: {front(find(mine, round=round_, metric=TTFT), ' ms', smallest=True)}")
            busiest.append(f"{name}{when}: {front(find(mine, round=round_, metric=metric), '', smallest=False)}")
    return f"Shortest mean TTFT, {'; '.join(fastest)}. Most {unit}, {'; '.join(busiest)}."


def front(rows: Rows, unit: str, smallest: bool) -> str:
    """The best deployment with its mean; with those whose intervals overlap with its own."""
    ordered = sorted(rows, key=lambda row: float(row["mean"]), reverse=not smallest)
    if not ordered:
        return DASH
    near = [ordered[0], *(row for row in ordered[1:] if _overlap(ordered[0], row))]
    names = [str(row["deployment"]) for row in near]
    means = f"{listed(number(row['mean']) for row in near)}{unit}"
    if len(near) == 1:
        following = f"; next {ordered[1]['deployment']} {number(ordered[1]['mean'])}" if len(ordered) > 1 else ""
        return f"{names[0]} ({means}{following})"
    which = ", ".join(names[:-1])
    return f"{which} or {names[-1]} ({means}; intervals overlap)"


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Also where one of them has no interval: a single run tells nothing apart."""
    if is_missing(one["low"]) or is_missing(other["low"]):
        return True
    return bool(one["low"] <= other["high"] and other["low"] <= one["high"])


def _changes(within: pd.DataFrame, scenarios: Sequence[str]) -> str:
    """Of one deployment: what its last round changes in each scenario; the rounds between stand in the table."""
    said = []
    for scenario in scenarios:
        rows = rows_of(within[within["scenario"].eq(scenario)])
        for row in find(rows, metric=TTFT)[-1:]:
            rate = find(rows, metric=RATE, round=row["round"])
            times = f"{number(row['baseline'])} to {number(row['contender'])} ms"
            text = f"mean TTFT of round {row['round']} against cold {change(row)}, {times}"
            said.append(f"{scenario}, {text}" + (f"; throughput {change(rate[0])}" if rate else ""))
    return f"{'. '.join(said)}." if said else ""


def _measured(spread: pd.DataFrame, scenarios: Sequence[str]) -> str:
    """Of one deployment without later rounds: TTFT, TPOT and throughput over the runs."""
    said = []
    for scenario in scenarios:
        rows = find(rows_of(spread), scenario=scenario)
        found = {metric: find(rows, metric=metric) for metric in (TTFT, TPOT, RATE)}
        parts = [f"mean TTFT {_with_interval(found[TTFT])} ms"] if found[TTFT] else []
        parts += [f"TPOT {_with_interval(found[TPOT])} ms"] if found[TPOT] else []
        parts += [f"{_with_interval(found[RATE])} requests/s"] if found[RATE] else []
        if parts:
            said.append(f"{scenario}: {', '.join(parts)}, over {plural(rows[0]['runs'], 'run')}.")
    return " ".join(said)


def standing_out(runs: Sequence[Analysis], scenarios: Sequence[str], shown: Mapping[str, str]) -> list[Problem]:
    """A warning for each deployment whose later rounds hit less than planned, or whose figures are not valid."""
    texts = [text for scenario in scenarios for own, name in shown.items() if (text := _stands_out(runs, own, name, scenario))]
    return [Problem("warning", "stands_out", f"{text}.") for text in texts]


def _stands_out(runs: Sequence[Analysis], own: str, name: str, scenario: str) -> str:
    """What weakens a deployment's figures, in a clause."""
    mine = [run for run in runs if deployment_of(run) == own]
    claims = [claim_of(run.stats, scenario) for run in mine]
    weak = [claim for claim in claims if claim["lead"]]
    if not weak:
        return ""
    some = "" if len(weak) == len(mine) else f" ({len(weak)} of {plural(len(mine), 'run')})"
    rounds = sorted({number_ for claim in weak for number_, how, _ in claim["rounds"] if how != "hit"})
    if all(claim["cause"] == "nothing hit" for claim in weak) and rounds:
        hit, ideal = (hit_rate(mine, scenario, rounds[-1], key) for key in ("hit_rate", "planned_hit_rate"))
        if hit is not None and ideal is not None:
            shares = f"{percent(hit)} of the prompt tokens; an ideal cache would have hit {percent(ideal)}"
            return f"{scenario}: round {rounds[-1]} of {name}{some} hit {shares}"
    return f"{name}{some}, {scenario}: {short_lead(weak[0])}"
