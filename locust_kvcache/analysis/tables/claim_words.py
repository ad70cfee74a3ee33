"""Chooses the words that the claims allow: names of rounds, effects that answer, the headline."""

from __future__ import annotations

import re
from typing import Any

from locust_kvcache.analysis.basics.number_text import LARGEST_IN_PERCENT, change, number, percent, plural, slower
from locust_kvcache.analysis.cache.claimed import AGAINST_CONTROL, CONTROL, EVIDENCE, ROUND, UNSERVED
from locust_kvcache.analysis.cache.claims import UNSERVED_CAUSES
from locust_kvcache.analysis.cache.round_evidence import HIT, LESS, UNKNOWN
from locust_kvcache.analysis.stats.verdicts import HEADS, UNDECIDED
from locust_kvcache.analysis.tables.table import Stats, find

IN_BRACKETS = re.compile(r" \([^()]*(?:\([^()]*\)[^()]*)*\)")
NO_CONTROL = "No control round was run (--control), so effects of order and warm-up are not separated from the cache's."
PART = "the hit rate was below the plan, so part of the change may have other causes"
OTHER = "hits are missing, so the change has other causes than the cache"
VERBS = {"better": "cuts", "worse": "raises"}
MIXED_VERB, UNDECIDED_VERB = "changes", "changed"  # of several effects: now this, now that; none decided, so of this run alone
# verdicts of stats.json -> as people read them; others are shown as they are
SHOWN_VERDICTS = {
    "cold proven": "cold (confirmed)",
    "cold by nonce": "cold (by nonce alone)",
    "contaminated": "not cold (contaminated)",
}


def shown_verdict(verdict: str) -> str:
    """A verdict of stats.json in the words of a report."""
    return SHOWN_VERDICTS.get(verdict, verdict)


def arm_words(arm: str | None) -> str:
    """GPU hit, of gpu_hit."""
    return (arm or "").replace("_", " ").replace("gpu", "GPU").replace("cpu", "CPU")


def arm_label(stats: Stats) -> str:
    """The later arms by name: GPU hit or store hit."""
    arms = dict.fromkeys(row["arm"] for row in stats["verdicts"] if row["arm"] and row["arm"] != "cold")
    return " / ".join(map(arm_words, arms)) or "later arms"


def claim_of(stats: Stats, scenario: str) -> dict[str, Any]:
    """The claim of a scenario; one that allows all where statistics of before have none."""
    allowed = {"lead": "", "valid": True, "credited": True, "verdict": "", "why_not_judged": "", "later": "hit", "control": None,
               "rounds": [], "also": [], "cause": "ok"}  # fmt: skip
    return next(iter(find(stats.get("claims") or [], scenario=scenario)), allowed)


def kind_of(row: dict[str, Any]) -> str:
    """cold, control or hit: what a row of the table of rounds was played for."""
    return str(row.get("kind") or ("cold" if row["round"] == 1 else "hit"))


def round_label(stats: Stats, row: dict[str, Any]) -> str:
    """round 1 (cold), round 2 (hit); without a word for a later round that evidence does not call a hit."""
    kind = kind_of(row)
    served = next((how for number_, how, _ in claim_of(stats, row["scenario"])["rounds"] if number_ == row["round"]), HIT)
    word = {UNKNOWN: " (repeated)"}.get(served, f" ({UNSERVED[served]})") if kind == "hit" and served != HIT else f" ({kind})"
    return f"round {row['round']}{word}"


def answering_split(stats: Stats, scenario: str) -> str:
    """The effects that answer the question: against the control where there is one."""
    return AGAINST_CONTROL if claim_of(stats, scenario)["control"] else ROUND


def answer_splits(stats: Stats, scenario: str) -> tuple[str, ...]:
    """The comparisons of one scenario, the one that answers first; what the control did stands beside it."""
    return (AGAINST_CONTROL, CONTROL, ROUND, EVIDENCE) if claim_of(stats, scenario)["control"] else (ROUND, EVIDENCE)


