"""Makes the page of a comparison: answer, conditions, all runs, effects, charts."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.across_runs.cache_states import COLD_AND_HIT, rounds_of, states_after_cold
from locust_kvcache.analysis.across_runs.run_comparison import HOW_MANY, ONE_RUN, RunComparison
from locust_kvcache.analysis.basics.number_text import is_missing, number, plural, slower
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.cache.round_evidence import HIT
from locust_kvcache.analysis.charts.detail_charts import stage_chart, stage_parts
from locust_kvcache.analysis.report.ci import Outcome
from locust_kvcache.analysis.report.comparison_charts import scenarios_of, throughput_chart, ttft_chart
from locust_kvcache.analysis.report.comparison_tables import (
    against_table,
    conditions_table,
    short_table,
    side_by_side,
    targets_table,
)
from locust_kvcache.analysis.report.page import Block, Page, section
from locust_kvcache.analysis.report.state_tables import short_state_table, state_table
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables import sentences
from locust_kvcache.analysis.tables.claim_words import arm_words, claim_of, short_lead
from locust_kvcache.analysis.tables.store_cost import cost_table
from locust_kvcache.analysis.tables.table import Table, find
from locust_kvcache.contract.exit_codes import Cause


def headline(found: RunComparison) -> str:
    """One sentence: each contender's mean TTFT beside the first run's; or why these runs cannot be compared."""
    if not found.comparable:
        reasons = [problem.text for problem in found.problems if problem.severity == "error"]
        return "These runs are not comparable. " + " ".join(reasons[:3])
    names = scenarios_of(found)
    if len(names) == 1:
        return " ".join([*_weakened(found), _sentence(found, names[0])])
    parts = []
    for contender in found.names[1:]:
        told = [(window, _mean_ttfts(found, contender_run=contender, window=window)) for window in found.windows]
        parts.append(f"{contender} {', '.join(f'{_span(rows)} {_when(found, names, window)}' for window, rows in told)}")
    said = f"Mean TTFT against {found.names[0]} in {len(names)} scenarios, one run of each: {'; '.join(parts)}."
    return " ".join([*_weakened(found), said])


def _weakened(found: RunComparison) -> list[str]:
    """What weakens a run's figures by its own report, said before the answer; more than three are counted."""
    leads = [
        f"{name}, {claim['scenario']}: {short_lead(claim)}."
        for run, name in zip(found.runs, found.names, strict=True)
        for claim in run.stats.get("claims") or []
        if claim["lead"]
    ]
    more = f"({plural(len(leads) - 3, 'more caveat')} of this kind in the runs' own reports.)"
    return [*leads[:3], more] if len(leads) > 3 else leads


def _when(found: RunComparison, names: list[str], window: str) -> str:
    """on a hit, only where the evidence of all runs calls the later rounds so."""
    if window == "cold":
        return "when cold"
    if window not in COLD_AND_HIT:
        return f"on a {arm_words(window)}" if _is_hit(found, names, window) else f"in the round of {arm_words(window)}"
    hits = all(claim_of(run.stats, name)["later"] == "hit" for run in found.runs for name in names)
    return "on a hit" if hits else "in later rounds"


def _is_hit(found: RunComparison, names: list[str], state: str) -> bool:
    """Whether the evidence of all runs calls that state's round a hit."""
    return all(
        how == HIT
        for run in found.runs
        for name in names
        for number_, how, _ in claim_of(run.stats, name)["rounds"]
        if number_ == rounds_of(run)[state]
    )


def _span(rows: list[dict[str, Any]]) -> str:
    """2.3 % faster to 23.4 % slower."""
    ratios = sorted(row["ratio"] for row in rows if not is_missing(row["ratio"]))
    texts = list(dict.fromkeys(slower(ratio) for ratio in ratios))
    if not texts:
        return "not compared"
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def _mean_ttfts(found: RunComparison, **wanted: Any) -> list[dict[str, Any]]:
    return find(rows_of(found.effects), metric="ttft_ms", statistic="mean", **wanted)


