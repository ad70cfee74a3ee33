"""Makes the tables of cache states: each round's verdict, and each arm against cold."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import (
    DASH,
    change,
    number,
    percent,
    whole,
)
from locust_kvcache.analysis.tables.arm_sentences import restart_texts
from locust_kvcache.analysis.tables.claim_words import NO_CONTROL, arm_words, claim_of, kind_of, shown_verdict
from locust_kvcache.analysis.tables.table import Stats, Table, find

RULE = "by the tier that answered: the servers' counters where there are any, else what the responses reported"


def verdict_table(stats: Stats) -> Table:
    """Was cold cold, and which tier answered each later round?"""
    kinds = {(row["scenario"], row["round"]): kind_of(row) for row in stats["rounds"]}
    rows = []
    for row in stats["verdicts"]:
        counted = [row[key] or 0.0 for key in ("gpu_tokens", "below_tokens", "computed_tokens")]
        prompt = max(row["prompt_tokens"] or 0.0, sum(counted))
        shares = [
            percent(row[key] / prompt) if prompt and row[key] is not None else DASH for key in ("gpu_tokens", "below_tokens")
        ]
        intended = arm_words(row["arm"]) or kinds.get((row["scenario"], row["round"]), "")
        answered = shown_verdict(row["verdict"])
        name = f"{row['scenario']}, round {row['round']}"
        rows.append((name, intended, answered, whole(row["cached_tokens"]), *shares, row["text"]))
    header = ("", "intended state", "answered by", "cached tokens", "GPU", "below GPU", "evidence")
    return Table("Which cache answered each round", header, tuple(rows), RULE, texts=(1, 2, 6))


def _arm_row(stats: Stats, scenario: str, row: dict[str, Any]) -> tuple[str, ...]:
    times = find(stats["distributions"], scenario=scenario, split="round", group=str(row["round"]), metric="ttft_ms")
    effects = find(stats["effects"], split="arm", scenario=scenario, round=row["round"])
    ttft = find(effects, metric="ttft_ms", statistic="mean")
    rate = find(effects, metric="requests_per_s")
    rates = find(stats["rounds"], scenario=scenario, round=row["round"])
    return (
        f"{arm_words(row['arm'])} (round {row['round']})",
        shown_verdict(row["verdict"]),
        *(number(times[0][name]) if times else DASH for name in ("mean", "median", "p90")),
        change(ttft[0]) if ttft else DASH,
        number(rates[0]["requests_per_s"]) if rates else DASH,
        change(rate[0]) if rate else DASH,
        (ttft[0]["verdict"] or DASH) if ttft else DASH,
    )


def arm_table(stats: Stats, scenario: str) -> Table:
    """One row per arm: TTFT, its change against cold, throughput, named by what answered."""
    rows = [_arm_row(stats, scenario, row) for row in find(stats["verdicts"], scenario=scenario) if row["arm"] is not None]
    header = (
        "arm",
        "answered by",
        "TTFT mean, ms",
        "median, ms",
        "P90, ms",
        "TTFT change",
        "requests/s",
        "change",
        "TTFT verdict",
    )
    control = claim_of(stats, scenario)["control"]
    against, notes = ("the control", ()) if control else ("cold", (NO_CONTROL,))
    notes = (*notes, *restart_texts(stats, scenario))
    return Table(
        f"{scenario}: each arm against {against}",
        header,
        tuple(rows),
        RULE,
        texts=(1, 8),
        notes=notes,
    )


def rate_table(stats: Stats, scenario: str) -> Table:
    """What loading from below the GPU costs and how fast it was, from the difference between two arms."""
    rows = []
    for row in find(stats["load_rates"], scenario=scenario):
        gb = number(row["gb_per_s"])
        if row["gb_per_s_low"] is not None:
            gb += f" [{number(row['gb_per_s_low'])}, {number(row['gb_per_s_high'])}]"
        gb += " NOT POSSIBLE" if row["plausible"] is False else ""
        gb = f"not shown: {row['withheld']}" if row.get("withheld") else gb
        cells = (
            whole(row["tokens_per_request"]),
            number(row["extra_ttft_ms"]),
            whole(row["tokens_per_s"]),
            gb,
            number(row.get("break_even_gb_per_s")),
            number(row["limit_gb_per_s"]),
        )
        rows.append((f"round {row['round']}", *cells))
    header = (
        "",
        "tokens loaded per request",
        "TTFT over the GPU hit, ms",
        "tokens/s",
        "GB/s [interval]",
        "break-even, GB/s",
        "link, GB/s",
    )
    notes = (
        "Break-even: the rate at which loading takes as long as computing, from the cold round; below it a hit does not pay.",
    )
    return Table(
        f"{scenario}: loading KV, from the difference to the GPU hit", header, tuple(rows), RULE, texts=(4,), notes=notes
    )
