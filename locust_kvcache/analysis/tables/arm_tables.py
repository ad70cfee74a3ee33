"""Makes the tables of cache states: each round's verdict, and each arm against cold."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import (
    DASH,
    change,
    listed,
    number,
    percent,
    ratio_change,
    whole,
)
from locust_kvcache.analysis.tables.claim_words import NO_CONTROL, arm_words, claim_of, control_text, kind_of, shown_verdict
from locust_kvcache.analysis.tables.table import Stats, Table, find
from locust_kvcache.contract.restart import AFTER_RESTART

RULE = "by the tier that answered: the servers' counters where there are any, else what the responses reported"


def verdict_table(stats: Stats) -> Table:
    """Was cold cold, and which tier answered each later round?"""
    kinds = {(row["scenario"], row["round"]): kind_of(row) for row in stats["rounds"]}
    rows = []
    for row in stats["verdicts"]:
        prompt = row["prompt_tokens"]
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
    leads = dict.fromkeys(claim["lead"] for claim in claims.values() if claim["lead"])
    against = [f"{listed(name for name in names if claims[name]['lead'] == lead)}: {lead}." for lead in leads]
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name in [name for name in names if claims[name]["valid"]]:
        for row, effect in _ttft_effects(stats, name):
            if effect:
                found.setdefault(_arm_name(row), []).append((_prompt_length(stats, name), effect))
    said = [f"{_several(arm, effects)}." for arm, effects in found.items()]
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
    shown, named = shown_verdict(row["verdict"]), arm_words(row["arm"])
    return shown if shown.lower() == named.lower() else f"{shown} in arm {named}"


def _article(arm: str) -> str:
    return f"A {arm}" if arm.split()[0] in ("GPU", "CPU", "disk", "store", "hit", "partial") else f"{arm[0].upper()}{arm[1:]}"


def _prompt_length(stats: Stats, scenario: str) -> str:
    """4,096 prompt tokens: the mean of a request; the scenario's name where the tokens are not known."""
    rounds = [row for row in find(stats["rounds"], scenario=scenario) if row["prompt_tokens"] and row["succeeded"]]
    if not rounds:
        return scenario
    mean = sum(row["prompt_tokens"] for row in rounds) / sum(row["succeeded"] for row in rounds)
    return f"{number(mean)} prompt tokens"


def _verb(effects: list[dict[str, Any]]) -> str:
    """cuts, raises; changes, where it is now this, now that."""
    below = {effect["ratio"] < 1 for effect in effects}
    return "changes" if len(below) > 1 else "cuts" if True in below else "raises"


def _several(arm: str, effects: list[tuple[str, dict[str, Any]]]) -> str:
    """A GPU hit cuts the mean TTFT from 611 to 114 ms at 4,100 prompt tokens (−81.3 %) and from ...: the smallest and largest change."""
    ordered = sorted(effects, key=lambda pair: float(pair[1]["ratio"]), reverse=True)
    (where, first), (other, last) = ordered[0], ordered[-1]
    subject, verb = _article(arm), _verb([first, last])
    least, most = _sizes(first), _sizes(last)
    if len(ordered) == 1:
        return f"{subject} {verb} the mean TTFT from {least[0]} to {least[1]} ms at {where} ({least[2]})"
    end = other.removesuffix(" prompt tokens")
    return (
        f"{subject} {verb} the mean TTFT from {least[0]} to {least[1]} ms at {where} ({least[2]}) and from {most[0]} to {most[1]} ms at "
        f"{end} ({most[2]})"
    )


def _sizes(effect: dict[str, Any]) -> tuple[str, str, str]:
    """Before, after, change."""
    return number(effect["baseline"]), number(effect["contender"]), ratio_change(effect["ratio"])


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
        parts = []
        for row, effect in _ttft_effects(stats, scenario):
            subject = _article(_arm_name(row))
            if not effect:
                parts.append(f"{subject} cannot be compared")
                continue
            before, after, _ = _sizes(effect)
            size = change(effect).removesuffix(" [no interval]")
            parts.append(f"{subject} {_verb([effect])} the mean TTFT from {before} to {after} ms ({size})")
        against = ", against the control" if claim["control"] else ""
        length = _prompt_length(stats, scenario)
        where = scenario if length == scenario else f"{scenario} ({length})"
        texts.append(f"{where}: {lead}{'. '.join(parts)}{against}. {control_text(stats, scenario)}".rstrip())
        texts[-1] = " ".join([*restart_texts(stats, scenario), texts[-1]])
    return texts