def details(found: RunComparison) -> list[str]:
    names = scenarios_of(found)
    return [_sentence(found, name) for name in names] if found.comparable and len(names) > 1 else []


def _sentence(found: RunComparison, scenario: str) -> str:
    """PD is 23.4 % slower than single when cold (mean TTFT 611 against 495 ms), ..."""
    parts = []
    for row in _mean_ttfts(found, scenario=scenario):
        if not is_missing(row["ratio"]):
            times = f"mean TTFT {number(row['contender'])} against {number(row['baseline'])} ms"
            when = _when(found, [scenario], row["window"])
            than = " as" if slower(row["ratio"]) == "as fast" else " than"
            parts.append(f"{row['contender_run']} is {slower(row['ratio'])}{than} {found.names[0]} {when} ({times})")
    if not parts:
        return f"{scenario}: no request succeeded in both runs, so their TTFT cannot be compared."
    said = ", and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), parts[-1]])
    return f"{scenario}: {said}; one run of each."


def trust(found: RunComparison) -> tuple[str, ...]:
    """What every page says, of both runs; that one run of each says nothing of others."""
    return common_trust([run.stats for run in found.runs], own=[Said(ONE_RUN, True), Said(HOW_MANY, True)])


def comparison_outcome(found: RunComparison, cause: Cause) -> Outcome:
    """For CI: the side-by-side tables and targets, and every verdict."""
    targets = targets_table(found)
    tables = [*_side_by_side(found), *([targets] if targets else [])]
    changes = rows_of(found.effects[found.effects["statistic"].isin(["mean", "rate"])])
    problems = tuple(problem.to_dict() for problem in found.problems)
    title = f"KV cache: {' against '.join(found.names)}"
    return Outcome(title, cause, headline(found), found.targets, problems, tuple(changes), tuple(tables))


def _side_by_side(found: RunComparison) -> list[Table]:
    """A table per scenario: cold against hit, or each cache state where there are several."""
    make = state_table if states_after_cold(found.runs) else side_by_side
    return [make(found, scenario) for scenario in scenarios_of(found)]


def _subtitle(found: RunComparison) -> str:
    """Model, load, and which deployment each name is; the baseline."""
    info = found.runs[0].info
    load = "" if info.users is None else f", {plural(info.users, 'user')}"
    named = [
        name if name == run.info.deployment.name else f"{name} ({run.info.deployment.name})"
        for run, name in zip(found.runs, found.names, strict=True)
    ]
    return f"{info.model or 'unknown model'}{load}; {', '.join(named)}; {found.names[0]} is the baseline"


def comparison_page(found: RunComparison) -> Page:
    names = scenarios_of(found)
    answer: list[Block | None] = [*details(found), targets_table(found)]
    answer += _side_by_side(found)
    sections = [section("Conditions", [conditions_table(found)])]
    for scenario in names:
        parts = [part for run, name in zip(found.runs, found.names, strict=True) for part in stage_parts(run, scenario, name)]
        costs = cost_table([(name, run.stats) for run, name in zip(found.runs, found.names, strict=True)], scenario)
        blocks = [against_table(found, scenario), costs, throughput_chart(found, scenario), stage_chart(parts, scenario)]
        sections.append(section(f"Scenario {scenario}", blocks))
    lines = tuple(
        (name, sentences.run_line(run.stats), str(run.source)) for run, name in zip(found.runs, found.names, strict=True)
    )
    sections.append(section("Runs", [Table("Runs of this comparison", ("name", "run", "folder"), lines, texts=(1, 2))]))
    return Page(
        title=f"KV cache comparison: {' against '.join(found.names)}",
        subtitle=_subtitle(found),
        lead=headline(found),
        details=(),
        answer=section("", answer).blocks,
        problems=tuple(problem.to_dict() for problem in found.problems if problem.code != "one_run"),  # said by `trust`
        sections=tuple(part for part in sections if part.blocks),
        incomplete=not all(run.stats["complete"] for run in found.runs),
        chart=ttft_chart(found),
        trust=trust(found),
        short=tuple(short_state_table(found, name) for name in names)
        if states_after_cold(found.runs)
        else (short_table(found, names),),
    )