def answer(stats: Stats, scenario: str) -> str:
    """The answer for one scenario; what weakens it comes first, and no number follows figures that are not valid."""
    claim = claim_of(stats, scenario)
    also = also_text(claim)
    if not claim["valid"]:
        return f"{scenario}: {claim['lead']}.{also}"
    effects = find(stats["effects"], split=answering_split(stats, scenario), scenario=scenario)
    ttft = find(effects, metric="ttft_ms", statistic="mean")
    if len(find(stats["rounds"], scenario=scenario)) == 1:
        return f"{scenario}: {_one_round(stats, scenario, claim['lead'])}{also}"
    if not ttft or ttft[0]["ratio"] is None:
        lead = f"{claim['lead']}; " if claim["lead"] else ""
        why = "no request succeeded both in round 1 and in a later round"
        return f"{scenario}: {lead}cold and hit cannot be compared ({why})." + also
    if is_unserved(claim):
        return f"{scenario}: {_not_credited(claim, ttft[0])}. {control_text(stats, scenario)}".rstrip() + also
    lead = f"{claim['lead']}. As measured: " if claim["lead"] else ""
    return f"{scenario}: {lead}{_credited(stats, scenario, effects, ttft[0])}{also}"


def also_text(claim: dict[str, Any]) -> str:
    """What weakens a scenario beside the lead of its claim, as a sentence with a blank before it."""
    return f" Also: {'; '.join(claim['also'])}." if claim.get("also") else ""


def short_lead(claim: dict[str, Any]) -> str:
    """The lead without its figures, for a page that is of several runs."""
    return IN_BRACKETS.sub("", claim["lead"])


def is_unserved(claim: dict[str, Any]) -> bool:
    """Whether nothing shows that the later rounds were hits as planned: no change is credited to the cache then."""
    return not claim["credited"] and (claim["cause"] in UNSERVED_CAUSES or any(how != HIT for _, how, _ in claim["rounds"]))


def _one_round(stats: Stats, scenario: str, lead: str) -> str:
    """What was measured where no later round repeats the requests."""
    row = find(stats["rounds"], scenario=scenario)[0]
    times = find(stats["distributions"], scenario=scenario, split="round", group=str(row["round"]), metric="ttft_ms")
    parts = [f"mean TTFT {number(times[0]['mean'])} ms"] if times else []
    if row["hit_rate"] is not None:
        parts.append(f"{percent(row['hit_rate'])} of the prompt tokens came from the cache{known_of(row)}")
    said = ", ".join(parts) or ("no request succeeded" if row["requests"] else "no request has a record")
    return (
        f"{lead}. As measured: {said}. There is one round, so hit and cold rounds are not compared."
        if lead
        else (f"{said}. There is one round, so hit and cold rounds are not compared.")
    )


def _not_credited(claim: dict[str, Any], row: dict[str, Any]) -> str:
    """The change as it is, and that it is not the cache's."""
    size = f"mean TTFT {change(row)}, from {number(row['baseline'])} to {number(row['contender'])} ms"
    if claim["cause"] == "nothing could be judged":
        return f"later rounds are {_moved(row)}; {claim['lead']}: {size}"
    if all(how in (HIT, UNKNOWN) for _, how, _ in claim["rounds"]) and claim["rounds"]:
        return f"{claim['lead']}. Later rounds are {_moved(row)}: {size}"
    name = claim["later"]
    why = PART if claim["verdict"] == UNSERVED[LESS] else OTHER
    baseline = "the control" if claim["control"] else "cold"
    return f"{claim['lead']}. {name[0].upper()}{name[1:]} against {baseline}: {size}; {why}"


def _moved(row: dict[str, Any]) -> str:
    if row["ratio_low"] is None:
        return "faster in this run (no interval)" if row["ratio"] < 1 else "not faster in this run (no interval)"
    if row["verdict"] == UNDECIDED:
        return "not certainly faster or slower (undecided)"
    return "faster" if row["ratio"] < 1 else "slower"


