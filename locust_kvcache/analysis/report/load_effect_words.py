"""Writes the sentences about a hit under the heaviest load, and about the part of the gain that a single user has."""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.analysis.across_runs import load_effect, run_groups
from locust_kvcache.analysis.across_runs.load_effect import ONE_USER, Split, Way
from locust_kvcache.analysis.across_runs.run_validity import validity_problems
from locust_kvcache.analysis.basics.number_text import change, listed, number, percent, plural
from locust_kvcache.analysis.cache.round_evidence import HIT
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.tables.claim_words import VERBS, arm_words, lost_by_adjustment


def counted(way: Way) -> str:
    return f"{way.name} ({plural(len(way.runs), 'run')})"


def few_runs(ways: Sequence[Way]) -> list[str]:
    """For the trust list: ways that were played too seldom for a verdict."""
    few = [counted(way) for way in ways if len(way.runs) < run_groups.RUNS_FOR_A_VERDICT]
    return [f"Few runs of {', '.join(few)}: for a verdict play each {run_groups.RUNS_FOR_A_VERDICT} times."] if few else []


def weak_points(ways: Sequence[Way], rows: Sequence[Split]) -> list[str]:
    """What weakens the answer, for its first words. Its sentence is of the first way and of one user."""
    used = [way for way in ways if way.name in (rows[0].way, ONE_USER)]
    few = [counted(way) for way in used if len(way.runs) < run_groups.RUNS_FOR_A_VERDICT]
    invalid = [run.run_id for way in ways for run in way.runs if validity_problems({run.run_id: run.stats})]
    found = [f"the figures of {listed(invalid)} are not valid"] if invalid else []
    found += [f"there are few runs of {', '.join(few)}"] if few else []
    state = _told(rows).state
    unseen = [run.run_id for way in used for run in way.runs if not _is_hit(run, state)]
    found += [f"there is no evidence of a {arm_words(state)} in {listed(unseen)}"] if unseen else []
    if all(way.name != ONE_USER for way in ways):
        found.append("no run has one user, so own prefill is not known")
    elif all(row.queue_ms is None for row in rows):
        found.append("no server counted its queue time")
    return found


def lead_text(ways: Sequence[Way], rows: Sequence[Split]) -> str:
    """One sentence on the heaviest way of loading and its last state, what weakens it first."""
    weak = weak_points(ways, rows)
    opening = f"Read with care: {'; '.join(weak)}. " if weak else ""
    row = _told(rows)
    return f"{opening}{_effect_text(rows[0], row)}{_own_text(ways, rows, row)}."


def _told(rows: Sequence[Split]) -> Split:
    """Of the heaviest way of loading the last state that is no control."""
    return next(row for row in reversed(rows) if row.way == rows[0].way and not load_effect.is_control(row.state))


def _is_hit(run: Analysis, state: str) -> bool:
    """Whether evidence calls that round of the run a hit; also where statistics of before tell of none."""
    number_ = next(number_ for number_, name in load_effect.states_of(run).items() if name == state)
    told = [how for claim in run.stats.get("claims") or [] for round_, how, _ in claim["rounds"] if round_ == number_]
    return all(how == HIT for how in told)


def _effect_text(cold: Split, row: Split) -> str:
    """With all 50 at once, a store hit raises the mean TTFT from 19,600 to 27,500 ms (+40.9 % [+9.8, +80.7])."""
    effect = row.ttft_change or {}
    before, after, size = number(cold.ttft_ms), number(row.ttft_ms), change(effect)
    if verb := VERBS.get(effect.get("verdict") or ""):
        return f"With {row.way}, a {arm_words(row.state)} {verb} the mean TTFT from {before} to {after} ms ({size})"
    said = f"With {row.way}, a {arm_words(row.state)} had a mean TTFT of {after} against {before} ms"
    if not _is_undecided(row):
        return f"{said} ({size})"
    return f"{said} ({size}, {_why_undecided(row)})"


def _why_undecided(row: Split) -> str:
    return "undecided once adjusted for all comparisons" if lost_by_adjustment(row.ttft_change or {}) else "undecided"


def _is_undecided(row: Split) -> bool:
    """There is an interval, and it carries neither a fall nor a rise."""
    effect = row.ttft_change or {}
    return not VERBS.get(effect.get("verdict") or "") and effect.get("ratio_low") is not None


def _own_text(ways: Sequence[Way], rows: Sequence[Split], row: Split) -> str:
    """What one user alone saves of it; empty where no run has one user, or no other way of loading was played."""
    total, own = load_effect.saved(rows, row.way, row.state)
    if own is None or len(ways) == 1:
        return ""
    alone = {one.state: one for one in rows if one.way == ONE_USER}
    mine = alone[row.state]
    is_open = _is_undecided(mine) and not lost_by_adjustment(mine.ttft_change or {})  # one user's own interval includes no change
    if _is_undecided(row) or total <= 0 or is_open:
        said = f"; one user alone had {number(mine.ttft_ms)} against {number(alone[rows[0].state].ttft_ms)} ms"
        return f"{said} ({_why_undecided(mine)})" if _is_undecided(mine) else said
    if own <= 0:
        return (
            f"; one user alone saves nothing, a hit takes {number(-own)} ms more than cold. What is saved is time spent "
            "waiting for other requests, which depends on the load"
        )
    if own >= total:
        return f"; one user alone saves {number(own)} ms, no less than this load"
    return (
        f"; of the {number(total)} ms saved, one user alone saves {number(own)} ms ({percent(own / total)}), and the other "
        f"{percent(1 - own / total)} is time spent waiting for other requests, which depends on the load"
    )
