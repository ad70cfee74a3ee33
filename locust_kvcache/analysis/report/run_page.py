"""Makes the page of one run: the answer, its caveats, each scenario, conditions, method."""

from __future__ import annotations

import json
import re
from typing import Any

from locust_kvcache.analysis.basics.number_text import DASH, percent, plural
from locust_kvcache.analysis.charts import detail_charts, fleet_charts, run_charts
from locust_kvcache.analysis.charts.figures import Chart
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.report.page import Block, Page, section
from locust_kvcache.analysis.tables import (
    arm_tables,
    detail_tables,
    fleet_tables,
    ideal_cache_tables,
    run_tables,
    sentences,
    stage_tables,
)
from locust_kvcache.analysis.tables.claim_words import answer_splits, round_label
from locust_kvcache.analysis.tables.table import Table, find, scenarios


def run_page(analysis: Analysis, charts: bool) -> Page:
    """The report of one run: the answer, what stands against it, each scenario, conditions and how to repeat."""
    stats = analysis.stats
    names = scenarios(stats)
    answer: list[Block | None] = [arm_tables.verdict_table(stats)]
    has_arms = bool(analysis.info.arms)
    for name in names:
        answer += (
            [arm_tables.arm_table(stats, name), arm_tables.rate_table(stats, name)]
            if has_arms
            else [run_tables.answer_table(stats, name, split) for split in answer_splits(stats, name)[:-1]]
        )
    answer += [
        run_charts.answer_chart(analysis) if charts else None,
        run_tables.targets_table(stats),
        detail_tables.goodput_table(stats),
    ]
    sections = [section("Can these figures be believed?", validity_blocks(analysis))]
    sections += [section(f"Scenario {name}", scenario_blocks(analysis, name, charts)) for name in names]
    sections += [
        section("What explains the TTFT", model_blocks(analysis, charts)),
        section("The servers over the run", detail_charts.gauge_charts(analysis) if charts else []),
        section("Failures", [detail_tables.failures_table(stats) or "No request failed."]),
        section("Conditions, and how to repeat", [conditions_table(analysis.info), repeat_text(analysis.info)]),
        section("How the figures are made", [method_text(analysis), detail_tables.tools_table(stats)]),
    ]
    return Page(
        title=f"KV cache report: {analysis.info.run_id}",
        subtitle=sentences.run_line(stats),
        lead=arm_tables.headline(stats) if has_arms else sentences.headline(stats),
        details=() if has_arms else tuple(sentences.details(stats)),
        answer=section("", answer).blocks,
        problems=tuple(stats["problems"]),
        sections=tuple(part for part in sections if part.blocks),
        incomplete=not stats["complete"],
    )


def scenario_blocks(analysis: Analysis, name: str, charts: bool) -> list[Block | None]:
    """One scenario: rounds, times, windows, what a hit changes, where cached tokens went, what the servers say."""
    stats = analysis.stats
    drawn = (
        {chart.name.removesuffix("-" + run_charts.slug(name)): chart for chart in run_charts.scenario_charts(analysis, name)}
        if charts
        else {}
    )
    blocks: list[Block | None] = [run_tables.round_table(stats, name), drawn.get("throughput")]
    for row in find(stats["rounds"], scenario=name):
        title = f"{round_label(stats, row).capitalize()}: times of the successful requests"
        blocks.append(run_tables.distribution_table(stats, name, "round", str(row["round"]), title))
    blocks += [drawn.get("ttft-ms-ecdf-by-round"), drawn.get("changes"), run_tables.window_table(stats, name)]
    blocks += [
        run_tables.answer_table(stats, name, "evidence"),
        drawn.get("ttft-ms-ecdf-by-evidence"),
        drawn.get("ttft-over-time"),
    ]
    blocks += [drawn.get("tpot-ms-ecdf-by-round"), detail_tables.cache_table(stats, name)]
    blocks += [
        ideal_cache_tables.ideal_table(stats, name) or ideal_cache_tables.why_no_tiers(stats),
        drawn.get("hit-rate-over-time"),
        detail_tables.tier_table(stats, name),
    ]
    blocks += [detail_charts.tier_chart(analysis, name) if charts else None, detail_tables.server_count_table(stats, name)]
    blocks += [
        stage_tables.gain_table(stats, name),
        stage_tables.parts_table(stats, name),
        stage_chart(analysis, name) if charts else None,
    ]
    fleet = (fleet_tables.waterfall_table, fleet_tables.balance_table, fleet_tables.engine_table)
    blocks += [fleet_charts.waterfall_chart(analysis, name) if charts else None, *(view(stats, name) for view in fleet)]
    blocks += [
        view(stats, name)
        for view in (
            stage_tables.stage_table,
            stage_tables.transfer_table,
            stage_tables.efficiency_table,
            stage_tables.counter_table,
        )
    ]
    return [*blocks, *(detail_tables.effects_table(stats, name, split) for split in answer_splits(stats, name))]


