"""Makes the tables of a comparison: all runs side by side, against the first run, conditions, targets, and the console's short one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs.run_comparison import HOW_MANY, ONE_RUN, RunComparison
from locust_kvcache.analysis.basics.metrics import OF_REQUESTS, OF_ROUNDS, metric_name, statistic_name
from locust_kvcache.analysis.basics.number_text import DASH, change, higher, is_missing, number, slower
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.report.comparison_charts import later_word
from locust_kvcache.analysis.tables import run_tables
from locust_kvcache.analysis.tables.claim_words import arm_words, claim_of, kind_of
from locust_kvcache.analysis.tables.table import Table, find

LONGEST_NAME = 12  # in a heading of the console's table
SHORT = (
    ("ttft_ms", "TTFT, ms", "mean"),
    ("tpot_ms", "TPOT, ms", "mean"),
    ("e2e_ms", "E2E latency, ms", "mean"),
    ("requests_per_s", "requests/s", "rate"),
)


def side_by_side(found: RunComparison, scenario: str) -> Table:
    """One table: every run's cold and hit column, and what a hit changes in each."""
    rows: list[tuple[str, ...]] = []
    for metric, statistic in [(one.key, name) for one in OF_REQUESTS for name in one.side_by_side]:
        cells = [cell for run in found.runs for cell in _cells(run.stats, scenario, metric, statistic)]
        if any(cell != DASH for cell in cells):
            rows.append((f"{metric_name(metric)}: {statistic_name(statistic)}", *cells))
    for metric in [metric.key for metric in OF_ROUNDS if metric.side_by_side]:
        cells = [cell for run in found.runs for cell in _rate_cells(run.stats, scenario, metric)]
        rows.append((metric_name(metric), *cells))
    rows.append(("hit rate, reported (tokens)", *(cell for run in found.runs for cell in _hit_cells(run.stats, scenario))))
    rows.append(("requests failed", *(cell for run in found.runs for cell in _failed_cells(run.stats, scenario))))
    later = [claim_of(run.stats, scenario)["later"] for run in found.runs]
    header = (
        "",
        *(f"{name} {column}" for name, hit in zip(found.names, later, strict=True) for column in ("cold", hit, "change")),
    )
    known = [place for place in range(len(header)) if place == 0 or any(row[place] != DASH for row in rows)]
    return Table(
        f"{scenario}: all runs, cold against {'hit' if set(later) == {'hit'} else 'later rounds'}",
        tuple(header[place] for place in known),
        tuple(tuple(row[place] for place in known) for row in rows),
        found.runs[0].stats["split_rules"]["round"],
    )


def _cells(stats: dict[str, Any], scenario: str, metric: str, statistic: str) -> tuple[str, str, str]:
    sides = [
        find(stats["distributions"], scenario=scenario, split="round_window", group=group, metric=metric)
        for group in ("cold", "hit")
    ]
    effect = find(stats["effects"], scenario=scenario, split="round", metric=metric, statistic=statistic)
    cold, hit = (number(side[0][statistic]) if side else DASH for side in sides)
    return cold, hit, change(effect[0]) if effect else DASH


def _rate_cells(stats: dict[str, Any], scenario: str, metric: str) -> tuple[str, str, str]:
    effect = find(stats["effects"], scenario=scenario, split="round", metric=metric)
    if effect:
        return number(effect[0]["baseline"]), number(effect[0]["contender"]), change(effect[0])
    rounds = find(stats["rounds"], scenario=scenario)
    sides = ([row for row in rounds if row["round"] == 1], [row for row in rounds if row["round"] > 1 and kind_of(row) == "hit"])
    cold, hit = (number(side[0][metric]) if len(side) == 1 else DASH for side in sides)  # of arms there is no effect by round
    return cold, hit, DASH


def _hit_cells(stats: dict[str, Any], scenario: str) -> tuple[str, str, str]:
    rounds = find(stats["rounds"], scenario=scenario)
    cold = [run_tables.known_rate(row, "hit_rate") for row in rounds if row["round"] == 1]
    hit = [run_tables.known_rate(row, "hit_rate") for row in rounds if row["round"] > 1]
    return cold[0] if cold else DASH, hit[-1] if hit else DASH, DASH


def _failed_cells(stats: dict[str, Any], scenario: str) -> tuple[str, str, str]:
    rounds = find(stats["rounds"], scenario=scenario)
    cold = [run_tables.failures(row) for row in rounds if row["round"] == 1]
    hit = sum(row["failed"] for row in rounds if row["round"] > 1)
    return cold[0] if cold else DASH, str(hit) if len(rounds) > 1 else DASH, DASH