def _credited(stats: Stats, scenario: str, effects: list[dict[str, Any]], row: dict[str, Any]) -> str:
    """Sentences: what repeating the requests changes, how sure that is, the throughput, what the cache served."""
    said = [
        f"repeating the requests {_size(row)}, from {number(row['baseline'])} to {number(row['contender'])} ms.",
        _why_open(stats, row),
    ]
    if rate := find(effects, metric="requests_per_s"):
        said.append(f"Throughput {change(rate[0])}.")
    pure = find(stats["effects"], split=EVIDENCE, scenario=scenario, metric="ttft_ms", statistic="mean")
    if pure and pure[0]["ratio"] is not None and abs(pure[0]["ratio"] - row["ratio"]) > 0.02:
        why = f" ({pure[0]['no_interval']})" if pure[0]["ratio_low"] is None else ""
        said.append(f"By evidence, a hit against a cold request: {change(pure[0])}{why}.")
    said += [control_text(stats, scenario), _efficiency(stats, scenario)]
    return " ".join(sentence for sentence in said if sentence)


def _why_open(stats: Stats, row: dict[str, Any]) -> str:
    """Why a change is undecided; empty where it is decided, or has no interval, which is said beside the change."""
    if row["verdict"] in VERBS or row["ratio_low"] is None:
        return ""
    if lost_by_adjustment(row):
        return f"Undecided: adjusted for {plural(hypotheses(stats), 'comparison')}, p is {row['p_adjusted']:.2g}."
    return "Undecided: the interval includes no change." if row["ratio_low"] <= 1 <= row["ratio_high"] else ""


def _efficiency(stats: Stats, scenario: str) -> str:
    """What the later round that was served least got of what an ideal cache would have had."""
    rows = find(stats["rounds"], scenario=scenario)
    later = [row for row in rows if kind_of(row) == "hit" and row["cache_efficiency"] is not None]
    if not later:
        return ""
    least = min(later, key=lambda row: float(row["cache_efficiency"]))
    return f"{percent(least['cache_efficiency'])} of what could be cached was served from the cache{known_of(least)}."


def known_of(row: dict[str, Any]) -> str:
    """(by 2 of 6 requests) where the others reported no cached tokens; nothing where all did."""
    known, succeeded = row.get("cached_known"), row["succeeded"]
    return f" (by {known} of {succeeded} requests)" if known is not None and known < succeeded else ""


def _size(row: dict[str, Any]) -> str:
    if verb := VERBS.get(row["verdict"] or ""):
        if row["ratio"] > LARGEST_IN_PERCENT:
            return f"makes the mean TTFT {slower(row['ratio'])} ({change(row)})"
        return f"{verb} the mean TTFT by {interval(row)}"
    return f"changed the mean TTFT of this run by {change(row)}"


def lost_by_adjustment(row: dict[str, Any]) -> bool:
    """The interval, which counts this metric alone, leaves out no change; the verdict, which counts all metrics, is open."""
    if row["verdict"] != UNDECIDED or row["ratio_low"] is None or row.get("p_adjusted") is None:
        return False
    return not row["ratio_low"] <= 1 <= row["ratio_high"]


def hypotheses(stats: Stats) -> int:
    """How many comparisons the p-values of this report are adjusted for (stats/verdicts.py)."""
    tested = [row for row in stats["effects"] if row.get("p_adjusted") is not None]
    return len({(row["scenario"], row["split"], row.get("round"), HEADS.get(row["metric"], row["metric"])) for row in tested})


def control_text(stats: Stats, scenario: str) -> str:
    """What the control did without a cache, beside the effect against it."""
    row = find(stats["effects"], split=CONTROL, scenario=scenario, metric="ttft_ms", statistic="mean")
    if not row or row[0]["ratio"] is None:
        return ""
    return (
        "The change is against the control round, which sent fresh prompts after the first round; the control itself changed by "
        f"{change(row[0])}."
    )


def interval(row: dict[str, Any]) -> str:
    """48.3 % (95 % interval 40.1 to 55.0 %)."""
    size = percent(abs(row["ratio"] - 1))
    if row["ratio_low"] is None:
        return size
    ends = [percent(end) for end in sorted(abs(row[key] - 1) for key in ("ratio_low", "ratio_high"))]
    return f"{size} (95 % interval {ends[0].removesuffix(' %')} to {ends[1]})"