def stage_chart(analysis: Analysis, name: str) -> Chart | None:
    return detail_charts.stage_chart(detail_charts.stage_parts(analysis, name), name)


def model_blocks(analysis: Analysis, charts: bool) -> list[Block | None]:
    """The fit with its charts, or why there is none."""
    if why := detail_tables.no_model(analysis.stats):
        return [why]
    drawn = detail_charts.model_charts(analysis) if charts else []
    return [detail_tables.model_table(analysis.stats), *drawn, detail_tables.expected_table(analysis.stats)]


def validity_blocks(analysis: Analysis) -> list[Block | None]:
    """Is cold cold, is the client to be believed, what is missing."""
    stats = analysis.stats
    rows = []
    for row in stats["rounds"]:
        windows = find(stats["windows_by_round"], scenario=row["scenario"], round=row["round"])
        listed = ", ".join(f"{entry['requests']} {entry['window']}" for entry in windows)
        lag = DASH if row["loop_lag_p90_ms"] is None else f"{row['loop_lag_p90_ms']:.2f} ms"
        share = percent(row["lag_over_ttft"])
        verdict = {True: f"no: {row.get('late') or 'client-limited'}", False: "yes"}.get(row["client_limited"], DASH)
        count = f"{row['requests']} of {row['planned_requests'] or 0:.0f}"
        kernel = percent(row["kernel_clock_share"])
        rows.append((f"{row['scenario']}, round {row['round']}", count, listed, lag, share, kernel, verdict))
    header = ("round", "records of planned", "windows by evidence", "event-loop lag, P90", "of the median TTFT",
              "stamped by the kernel", "client believable")  # fmt: skip
    title = "Is cold cold, and was the client in time?"
    table = Table(title, header, tuple(rows), stats["split_rules"]["evidence"], texts=(2, 6))
    warnings = Table("What the load run itself had to say", ("warning",), tuple((text,) for text in analysis.info.warnings))
    return [table, detail_tables.steady_table(stats), detail_tables.outlier_table(stats), warnings]


CONDITIONS = (
    ("deployment", "deployment.name"), ("kind", "deployment.kind"), ("endpoint", "deployment.endpoint"), ("GPUs", "deployment.gpus"),
    ("model", "model"), ("server version", "server.version"), ("models served", "server.models"),
    ("block size, tokens", "server.block_size_tokens"), ("API", "server.api"),
    ("server reports cached tokens", "server.reports_cached_tokens"), ("users", "users"), ("workers", "workers"),
    ("spawn rate, users/s", "spawn_rate"), ("arrival", "arrival"), ("rounds per scenario", "rounds_planned"), ("seed", "seed"),
    ("nonce", "nonce"), ("started", "started_at"), ("ended", "ended_at"), ("calibration", "calibration"), ("versions", "versions"),
)  # fmt: skip


def conditions_table(run: RunInfo) -> Table:
    rows = [(label, _text(_walk(run.raw, path))) for label, path in CONDITIONS]
    rows += [(f"scenario {entry.get('name')}", _text(entry)) for entry in run.scenarios]
    return Table("Conditions", ("", "value"), tuple(row for row in rows if row[1] != DASH), texts=(1,))


def _walk(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    if value is None:
        return DASH
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(entry)}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def repeat_text(run: RunInfo) -> str:
    if not run.command:
        return ""
    words = " ".join(word if re.fullmatch(r"[\w./:=,@%+-]+", word) else json.dumps(word) for word in run.command)
    return (
        f"To run the same plan again with a fresh nonce (cold again): {words}. With --nonce {run.nonce} --seed {run.seed} "
        "the prompts are the same word for word, and whatever a cache still holds of them is hit."
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
