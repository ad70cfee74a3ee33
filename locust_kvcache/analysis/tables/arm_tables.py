"""Makes the tables of cache states: each round's verdict, and each arm against cold."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import DASH, change, number, percent, plural, ratio_change, whole
from locust_kvcache.analysis.tables.claim_words import NO_CONTROL, claim_of, control_text, kind_of, shown_verdict
from locust_kvcache.analysis.tables.table import Stats, Table, find
from locust_kvcache.contract.restart import AFTER_RESTART

RULE = "by the tier that answered: the servers' counters where there are any, else what the answers reported"


def verdict_table(stats: Stats) -> Table:
    """Was cold cold, and which tier answered each later round?"""
    kinds = {(row["scenario"], row["round"]): kind_of(row) for row in stats["rounds"]}
    rows = []
    for row in stats["verdicts"]:
        prompt = row["prompt_tokens"]
        shares = [
            percent(row[key] / prompt) if prompt and row[key] is not None else DASH for key in ("gpu_tokens", "below_tokens")
        ]
        intended = row["arm"] or kinds.get((row["scenario"], row["round"]), "")
        answered = shown_verdict(row["verdict"])
        name = f"{row['scenario']}, round {row['round']}"
        rows.append((name, intended, answered, whole(row["cached_tokens"]), *shares, row["text"]))
    header = ("", "intended state", "answered by", "cached tokens", "GPU", "below GPU", "evidence")
    return Table("Which cache answered each round", header, tuple(rows), RULE, texts=(1, 2, 6))


def arm_table(stats: Stats, scenario: str) -> Table:
    """One row per arm: TTFT, its change against cold, throughput, named by what answered."""
    rows = []
    for row in find(stats["verdicts"], scenario=scenario):
        if row["arm"] is None:
            continue
        times = find(stats["distributions"], scenario=scenario, split="round", group=str(row["round"]), metric="ttft_ms")
        cells = [number(times[0][name]) if times else DASH for name in ("mean", "median", "p90")]
        effects = find(stats["effects"], split="arm", scenario=scenario, round=row["round"])
        ttft = find(effects, metric="ttft_ms", statistic="mean")
        rate = find(effects, metric="requests_per_s")
        rates = find(stats["rounds"], scenario=scenario, round=row["round"])
        rows.append(
            (
                f"{row['arm']} (round {row['round']})",
                shown_verdict(row["verdict"]),
                *cells,
                change(ttft[0]) if ttft else DASH,
                number(rates[0]["requests_per_s"]) if rates else DASH,
                change(rate[0]) if rate else DASH,
                (ttft[0]["verdict"] or DASH) if ttft else DASH,
            )
        )
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
            number(row["limit_gb_per_s"]),
        )
        rows.append((f"round {row['round']}", *cells))
    header = ("", "tokens loaded per request", "TTFT over the GPU hit, ms", "tokens/s", "GB/s [interval]", "link, GB/s")
    return Table(f"{scenario}: loading KV, from the difference to the GPU hit", header, tuple(rows), RULE, texts=(4,))


def headline(stats: Stats) -> str:
    """What each arm does to the mean TTFT, in a sentence; over several scenarios from the least to the most. Caveats come first."""
    names = list(dict.fromkeys(row["scenario"] for row in stats["verdicts"]))
    claims = {name: claim_of(stats, name) for name in names}
    if len(names) < 2 or any(claim["control"] for claim in claims.values()):
        return " ".join(details(stats))
    against = [f"{name}: {claim['lead']}." for name, claim in claims.items() if claim["lead"]]
    ratios: dict[str, list[float]] = {}
    for name in [name for name in names if claims[name]["valid"]]:
        for row, effect in _ttft_effects(stats, name):
            if effect:
                ratios.setdefault(_arm_name(row), []).append(effect["ratio"])
    parts = [f"{arm} {_span(found)}" for arm, found in ratios.items()]
    count = max(map(len, ratios.values()), default=0)
    said = [f"Mean TTFT against cold in {plural(count, 'scenario')}: {'; '.join(parts)}."] if parts else []
    return " ".join([*(f"{name}: {text}" for name in names for text in restart_texts(stats, name)), *against, *said])


def restart_texts(stats: Stats, scenario: str) -> list[str]:
    """Of the tokens that an arm before it had hit, or else of those planned, how many were hit after the restart; empty without it."""
    rows = find(stats["verdicts"], scenario=scenario)
    texts = []
    for row in rows:
        if row["arm"] != AFTER_RESTART or row["cached_tokens"] is None:
            continue
        before = [one["cached_tokens"] or 0 for one in rows if one["round"] < row["round"]]
        cached = max([*before, 0]) or row["allowed_tokens"]
        if cached:
            share = percent(row["cached_tokens"] / cached)
            texts.append(
                f"Of {whole(cached)} cached tokens {whole(row['cached_tokens'])} were still hit after the restart ({share})."
            )
    return texts


def _arm_name(row: dict[str, Any]) -> str:
    """What answered; and the arm's own name where that says another thing."""
    shown = shown_verdict(row["verdict"])
    return shown if shown.lower() == row["arm"].replace("_", " ").lower() else f"{shown} ({row['arm']})"


def _span(ratios: list[float]) -> str:
    texts = list(dict.fromkeys(ratio_change(ratio) for ratio in sorted(ratios, reverse=True)))
    return " to ".join(texts[:: max(1, len(texts) - 1)])


def _ttft_effects(stats: Stats, scenario: str) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each later arm's verdict with what it does to the mean TTFT; None where the two cannot be compared."""
    rows = [row for row in find(stats["verdicts"], scenario=scenario) if row["round"] != claim_of(stats, scenario)["control"]]
    found = []
    for row in rows[1:]:
        keys = {"scenario": scenario, "round": row["round"], "metric": "ttft_ms", "statistic": "mean"}
        effects = [effect for effect in find(stats["effects"], split="arm", **keys) if effect["ratio"] is not None]
        found.append((row, effects[0] if effects else None))
    return found


def details(stats: Stats) -> list[str]:
    """A sentence per scenario: each arm's change of the mean TTFT against cold (or the control); caveats come first."""
    texts = []
    for scenario in dict.fromkeys(row["scenario"] for row in stats["verdicts"]):
        claim = claim_of(stats, scenario)
        lead = f"{claim['lead']}. " if claim["lead"] else ""
        if not claim["valid"]:
            texts.append(" ".join([*restart_texts(stats, scenario), f"{scenario}: {lead}".strip()]))
            continue
        first = next(row for row in find(stats["verdicts"], scenario=scenario) if row["round"] != claim["control"])
        parts = [
            f"{_arm_name(row)} {change(effect) if effect else 'not comparable'}" for row, effect in _ttft_effects(stats, scenario)
        ]
        against = "the control" if claim["control"] else f"the first arm ({shown_verdict(first['verdict'])})"
        texts.append(f"{scenario}: {lead}Mean TTFT against {against}: {', '.join(parts)}{control_text(stats, scenario)}.")
        texts[-1] = " ".join([*restart_texts(stats, scenario), texts[-1]])
    return texts
