"""Says in sentences what each cache state changes against cold, and how sure that is.

A change whose verdict is undecided, or that has no interval, is given as what this run showed, never as an effect of the cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from locust_kvcache.analysis.basics.number_text import change, listed, number, percent, ratio_change, whole
from locust_kvcache.analysis.cache.tier_verdicts import NO_HIT
from locust_kvcache.analysis.tables.claim_words import (
    MIXED_VERB,
    UNDECIDED_VERB,
    VERBS,
    also_text,
    arm_words,
    claim_of,
    control_text,
    shown_verdict,
)
from locust_kvcache.analysis.tables.table import Stats, find
from locust_kvcache.contract.restart import AFTER_RESTART

Effect = dict[str, Any]


def headline(stats: Stats) -> str:
    """What each arm does to the mean TTFT, in a sentence; over several scenarios from the least to the most. Caveats come first."""
    names = list(dict.fromkeys(row["scenario"] for row in stats["verdicts"]))
    claims = {name: claim_of(stats, name) for name in names}
    if len(names) < 2 or any(claim["control"] for claim in claims.values()):
        return " ".join(details(stats))
    found: dict[str, list[tuple[str, Effect]]] = {}
    for name in [name for name in names if claims[name]["valid"]]:
        for row, effect in _ttft_effects(stats, name):
            if effect and row["verdict"] != NO_HIT:  # what weakens the claim says so; no change is that of a hit
                found.setdefault(_arm_name(row), []).append((_prompt_length(stats, name), effect))
    said = [f"{_several(arm, effects)}." for arm, effects in found.items()]
    return " ".join([*(f"{name}: {text}" for name in names for text in restart_texts(stats, name)), *_weak(claims), *said])


def _weak(claims: Mapping[str, dict[str, Any]]) -> list[str]:
    """What weakens the claims of several scenarios, each thing once: first what leads, then what is also true. The figures in brackets
    stand in the sentence of the scenario (details)."""
    alike: dict[str, list[str]] = {}
    for leads in (True, False):
        for name, claim in claims.items():
            for clause in [claim["lead"]] if leads else claim.get("also", ()):
                names = alike.setdefault(_without_brackets(clause), [])
                names += [name] if name not in names else []
    return [f"{listed(names)}: {clause}." for clause, names in alike.items() if clause]


def _without_brackets(text: str) -> str:
    while (shorter := re.sub(r" ?\([^()]*\)", "", text)) != text:
        text = shorter
    return text


def details(stats: Stats) -> list[str]:
    """A sentence per scenario: each arm's change of the mean TTFT against cold (or the control); caveats come first."""
    texts = []
    for scenario in dict.fromkeys(row["scenario"] for row in stats["verdicts"]):
        claim = claim_of(stats, scenario)
        lead = f"{claim['lead']}. " if claim["lead"] else ""
        if not claim["valid"]:
            texts.append(" ".join([*restart_texts(stats, scenario), f"{scenario}: {lead}".strip()]) + also_text(claim))
            continue
        parts = [_one(_arm_name(row), effect) for row, effect in _ttft_effects(stats, scenario)]
        against = ", against the control" if claim["control"] else ""
        length = _prompt_length(stats, scenario)
        where = scenario if length == scenario else f"{scenario} ({length})"
        said = f"{'. '.join(parts)}{against}. " if parts else ""
        texts.append(f"{where}: {lead}{said}{control_text(stats, scenario)}".rstrip() + also_text(claim))
        texts[-1] = " ".join([*restart_texts(stats, scenario), texts[-1]])
    return texts


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


def _one(arm: str, effect: Effect | None, where: str = "") -> str:
    """A store hit raises the mean TTFT from 727 to 767 ms (+5.6 % [+1.9, +9.4])."""
    if not effect:
        return f"{_article(arm)} cannot be compared"
    before, after, at = number(effect["baseline"]), number(effect["contender"]), f" at {where}" if where else ""
    if verb := VERBS.get(effect["verdict"] or ""):
        return f"{_article(arm)} {verb} the mean TTFT from {before} to {after} ms{at} ({change(effect)})"
    had = f"{_article(arm)} had a mean TTFT of {after} against {before} ms{at}"
    if effect["ratio_low"] is None:
        size = ratio_change(effect["ratio"])
        return f"{had} ({size})" if where else f"{had} ({size}, no interval)"
    return f"{had} ({change(effect)}, undecided)"


