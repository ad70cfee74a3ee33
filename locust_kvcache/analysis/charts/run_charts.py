"""Chooses the charts of a run: which table is drawn how, and the text that describes each chart."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.metrics import ANSWERED, metric_name
from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.basics.number_text import change, number, percent, ratio_change
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.charts import drawing, study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.tables.claim_words import arm_label, arm_words, claim_of, kind_of
from locust_kvcache.analysis.tables.ideal_cache_tables import rate_points
from locust_kvcache.analysis.tables.table import Stats, find, scenarios

DRAWN = ["ok", "round", "started_at_s", "round_window", "window", "ttft_ms", "tpot_ms"]


def slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "x"


def answer_chart(analysis: Analysis) -> Chart | None:
    """Mean TTFT cold and hit by round, a pair of bars per scenario, or per scenario and arm: the one chart beside the answer."""
    stats = analysis.stats
    split = "arm" if analysis.info.arms else "round"
    rows = [row for row in find(stats["effects"], split=split, metric="ttft_ms", statistic="mean") if row["ratio"]]
    if not rows:
        return None
    arms = {(row["scenario"], row["round"]): row["arm"] for row in stats["verdicts"]}
    names = [
        f"{row['scenario']}: {arm_words(arms.get((row['scenario'], row['round'])))}" if split == "arm" else row["scenario"]
        for row in rows
    ]
    bars = pd.DataFrame(
        [(name, row["baseline"], row["contender"], _note(stats, row)) for name, row in zip(names, rows, strict=True)],
        columns=["group", "baseline", "contender", "note"],
    ).sort_values("group", key=lambda group: group.str.partition(":")[0].map(scenarios(stats).index), kind="stable")
    text = "; ".join(f"{row['group']}: {number(row['baseline'])} to {number(row['contender'])} ms" for row in rows_of(bars))
    hits = all(claim_of(stats, name)["later"] == "hit" for name in scenarios(stats))
    labels = ("cold (round 1)", arm_label(stats) if split == "arm" else "hit (later rounds)" if hits else "later rounds")
    title = f"Mean TTFT, cold against {'each arm' if split == 'arm' else 'cache hit' if hits else 'later rounds'}"
    return draw("answer", title, text, lambda axes: drawing.draw_pairs_of_bars(axes, bars, "mean TTFT (ms)", labels),
                (7.6, 1.5 + 0.75 * len(bars)))  # fmt: skip


def measured_chart(analysis: Analysis) -> Chart | None:
    """In the answer's place where no later round is compared: the first scenario's hit rate over time, else its TTFT."""
    for scenario in scenarios(analysis.stats)[:1]:
        requests = _drawn(analysis.requests, scenario)
        return _hit_rates(analysis, scenario) or _over_time(requests, scenario)
    return None


def _note(stats: Stats, row: dict[str, Any]) -> str:
    """The change beside a bar, and of several engines the hit rates; of figures that are not valid, that."""
    if not claim_of(stats, row["scenario"])["valid"]:
        return "not valid"
    told = change(row).removesuffix(" [no interval]")
    rounds = find(stats["rounds"], scenario=row["scenario"])
    rates = [one["hit_rate"] for one in rounds[:1] + rounds[-1:]]
    if not find(stats.get("balance", ()), scenario=row["scenario"]) or len(rounds) < 2 or None in rates:
        return told
    return f"{ratio_change(row['ratio'])}; hit rate {percent(rates[0])} to {percent(rates[1])}"


def scenario_charts(analysis: Analysis, scenario: str) -> list[Chart]:
    """Distribution, course over time, throughput, decode speed of one scenario."""
    requests = _drawn(analysis.requests, scenario)
    made = [
        _ecdf(requests, scenario, "round_window", "by round"),
        _ecdf(requests, scenario, "window", "by evidence"),
        _over_time(requests, scenario),
        _hit_rates(analysis, scenario),
        _changes(analysis, scenario),
        _throughput(analysis, scenario),
        _decode(requests, scenario),
    ]
    return [chart for chart in made if chart is not None]


def _drawn(requests: pd.DataFrame, scenario: str) -> pd.DataFrame:
    """What the charts draw of a scenario's requests."""
    return chosen(requests, requests["scenario"].eq(scenario), DRAWN)


