"""Says in words what a hit changes at each number of users, and how far the figures of a sweep can be trusted."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import change, is_missing, listed, number, plural, ratio_change
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables.claim_words import claim_of, is_unserved, short_lead
from locust_kvcache.analysis.tables.table import Stats, find

MOST_LEVELS = 3  # in a sentence
NO_INTERVAL, UNDECIDED, EXCLUDES = "no interval", "undecided", "excludes no change"


def effect(stats: Stats, scenario: str, metric: str, statistic: str | None) -> dict[str, Any]:
    """Cold (baseline) and hit (contender) of one metric with their ratio's interval; empty where there is none."""
    wanted = {"statistic": statistic} if statistic else {}
    return next(iter(find(stats["effects"], split="round", scenario=scenario, metric=metric, **wanted)), {})


def why_not_valid(stats: Stats, scenario: str) -> str:
    """Why the figures of this scenario are not valid, as its own report says; empty where they are."""
    claims = [row for row in stats.get("claims") or [] if row["scenario"] == scenario and not row["valid"]]
    return claims[0]["why_not_judged"] if claims else ""


def why_not_credited(stats: Stats, scenario: str) -> str:
    """Why no change of this scenario may be told as a hit's: its figures are not valid, or nothing shows that its later rounds hit."""
    claim = claim_of(stats, scenario)
    return why_not_valid(stats, scenario) or (short_lead(claim) if is_unserved(claim) else "")


def _weakened(levels: dict[int, Stats], scenario: str) -> str:
    """What weakens levels whose change is told all the same, each reason once."""
    found: dict[str, list[int]] = {}
    for users, stats in levels.items():
        if why := short_lead(claim_of(stats, scenario)):
            found.setdefault(why, []).append(users)
    return " ".join(f"{scenario} with {_users(counts)}: {why}." for why, counts in found.items())


def _users(counts: list[int]) -> str:
    return f"{listed(counts)} users" if len(counts) > 1 else plural(counts[0], "user")


def sentence(levels: dict[int, Stats], scenario: str) -> str:
    """What a hit changes at each level, in words; of more than three levels at the fewest and the most users. What weakens it, and
    levels of which no change is told, come first."""
    reasons: dict[str, list[int]] = {}
    for users, stats in levels.items():
        if why := why_not_credited(stats, scenario):
            reasons.setdefault(why, []).append(users)
    sound = {users: stats for users, stats in levels.items() if not why_not_credited(stats, scenario)}
    shown = sound if len(sound) <= MOST_LEVELS else {users: sound[users] for users in (min(sound), max(sound))}
    parts = []
    for users, stats in shown.items():
        row = effect(stats, scenario, "ttft_ms", "mean")
        parts.append(f"{_with_times(row)} at {plural(users, 'user')}")
    said = [f"{scenario}: a hit changes the mean TTFT by {', '.join(parts)}"] if parts else []
    against = [f"{scenario} with {_users(counts)}: {why}" for why, counts in reasons.items()]
    return " ".join(filter(None, (_weakened(sound, scenario), ". ".join([*against, *said]))))


def _with_times(row: dict[str, Any]) -> str:
    """−92.7 % [−94.5, −90.2] (1,750 to 128 ms)."""
    return f"{change(row)} ({number(row['baseline'])} to {number(row['contender'])} ms)" if row else "no comparison"


def lead(levels: dict[int, Stats], names: list[str]) -> str:
    """The sentence of the only scenario; of several, in how many a hit cuts the TTFT, at the fewest and at the most users."""
    if len(names) == 1:
        return f"{sentence(levels, names[0])}."
    ends = sorted({min(levels), max(levels)})
    return " ".join(_counted(users, levels[users], names) for users in ends)


def _counted(users: int, stats: Stats, names: list[str]) -> str:
    """At 1 user a hit cuts the mean TTFT in 2 of 4 scenarios (−56.7 to −86.7 %); 2 are undecided."""
    rows = [effect(stats, name, "ttft_ms", "mean") for name in names if not why_not_credited(stats, name)]
    invalid = sum(bool(why_not_valid(stats, name)) for name in names)
    unseen = len(names) - len(rows) - invalid
    kinds = [interval_kind(row) for row in rows]
    sure = [row["ratio"] for row, kind in zip(rows, kinds, strict=True) if kind == EXCLUDES]
    cut, raised = [ratio for ratio in sure if ratio < 1], [ratio for ratio in sure if ratio > 1]
    if sure:
        some = f" ({_from_to(cut)})" if cut else ""
        parts = [f"At {plural(users, 'user')} a hit cuts the mean TTFT in {len(cut)} of {plural(len(names), 'scenario')}{some}"]
    else:
        parts = [f"At {plural(users, 'user')} the change of the mean TTFT is certain in no scenario"]
    parts += [f"it raises the mean TTFT in {len(raised)} ({_from_to(raised)})"] if raised else []
    parts += [f"undecided in {count}" for count in [kinds.count(UNDECIDED)] if count]
    parts += [f"not valid in {invalid}"] if invalid else []
    parts += [f"no hit is shown in {unseen}"] if unseen else []
    parts += [f"no interval in {count} (too few requests)" for count in [kinds.count(NO_INTERVAL)] if count]
    return f"{'; '.join(parts)}."


def _from_to(ratios: list[float]) -> str:
    """−56.7 % to −86.7 %."""
    texts = list(dict.fromkeys(ratio_change(ratio) for ratio in sorted(ratios, reverse=True)))
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def interval_kind(row: dict[str, Any]) -> str:
    """Whether there is an interval, and whether it excludes no change."""
    if is_missing(row.get("ratio_low")):
        return NO_INTERVAL
    return UNDECIDED if row["ratio_low"] <= 1 <= row["ratio_high"] else EXCLUDES


def trust(levels: dict[int, Stats], names: list[str]) -> tuple[str, ...]:
    """What every page says; how many of the changes are certain; that each level is one run."""
    every = [(stats, name) for name in names for stats in levels.values()]
    rows = [effect(stats, name, "ttft_ms", "mean") for stats, name in every if not why_not_credited(stats, name)]
    kinds = [interval_kind(row) for row in rows if row]
    sure, unsure, none = (kinds.count(kind) for kind in (EXCLUDES, UNDECIDED, NO_INTERVAL))
    counts = [(sure, "certain"), (unsure, "undecided"), (none, "without an interval (too few requests)")]
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    own = [Said("One run for each number of users, each with other prompts; other runs may differ more.", True)]
    if kinds:
        own.append(
            Said(f"{plural(len(kinds), 'change')} of the mean TTFT, by their 95 % intervals: {told}.", bool(unsure or none))
        )
    return common_trust(list(levels.values()), own=own)