def _several(arm: str, effects: list[tuple[str, Effect]]) -> str:
    """A GPU hit cuts the mean TTFT from 611 to 114 ms at 4,100 prompt tokens (−81.3 %) and from ...: the smallest and largest change."""
    ordered = sorted(effects, key=lambda pair: float(pair[1]["ratio"]), reverse=True)
    (where, first), (other, last) = ordered[0], ordered[-1]
    subject, verb = _article(arm), _verb([effect for _, effect in ordered])
    least, most = _sizes(first), _sizes(last)
    if len(ordered) == 1:
        return _one(arm, first, where)
    end = other.removesuffix(" prompt tokens")
    return (
        f"{subject} {verb} the mean TTFT from {least[0]} to {least[1]} ms at {where} ({least[2]}) and from {most[0]} to {most[1]} ms at "
        f"{end} ({most[2]}){_how_sure([effect for _, effect in ordered])}"
    )


def _verb(effects: list[Effect]) -> str:
    """cuts, raises; changes, where it is now this, now that; changed, in this run alone, where nothing is decided."""
    found = {VERBS[effect["verdict"]] for effect in effects if effect["verdict"] in VERBS}
    if not found:
        return UNDECIDED_VERB
    one_way = len({effect["ratio"] < 1 for effect in effects}) == 1
    return found.pop() if len(found) == 1 and one_way else MIXED_VERB


def _how_sure(effects: list[Effect]) -> str:
    """; 1 of 4 without an interval and 2 of 4 undecided. Where none has an interval, "changed" and the list of what weakens say so."""
    open_ = [effect for effect in effects if effect["verdict"] not in VERBS]
    bare = sum(effect["ratio_low"] is None for effect in open_)
    if bare == len(effects):
        return ""
    parts = [f"{bare} of {len(effects)} without an interval"] if bare else []
    parts += [f"{len(open_) - bare} of {len(effects)} undecided"] if len(open_) > bare else []
    return f"; {listed(parts)}" if parts else ""


def _sizes(effect: Effect) -> tuple[str, str, str]:
    """Before, after, change."""
    return number(effect["baseline"]), number(effect["contender"]), ratio_change(effect["ratio"])


def _arm_name(row: dict[str, Any]) -> str:
    """What answered; where the arm's own name says another thing, that name with what answered in brackets."""
    shown, named = shown_verdict(row["verdict"]), arm_words(row["arm"])
    return shown if not named or shown.lower() == named.lower() else f"Arm {named} ({shown})"


def _article(arm: str) -> str:
    return f"A {arm}" if arm.split()[0] in ("GPU", "CPU", "disk", "store", "hit", "partial") else f"{arm[0].upper()}{arm[1:]}"


def _prompt_length(stats: Stats, scenario: str) -> str:
    """4,096 prompt tokens: the mean of a request; the scenario's name where the tokens are not known."""
    rounds = [row for row in find(stats["rounds"], scenario=scenario) if row["prompt_tokens"] and row["succeeded"]]
    if not rounds:
        return scenario
    mean = sum(row["prompt_tokens"] for row in rounds) / sum(row["succeeded"] for row in rounds)
    return f"{number(mean)} prompt tokens"


def _ttft_effects(stats: Stats, scenario: str) -> list[tuple[dict[str, Any], Effect | None]]:
    """Each later arm's verdict with what it does to the mean TTFT; None where the two cannot be compared."""
    rows = [row for row in find(stats["verdicts"], scenario=scenario) if row["round"] != claim_of(stats, scenario)["control"]]
    found = []
    for row in rows[1:]:
        keys = {"scenario": scenario, "round": row["round"], "metric": "ttft_ms", "statistic": "mean"}
        effects = [effect for effect in find(stats["effects"], split="arm", **keys) if effect["ratio"] is not None]
        found.append((row, effects[0] if effects else None))
    return found