def _ecdf(
    requests: pd.DataFrame, scenario: str, column: str, rule: str, metric: str = "ttft_ms", name: str = "TTFT"
) -> Chart | None:
    rows = chosen(requests, requests["ok"] & requests[metric].gt(0), [column, metric])
    values = rows.rename(columns={column: "label", metric: "value"})
    labels = sorted(values["label"].unique())
    if values.empty or (column == "window" and labels == ["unknown"]):
        return None
    medians = values.groupby("label", observed=True)["value"].median().reindex(labels)
    text = f"{name} medians: " + "; ".join(f"{label} {number(value)} ms" for label, value in medians.items())
    return draw(slug(f"{metric}-ecdf-{rule}-{scenario}"), f"{name}: cumulative distribution, {rule}", text,
                lambda axes: drawing.draw_ecdf(axes, values, name))  # fmt: skip


def _over_time(requests: pd.DataFrame, scenario: str) -> Chart | None:
    seen = requests["ttft_ms"].gt(0) & requests["started_at_s"].notna()
    rows = chosen(requests, seen, ["started_at_s", "ttft_ms", "window", "round"])
    if rows.empty:
        return None
    origin = rows["started_at_s"].min()
    points = pd.DataFrame({"at_s": rows["started_at_s"] - origin, "value": rows["ttft_ms"], "label": rows["window"]})
    starts = rows.groupby("round")["started_at_s"].min() - origin
    borders = [(float(at_s), f"round {number}") for number, at_s in starts.items()]
    text = f"{len(points)} requests in {len(borders)} rounds"
    return draw(slug(f"ttft-over-time-{scenario}"), "TTFT of each request over the run", text,
                lambda axes: drawing.draw_over_time(axes, points, borders), (7.6, 3.8))  # fmt: skip


def _hit_rates(analysis: Analysis, scenario: str) -> Chart | None:
    points = rate_points(analysis.stats, scenario)
    if points.empty:
        return None
    means = points.groupby("label", sort=False)["y"].mean()
    text = "means over time: " + "; ".join(f"{label} {value:.1f} %" for label, value in means.items())
    return draw(slug(f"hit-rate-over-time-{scenario}"), "Hit rate over the run, and that of ideal caches", text,
                lambda axes: study_drawing.draw_hit_rates(axes, points), (7.6, 3.8))  # fmt: skip


def _changes(analysis: Analysis, scenario: str) -> Chart | None:
    later = claim_of(analysis.stats, scenario)["later"].capitalize()
    wanted = [row for row in find(analysis.stats["effects"], split="round", scenario=scenario)
              if row["statistic"] in ("mean", "rate") and row["metric"] in ANSWERED and row["ratio"]]  # fmt: skip
    if not wanted:
        return None
    frame = pd.DataFrame(
        [(metric_name(r["metric"]).rpartition(",")[0], r["ratio"] - 1,
          *(None if r[k] is None else r[k] - 1 for k in ("ratio_low", "ratio_high"))) for r in wanted],
        columns=["name", "change", "low", "high"],
    )  # fmt: skip
    text = "; ".join(
        f"{row.name_} {percent(row.change, signed=True)}" for row in frame.rename(columns={"name": "name_"}).itertuples()
    )
    return draw(slug(f"changes-{scenario}"), f"{later} against cold by round: change with 95 % interval", text,
                lambda axes: drawing.draw_changes(axes, frame), (7.6, 1.0 + 0.42 * len(frame)))  # fmt: skip


def _throughput(analysis: Analysis, scenario: str) -> Chart | None:
    rounds = [row for row in find(analysis.stats["rounds"], scenario=scenario) if row["requests_per_s"]]
    if not rounds:
        return None
    frame = pd.DataFrame([(f"round {row['round']}", kind_of(row), row["requests_per_s"]) for row in rounds],
                         columns=["group", "label", "value"])  # fmt: skip
    text = "; ".join(f"round {row['round']}: {number(row['requests_per_s'])} requests/s" for row in rounds)
    return draw(slug(f"throughput-{scenario}"), "Request throughput by round", text,
                lambda axes: drawing.draw_columns(axes, frame, "successful requests/s"), (7.6, 2.8))  # fmt: skip


def _decode(requests: pd.DataFrame, scenario: str) -> Chart | None:
    return _ecdf(requests, scenario, "round_window", "by round", "tpot_ms", "TPOT")
