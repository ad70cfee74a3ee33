"""Checks a run's tables for reasons why its figures are unreliable: failures, different token counts, a slow client."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.basics.plain_values import rows_of, with_scenario_text
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.contract.failure_words import counted_causes, listed
from locust_kvcache.contract.outage_words import balanced_in, outages_in


def disagreement(checked: pd.DataFrame) -> list[Problem]:
    """Servers and client should count the same cached tokens: more than 2 % apart is a warning."""
    both = checked[checked["client_cached_tokens"].notna() & checked["server_cached_tokens"].notna()]
    apart = (both["server_cached_tokens"] - both["client_cached_tokens"]).abs()
    wrong = both[apart > 0.02 * both[["server_cached_tokens", "client_cached_tokens"]].max(axis=1)]
    return [
        Problem(
            "warning",
            "cached_tokens_disagree",
            f"Round {row['round']} of {row['scenario']}: the {row['role']} counted {row['server_cached_tokens']:,.0f} cached tokens, "
            f"the answers reported {row['client_cached_tokens']:,.0f}.",
            "Other traffic on the servers, a missing metrics address, or a decoder that counts loaded KV as cached.",
        )
        for row in rows_of(wrong)
    ]


def failures(records: pd.DataFrame) -> list[Problem]:
    failed = chosen(records, ~records["ok"], ["status", "error"])
    if failed.empty:
        return []
    causes = counted_causes(status_errors(failed))
    text = f"{len(failed)} of {len(records)} requests failed: {listed(causes)}. They are in no time and no rate."
    return [
        Problem("warning", "failures", text, "A failed request may have warmed the cache, or eased the load, for the others.")
    ]


def outages(warnings: Iterable[str]) -> list[Problem]:
    """A pause of a round is no time of the server's: its wall time and rates hold it, and a restarted server has an empty cache."""
    todo = "The round's wall time and rates include the pause, and a restarted server has lost its cache: run again."
    return [Problem("warning", "outage", f"{text[:1].upper()}{text[1:]}.", todo) for text in outages_in(warnings)]


def balanced(warnings: Iterable[str]) -> list[Problem]:
    """Addresses at which several servers answered, as the load found out before it began."""
    return [Problem("warning", "several_servers", f"{text[:1].upper()}{text[1:]}.", "") for text in balanced_in(warnings)]


def status_errors(failed: pd.DataFrame) -> list[tuple[str, str | None, int]]:
    """(status, error, how many) of failed requests."""
    table = failed[["status", "error"]].astype(object).groupby(["status", "error"], dropna=False).size().rename("count")
    return [(row["status"], row["error"], int(row["count"])) for row in rows_of(table.reset_index())]


LATE_MS = 20.0  # less is the event loop's own jitter
LATE_SHARE = 0.05


def sent_late(records: pd.DataFrame) -> list[Problem]:
    """Open loop: rounds in which more than LATE_SHARE of the scheduled requests were sent more than LATE_MS after their intended time."""
    problems = []
    scheduled = with_scenario_text(chosen(records, records["schedule_lag_ms"].notna(), ["scenario", "round", "schedule_lag_ms"]))
    for (scenario, number), group in scheduled.groupby(["scenario", "round"], sort=False):
        lag_ms = group["schedule_lag_ms"]
        late = lag_ms[lag_ms > LATE_MS]
        if len(late) > LATE_SHARE * len(group):
            text = (
                f"Round {number} of {scenario}: {len(late)} of {len(group)} scheduled requests were sent late, by {late.mean():,.0f} ms on "
                f"average and {late.max():,.0f} ms at most. Times from the actual send do not include this wait; goodput and objectives do."
            )
            problems.append(
                Problem("warning", "sent_late", text, "Give the run more users (-u), or ask for a lower --request-rate.")
            )
    return problems


APART = 0.1  # of the rate while all users were busy


def ramp_and_tail(rounds: pd.DataFrame) -> list[Problem]:
    """Closed loop: rounds whose own rate and that of busy users are more than a tenth apart."""
    found = []
    for row in rows_of(rounds):
        rate, busy = row["requests_per_s"], row["busy_requests_per_s"]
        if not rate or not busy or abs(rate / busy - 1) <= APART:
            continue
        text = (
            f"Round {row['round']} of {row['scenario']}: {rate:.3g} requests/s over the whole round, {busy:.3g} "
            f"[{row['busy_requests_per_s_low']:.3g}, {row['busy_requests_per_s_high']:.3g}] while all users were busy: its ramp, its tail "
            "or a slow request make up the difference."
        )
        todo = "Compare the rate while all users were busy, or send more requests per round (--requests)."
        found.append(Problem("warning", "ramp_and_tail", text, todo))
    return found
