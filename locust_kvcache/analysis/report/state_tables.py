"""Makes the tables of a comparison of runs with several cache states: each state next to the same state of the other run."""

from __future__ import annotations

from locust_kvcache.analysis.across_runs.cache_states import rounds_of
from locust_kvcache.analysis.across_runs.run_comparison import RunComparison
from locust_kvcache.analysis.basics.metrics import OF_REQUESTS, OF_ROUNDS, metric_name, statistic_name
from locust_kvcache.analysis.basics.number_text import DASH, number
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.report.comparison_tables import short_names
from locust_kvcache.analysis.tables import run_tables
from locust_kvcache.analysis.tables.claim_words import arm_words
from locust_kvcache.analysis.tables.table import Table, find

RULE = "a column is one round; each cache state is compared with the same one of another run"
SHORT = (("ttft_ms", "TTFT, ms"), ("tpot_ms", "TPOT, ms"), ("e2e_ms", "E2E latency, ms"))


def state_table(found: RunComparison, scenario: str) -> Table:
    """Every run's cold round and each cache state that all runs have."""
    places = [(run, window) for window in found.windows for run in found.runs]
    rows = [
        (
            f"{metric_name(one.key)}: {statistic_name(name)}",
            *(_of_requests(run, scenario, window, one.key, name) for run, window in places),
        )
        for one in OF_REQUESTS
        for name in one.side_by_side
    ]
    rows += [
        (metric_name(one.key), *(_of_round(run, scenario, window, one.key) for run, window in places))
        for one in OF_ROUNDS
        if one.side_by_side
    ]
    rows += _counted(places, scenario)
    shown = tuple(row for row in rows if any(cell != DASH for cell in row[1:]))
    return Table(f"{scenario}: all runs, by cache state", _header(found), shown, RULE)


def short_state_table(found: RunComparison, scenario: str) -> Table:
    """For the console: means, throughput, hit rate."""
    places = [(run, window) for window in found.windows for run in found.runs]
    rows = [(name, *(_of_requests(run, scenario, window, metric, "mean") for run, window in places)) for metric, name in SHORT]
    rows.append(("requests/s", *(_of_round(run, scenario, window, "requests_per_s") for run, window in places)))
    rows.append(_counted(places, scenario)[0])
    first, *others = short_names(found.names)
    header = [name for window in found.windows for name in (f"{arm_words(window)}: {first}", *others)]
    return Table(f"{scenario}, means", ("", *header), tuple(rows))


def _header(found: RunComparison) -> tuple[str, ...]:
    return "", *(f"{arm_words(window)}: {name}" for window in found.windows for name in found.names)


def round_of(run: Analysis, window: str) -> int:
    return 1 if window == "cold" else rounds_of(run)[window]


def _of_requests(run: Analysis, scenario: str, window: str, metric: str, statistic: str) -> str:
    group = str(round_of(run, window))
    found = find(run.stats["distributions"], scenario=scenario, split="round", group=group, metric=metric)
    return number(found[0][statistic]) if found else DASH


def _of_round(run: Analysis, scenario: str, window: str, metric: str) -> str:
    found = find(run.stats["rounds"], scenario=scenario, round=round_of(run, window))
    return number(found[0][metric]) if found else DASH


def _counted(places: list[tuple[Analysis, str]], scenario: str) -> list[tuple[str, ...]]:
    """Hit rates and failures."""
    rounds = [find(run.stats["rounds"], scenario=scenario, round=round_of(run, window)) for run, window in places]
    return [
        ("hit rate", *(run_tables.known_rate(found[0], "hit_rate") if found else DASH for found in rounds)),
        ("requests failed", *(run_tables.failures(found[0]) if found else DASH for found in rounds)),
    ]
