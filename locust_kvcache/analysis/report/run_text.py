"""Makes the console text of one run."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.tables import (
    arm_tables,
    detail_tables,
    ideal_cache_tables,
    run_tables,
    sentences,
    stage_tables,
    text_tables,
)
from locust_kvcache.analysis.tables.claim_words import answer_splits, round_label
from locust_kvcache.analysis.tables.table import find, run_of, scenarios


def run_text(stats: dict[str, Any]) -> str:
    """What the console shows of one run: what stands against it first, then rounds, comparison, targets."""
    blocks = [sentences.run_line(stats), problems_text(stats)]
    for scenario in scenarios(stats):
        blocks.append(text_tables.console(run_tables.round_table(stats, scenario)))
        for row in find(stats["rounds"], scenario=scenario):
            title = f"{scenario}, {round_label(stats, row)}: times of the successful requests"
            table = run_tables.distribution_table(stats, scenario, "round", str(row["round"]), title)
            blocks.append(text_tables.console(table))
        blocks.append(text_tables.console(run_tables.window_table(stats, scenario)))
        blocks.append(text_tables.console(detail_tables.cache_table(stats, scenario)))
        if ideal := ideal_cache_tables.ideal_table(stats, scenario):
            blocks.append(text_tables.console(ideal))
        blocks += [text_tables.console(make(stats, scenario)) for make in (stage_tables.gain_table, stage_tables.parts_table)]
        if not run_of(stats).arms:
            splits = answer_splits(stats, scenario)
            blocks += [text_tables.console(run_tables.answer_table(stats, scenario, split)) for split in splits]
        else:
            blocks += [text_tables.console(make(stats, scenario)) for make in (arm_tables.arm_table, arm_tables.rate_table)]
    blocks.append(text_tables.console(detail_tables.model_table(stats)))
    blocks.append(text_tables.console(arm_tables.verdict_table(stats)))
    blocks.append(text_tables.console(detail_tables.goodput_table(stats)))
    targets = run_tables.targets_table(stats)
    blocks += [text_tables.console(targets) if targets else "", *_last_words(stats)]
    return "\n\n".join(block for block in blocks if block)


def _last_words(stats: dict[str, Any]) -> list[str]:
    if run_of(stats).arms:
        return [arm_tables.headline(stats)]
    return ["\n".join(sentences.details(stats)), sentences.headline(stats)]


def problems_text(stats: dict[str, Any]) -> str:
    lines = [f"  {row['severity']}: {row['text']} {row['what_to_do']}".rstrip() for row in stats["problems"]]
    return "\n".join(["What stands against these figures:", *lines]) if lines else ""
