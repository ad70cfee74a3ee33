"""Makes the page of one run: the answer, its caveats, each scenario, conditions, method."""

from __future__ import annotations

import json
import re
from typing import Any

from locust_kvcache.analysis.basics.number_text import DASH, in_words, number, percent, plural
from locust_kvcache.analysis.charts import detail_charts, fleet_charts, run_charts
from locust_kvcache.analysis.charts.figures import Chart
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.report.added_sections import added_sections
from locust_kvcache.analysis.report.page import Block, Page, fold, section
from locust_kvcache.analysis.report.trust import run_trust
from locust_kvcache.analysis.tables import (
    arm_sentences,
    arm_tables,
    cost_tables,
    detail_tables,
    drift_tables,
    fleet_tables,
    ideal_cache_tables,
    run_tables,
    sentences,
    stage_tables,
    tenant_tables,
)
from locust_kvcache.analysis.tables.claim_words import answer_splits, round_label
from locust_kvcache.analysis.tables.said_above import shown_problems
from locust_kvcache.analysis.tables.table import Table, find, scenarios


def run_page(analysis: Analysis, charts: bool) -> Page:
    """The report of one run: the answer, what weakens it, each scenario, conditions and how to repeat."""
    stats = analysis.stats
    names = scenarios(stats)
    chart = (run_charts.answer_chart(analysis) or run_charts.measured_chart(analysis)) if charts else None
    sections = [section("Validity: cold rounds, load generator, steadiness", validity_blocks(analysis))]
    sections += [section(f"Scenario {name}", scenario_blocks(analysis, name, charts, chart)) for name in names]
    sections += [
        section("TTFT model", model_blocks(analysis, charts)),
        section("Server gauges over the run", detail_charts.gauge_charts(analysis) if charts else []),
        section("Cost and energy", cost_blocks(analysis)),
        section("Failed requests", [detail_tables.failures_table(stats)]),
        *added_sections(analysis),
        section("Conditions and how to repeat the run", [conditions_table(analysis.info), repeat_text(analysis.info)]),
        section("Method", [method_text(analysis), detail_tables.tools_table(stats)]),
    ]
    return Page(
        title=f"KV cache report: {analysis.info.run_id}",
        subtitle=sentences.subtitle(stats),
        lead=sentences.headline(stats),
        details=(),
        answer=section("", answer_blocks(analysis)).blocks,
        problems=shown_problems(stats),
        sections=tuple(part for part in sections if part.blocks),
        incomplete=not stats["complete"],
        chart=chart,
        trust=run_trust(stats),
    )


def answer_blocks(analysis: Analysis) -> list[Block | None]:
    """A sentence and a table per scenario, which cache answered, targets, goodput."""
    stats = analysis.stats
    blocks: list[Block | None] = []
    if analysis.info.arms:
        blocks += arm_sentences.details(stats)
        for name in scenarios(stats):
            blocks += [arm_tables.arm_table(stats, name), arm_tables.rate_table(stats, name)]
    else:
        said = dict(zip(scenarios(stats), sentences.details(stats), strict=False))
        for name in scenarios(stats):
            blocks += [
                said.get(name),
                *(run_tables.answer_table(stats, name, split) for split in answer_splits(stats, name)[:-1]),
            ]
    return [*blocks, run_tables.targets_table(stats), detail_tables.goodput_table(stats), arm_tables.verdict_table(stats)]


def scenario_blocks(analysis: Analysis, name: str, charts: bool, shown: Chart | None = None) -> list[Block | None]:
    """One scenario: its rounds and the charts that show them; folded: times, cache, servers, every metric."""
    stats = analysis.stats
    drawn = (
        {
            chart.name.removesuffix("-" + run_charts.slug(name)): chart
            for chart in run_charts.scenario_charts(analysis, name)
            if shown is None or chart.name != shown.name
        }
        if charts
        else {}
    )
    by_round = [
        run_tables.distribution_table(
            stats, name, "round", str(row["round"]), f"{round_label(stats, row).capitalize()}: times of the successful requests"
        )
        for row in find(stats["rounds"], scenario=name)
    ]
    return [
        run_tables.round_table(stats, name),
        tenant_tables.tenant_table(stats, name),
        drawn.get("ttft-ms-ecdf-by-round"),
        drawn.get("ttft-over-time"),
        fold("Times and throughput by round", [*by_round, drawn.get("throughput"), drawn.get("tpot-ms-ecdf-by-round")]),
        fold(
            "Cold against hit by the evidence of each request",
            [
                run_tables.window_table(stats, name),
                run_tables.answer_table(stats, name, "evidence"),
                drawn.get("ttft-ms-ecdf-by-evidence"),
            ],
        ),
        fold("Cache: what was served, and what was lost", cache_blocks(analysis, name, charts, drawn.get("hit-rate-over-time"))),
        fold("Fleet: reusable, held, captured, delivered", fleet_blocks(analysis, name, charts)),
        fold("TTFT breakdown and the servers' counters", server_blocks(analysis, name, charts)),
        fold(
            "All metrics and percentiles",
            [
                drawn.get("changes"),
                *(detail_tables.effects_table(stats, name, split) for split in answer_splits(stats, name)),
            ],
        ),
    ]


def cache_blocks(analysis: Analysis, name: str, charts: bool, over_time: Chart | None) -> list[Table | Chart | str | None]:
    stats = analysis.stats
    return [
        detail_tables.cache_table(stats, name),
        ideal_cache_tables.ideal_table(stats, name) or ideal_cache_tables.why_no_tiers(stats),
        over_time,
        detail_tables.tier_table(stats, name),
        detail_charts.tier_chart(analysis, name) if charts else None,
        detail_tables.server_count_table(stats, name),
        stage_tables.gain_table(stats, name),
    ]