def against_table(found: RunComparison, scenario: str) -> Table:
    """Each contender beside the first run, in the cold and in the hit window: the mean's change between these runs."""
    rows = rows_of(found.effects[found.effects["scenario"].eq(scenario) & found.effects["statistic"].isin(["mean", "rate"])])
    lines = tuple(
        (f"{row['contender_run']}, {arm_words(row['window'])}: {_name(row['metric'])}", number(row["baseline"]), number(row["contender"]),
         _between_runs(found, row), DASH if row["pairs"] is None or pd.isna(row["pairs"]) else f"{row['pairs']:.0f}")
        for row in rows
    )  # fmt: skip
    header = ("", found.names[0], "contender", "difference", "pairs")
    notes = (f"Means over pairs of the same planned request in the same round. {ONE_RUN} {HOW_MANY}",)
    rule = found.runs[0].stats["split_rules"]["round"]
    return Table(f"{scenario}: against {found.names[0]}", header, lines, rule, notes, sortable=True)


def _between_runs(found: RunComparison, row: dict[str, Any]) -> str:
    """The change alone: an interval over requests would be read as one over runs."""
    if not found.comparable:
        return "not comparable"
    if row.get("withheld"):
        return "not comparable"
    if is_missing(row["ratio"]):
        return DASH
    return higher(row["ratio"]) if "_per_s" in row["metric"] else slower(row["ratio"])


def _name(metric: str) -> str:
    if metric.endswith("_per_gpu"):
        return metric_name(metric.removesuffix("_per_gpu")) + " per GPU"
    return metric_name(metric)


def conditions_table(found: RunComparison) -> Table:
    order = {"differs: not comparable": 0, "differs": 1, "same": 2}
    rows = sorted(found.conditions, key=lambda condition: order[condition.state])
    return Table("Conditions", ("condition", *found.names, "state"), tuple((row.name, *row.values, row.state) for row in rows),
                 texts=tuple(range(1, len(found.names) + 2)))  # fmt: skip


def targets_table(found: RunComparison) -> Table | None:
    rows = [{**row, "scenario": f"{row['run']}, {row['scenario']}"} for row in found.targets]
    return run_tables.targets_table({"targets": rows}, run_tables.ONE_RUN_MARKS)


def short_table(found: RunComparison, names: list[str]) -> Table:
    """For the console: two runs of one scenario side by side; else a row for each scenario and run."""
    if len(names) == 1 and len(found.runs) == 2:
        return _two_runs(found, names[0])
    rows, word = [], later_word(found, names)
    for scenario in names:
        for run, name in zip(found.runs, found.names, strict=True):
            rates = _rate_cells(run.stats, scenario, "requests_per_s")
            where = f"{scenario}, " if len(names) > 1 else ""
            rows.append((f"{where}{name}", *_cells(run.stats, scenario, "ttft_ms", "mean"), *rates[:2]))
    return Table("", ("mean TTFT", "cold, ms", f"{word}, ms", "change [interval]", "requests/s cold", word), tuple(rows))


def _two_runs(found: RunComparison, scenario: str) -> Table:
    first, second = (run.stats for run in found.runs)
    effects = found.effects[found.effects["scenario"].eq(scenario)]
    rows = []
    for metric, name, statistic in SHORT:
        cells = [(_cells if statistic == "mean" else _rates)(stats, scenario, metric, statistic) for stats in (first, second)]
        row: list[str] = [name]
        for side, window in enumerate(("cold", "hit")):
            told = find(rows_of(effects), metric=metric, window=window, statistic=statistic)
            row += [cells[0][side], cells[1][side], _between_runs(found, told[0]) if told else DASH]
        rows.append(tuple(row))
    hit = [_hit_cells(stats, scenario) for stats in (first, second)]
    rows.append(("hit rate", hit[0][0], hit[1][0], "", hit[0][1], hit[1][1], ""))
    one, two = short_names(found.names)
    later = later_word(found, [scenario])
    return Table(
        f"{scenario}, means",
        ("", f"cold: {one}", two, "change", f"{later}: {one}", two, "change"),
        tuple(rows),
    )


def common_start(names: Sequence[str]) -> str:
    """What several names begin with alike, up to its last separator: emulator_ of emulator_single and emulator_pd."""
    if len(names) < 2:
        return ""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    alike = re.sub(r"[^_.-]*$", "", "".join(letters[0] for letters in same))
    return "" if alike in names else alike


def short_names(names: Sequence[str]) -> list[str]:
    """Without their common start: single and pd of emulator_single and emulator_pd."""
    alike = common_start(names)
    return [name.removeprefix(alike)[:LONGEST_NAME] or name[:LONGEST_NAME] for name in names]


def _rates(stats: dict[str, Any], scenario: str, metric: str, _: str) -> tuple[str, str, str]:
    return _rate_cells(stats, scenario, metric)
