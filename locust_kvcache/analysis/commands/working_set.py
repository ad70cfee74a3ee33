"""Finds the working set at which each cache tier stops holding (`locust-kvcache working-set RUN ...`).

A tier's hit rate is the share of round 2's prompt tokens that it or a faster tier answered, by the servers' counters, else as reported.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs.run_evidence import run_evidence
from locust_kvcache.analysis.basics.number_text import DASH, number, percent, plural, whole
from locust_kvcache.analysis.cache import windows
from locust_kvcache.analysis.cache.server_evidence import server_tables
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.stats.knee import Knee, find_knee
from locust_kvcache.analysis.stats.summary import round_table
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, use_language

RULE = "hit: share of round 2's prompt tokens; round 2 repeats round 1 in its order; TTFT: medians"
UNKNOWN = "Neither the servers' counters nor the answers tell what was hit."
NAMES = {"gpu": "GPU cache", "all": "all tiers", "reported": "cache, as reported"}


def size_row(folder: Path) -> dict[str, Any]:
    """One size: its working set, round 2's hit rates, both rounds' TTFT."""
    run = load_run(folder)
    study = run.info.study
    if not isinstance(study.get("working_set_tokens"), int) or run.records.empty:
        found = f"key study.working_set_tokens is {study.get('working_set_tokens')!r} and there are {len(run.records)} records"
        raise BadInput(f"{folder}: {found}; expected a run of --working-set")
    rounds = round_table(run.records, run.counts)
    tiers = server_tables(run, rounds)[0]["tiers"]
    second = tiers[tiers["round"].eq(2)]
    role = next((name for name in ("prefiller", "server") if second["role"].eq(name).any()), None)
    rates: dict[str, float | None] = {"gpu": None, "all": None}
    if role is not None:
        mine = second[second["role"].eq(role)][["gpu", "external", "computed"]].sum()
        prompt = float(mine.sum())
        rates = {"gpu": float(mine["gpu"]) / prompt, "all": float(mine["gpu"] + mine["external"]) / prompt}
    records, _ = windows.check_evidence(run.records, run.info.block_size_tokens, None)  # a decoder may count loaded KV
    told = records[records["round"].eq(2) & records["reported_cached_tokens"].notna()]
    reported = float(told["reported_cached_tokens"].sum() / told["prompt_tokens"].sum()) if len(told) else None
    ttft = run.records.groupby("round")["ttft_ms"].median()
    return {
        "scenario": str(run.records["scenario"].iloc[0]), "tokens": study["working_set_tokens"], **rates, "reported": reported,
        "cold_ms": ttft.get(1), "hit_ms": ttft.get(2), "capacities": study.get("capacities_tokens") or {}, "run": run,
    }  # fmt: skip


def tiers_to_show(rows: list[dict[str, Any]]) -> list[str]:
    """The GPU alone and with what lies below it, where counters tell them apart and there is something below; else as reported."""
    if any(row["gpu"] is None for row in rows):
        return ["reported"]
    return ["gpu", "all"] if any(row["all"] > row["gpu"] + 0.01 for row in rows) else ["gpu"]


def knees(rows: list[dict[str, Any]]) -> dict[str, Knee | None]:
    return {
        tier: find_knee([(row["tokens"], row[tier]) for row in rows if row[tier] is not None]) for tier in tiers_to_show(rows)
    }


def knee_text(tier: str, knee: Knee | None, rows: list[dict[str, Any]]) -> str:
    if all(row[tier] is None for row in rows):
        return f"{NAMES[tier]}: not known, as neither counters nor answers tell what was hit"
    if knee is None:
        return f"{NAMES[tier]}: nothing was hit at the smallest size; start lower"
    if knee.fails_tokens is None:
        return f"{NAMES[tier]}: holds {whole(knee.holds_tokens)} tokens, the largest size tried"
    return f"{NAMES[tier]}: holds {whole(knee.holds_tokens)} tokens, does not hold {whole(knee.fails_tokens)}"


def size_table(scenario: str, rows: list[dict[str, Any]]) -> Table:
    header = (
        "working set, tokens",
        "hit on the GPU",
        "hit in all tiers",
        "hit as reported",
        "TTFT round 1, ms",
        "TTFT round 2, ms",
    )
    cells = tuple(
        (whole(row["tokens"]), *(percent(row[name]) for name in ("gpu", "all", "reported")), number(row["cold_ms"]), number(row["hit_ms"]))
        for row in rows
    )  # fmt: skip
    return Table(f"{scenario}: hit rate by working set", header, cells, RULE)


def knee_table(scenario: str, rows: list[dict[str, Any]]) -> Table:
    known = rows[0]["capacities"]
    below = max((known[tier] for tier in ("cpu", "store") if tier in known), default=None)
    expected = {"gpu": known.get("gpu"), "all": below}
    cells = []
    for tier, knee in knees(rows).items():
        holds, fails = (knee.holds_tokens, knee.fails_tokens) if knee else (None, None)
        cells.append(
            (NAMES[tier], whole(holds), whole(fails), percent(knee.plateau_hit_rate) if knee else DASH, whole(expected.get(tier)))
        )
    header = ("tier", "holds, tokens", "does not hold, tokens", "hit rate while it holds", "configured capacity, tokens")
    rule = "the size of a tier ends at the first size whose hit rate is over 10 % below that of the smallest size"
    return Table(f"{scenario}: what each tier holds", header, tuple(cells), rule)


def sweep_chart(scenario: str, rows: list[dict[str, Any]]) -> Chart:
    shown = tiers_to_show(rows)
    points = pd.DataFrame(
        [(NAMES[tier], row["tokens"], 100 * row[tier]) for tier in shown for row in rows if row[tier] is not None],
        columns=["label", "x", "y"],
    )
    title = f"{scenario}: " + "; ".join(knee_text(tier, knee, rows) for tier, knee in knees(rows).items())
    said = "; ".join(f"{whole(row['tokens'])} tokens: {percent(row[shown[-1]])}" for row in rows)
    limits = [(tier, float(tokens)) for tier, tokens in rows[0]["capacities"].items()]
    return draw(
        f"working-set-{scenario}".replace("_", "-"),
        title,
        said,
        lambda axes: study_drawing.draw_working_set(axes, points, limits),
    )


def own_trust(rows: list[dict[str, Any]]) -> list[Said]:
    """What tells the hits, and how finely the sizes were tried."""
    steps = sorted({row["tokens"] for row in rows})
    ratio = max((after / before for before, after in itertools.pairwise(steps)), default=1.0)
    reported = tiers_to_show(rows) == ["reported"]
    return [
        Said(
            f"One run of each size: no interval. Sizes are up to a factor of {number(ratio)} apart, so the size of a tier is known "
            "only to that factor.",
            True,
        ),
        Said(UNKNOWN, True)
        if reported and all(row["reported"] is None for row in rows)
        else Said(
            "Hits are those reported with the answers: they do not distinguish the GPU cache from the tiers below it.", True
        )
        if reported
        else Said("Hits are those of the servers' counters."),
    ]


def sweep_page(folders: list[Path]) -> Page:
    every = sorted((size_row(folder) for folder in folders), key=lambda row: row["tokens"])
    sections, said, charts, tables = [], [], [], []
    for scenario in dict.fromkeys(row["scenario"] for row in every):
        rows = [row for row in every if row["scenario"] == scenario]
        charts.append(sweep_chart(scenario, rows))
        tables.append(knee_table(scenario, rows))
        blocks = [charts[-1] if len(charts) > 1 else None, tables[-1], size_table(scenario, rows)]
        sections.append(section(f"Scenario {scenario}", blocks, is_open=True))
        said.append(f"{scenario}: " + "; ".join(knee_text(tier, knee, rows) for tier, knee in knees(rows).items()))
    info = every[0]["run"].info
    return Page(
        title=f"Working set: what each cache tier holds, {info.model} on {info.deployment.name}",
        subtitle=f"{plural(len(every), 'size')} of the working set, two rounds each",
        lead=". ".join(said) + ".",
        details=(),
        answer=(),
        problems=(),
        sections=tuple(sections),
        incomplete=not all(row["run"].complete for row in every),
        chart=charts[0],
        trust=common_trust([run_evidence(row["run"]) for row in every], own=own_trust(every), caches=False, control=False),
        short=tuple(tables),
    )


def main() -> int:
    parser = command_parser(
        "working-set",
        "Finds the working set at which each cache tier stops holding, in the runs of --working-set.",
        ["results/NAME_ws*"],
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs of a sweep")
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: NAME_working_set beside the runs)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    base = re.sub(r"_ws\d+$", "", args.runs[0].resolve().name)
    publish(sweep_page(args.runs), args.output_dir or folder_beside(args.runs[0], f"{base}_working_set"), args.png)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