def fleet_blocks(analysis: Analysis, name: str, charts: bool) -> list[Table | Chart | str | None]:
    makers = (fleet_tables.waterfall_table, fleet_tables.balance_table, fleet_tables.engine_table)
    drawn = fleet_charts.waterfall_chart(analysis, name) if charts else None
    return [drawn, *(make(analysis.stats, name) for make in makers)]


def server_blocks(analysis: Analysis, name: str, charts: bool) -> list[Table | Chart | str | None]:
    makers = (stage_tables.stage_table, stage_tables.transfer_table, stage_tables.efficiency_table, stage_tables.counter_table)
    return [
        stage_tables.parts_table(analysis.stats, name),
        stage_chart(analysis, name) if charts else None,
        *(make(analysis.stats, name) for make in makers),
    ]


def stage_chart(analysis: Analysis, name: str) -> Chart | None:
    return detail_charts.stage_chart(detail_charts.stage_parts(analysis, name), name)


def model_blocks(analysis: Analysis, charts: bool) -> list[Block | None]:
    """The fit with its charts, or why there is none."""
    if why := detail_tables.no_model(analysis.stats):
        return [why]
    drawn = detail_charts.model_charts(analysis) if charts else []
    return [detail_tables.model_table(analysis.stats), *drawn, detail_tables.expected_table(analysis.stats)]


def cost_blocks(analysis: Analysis) -> list[Block | None]:
    """Empty where neither prices nor energy are known."""
    makers = (cost_tables.cost_table, cost_tables.energy_table, cost_tables.break_even_table)
    return [make(analysis.stats) for make in makers]


def validity_blocks(analysis: Analysis) -> list[Block | None]:
    """Whether cold rounds were cold and the load generator on time, and what else the load run warned of."""
    stats = analysis.stats
    rows = []
    for row in stats["rounds"]:
        windows = find(stats["windows_by_round"], scenario=row["scenario"], round=row["round"])
        listed = ", ".join(f"{entry['requests']} {entry['window']}" for entry in windows)
        lag = DASH if row["loop_lag_p90_ms"] is None else f"{number(row['loop_lag_p90_ms'])} ms"
        share = percent(row["lag_over_ttft"])
        verdict = {True: f"no: {row.get('late') or 'client-limited'}", False: "yes"}.get(row["client_limited"], DASH)
        count = f"{row['requests']} of {row['planned_requests'] or 0:.0f}"
        kernel = percent(row["kernel_clock_share"])
        rows.append((f"{row['scenario']}, round {row['round']}", count, listed, lag, share, kernel, verdict))
    header = ("round", "records of planned", "windows by evidence", "event-loop lag, P90", "of the median TTFT",
              "stamped by the kernel", "client on time")  # fmt: skip
    title = "Requests by evidence, and the load generator"
    table = Table(title, header, tuple(rows), stats["split_rules"]["evidence"], texts=(2, 6))
    warnings = Table("Warnings of the load run", ("warning",), tuple((text,) for text in analysis.info.warnings))
    over_time = (drift_tables.drift_table(stats), drift_tables.change_table(stats))
    return [table, detail_tables.steady_table(stats), *over_time, detail_tables.outlier_table(stats), warnings]


CONDITIONS = (
    ("deployment", "deployment.name"), ("kind", "deployment.kind"), ("endpoint", "deployment.endpoint"), ("GPUs", "deployment.gpus"),
    ("model", "model"), ("server version", "server.version"), ("models served", "server.models"),
    ("block size, tokens", "server.block_size_tokens"), ("API", "server.api"),
    ("server reports cached tokens", "server.reports_cached_tokens"), ("users", "users"), ("workers", "workers"),
    ("spawn rate, users/s", "spawn_rate"), ("arrival", "arrival"), ("rounds per scenario", "rounds_planned"), ("seed", "seed"),
    ("nonce", "nonce"), ("started", "started_at"), ("ended", "ended_at"), ("calibration", "calibration"), ("versions", "versions"),
)  # fmt: skip


def conditions_table(run: RunInfo) -> Table:
    rows = [(label, in_words(_walk(run.raw, path))) for label, path in CONDITIONS]
    rows += [(f"scenario {entry.get('name')}", in_words(entry)) for entry in run.scenarios]
    return Table("Conditions", ("", "value"), tuple(row for row in rows if row[1] != DASH), texts=(1,), verbatim=(1,))


def _walk(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def repeat_text(run: RunInfo) -> str:
    if not run.command:
        return ""
    words = " ".join(word if re.fullmatch(r"[\w./:=,@%+-]+", word) else json.dumps(word) for word in run.command)
    return (
        f"To run the same plan again with a fresh nonce (cold again): {words}. With --nonce {run.nonce} --seed {run.seed} "
        "the prompts are the same word for word, so what is still cached of them will be hit."
    )


def method_text(analysis: Analysis) -> str:
    stats = analysis.stats
    source = "a sample inside stats.json" if analysis.sampled else plural(len(analysis.requests), "record")
    return (
        f"Intervals: {stats['confidence']:.0%}, Student's t on the log ratio. Requests that share a prefix are one cluster; where requests "
        "overlap, blocks in time are. Fewer than 4 of either: no interval. They hold what varies between requests of this run, not between "
        "runs. Percentiles: P90 from 20 values (of a change: clusters), P95 from 40, P99 from 100. Verdicts: on means and rates, p-values "
        "adjusted for all hypotheses of the report (Holm); metrics that are functions of one another are one. "
        f"Charts from {source}. Every definition: docs/metrics.md."
    )
