"""Draws the charts of a comparison: each run's mean TTFT, cold and hit, and its throughput by round."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from locust_kvcache.analysis.across_runs.cache_states import COLD_AND_HIT, rounds_of
from locust_kvcache.analysis.across_runs.run_comparison import RunComparison
from locust_kvcache.analysis.basics.number_text import is_missing, number, ratio_change
from locust_kvcache.analysis.charts import drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.charts.run_charts import slug
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.tables.claim_words import arm_words, claim_of
from locust_kvcache.analysis.tables.table import find, scenarios

MOST_BARS = 8  # pairs in the one chart


def scenarios_of(found: RunComparison) -> list[str]:
    return list(dict.fromkeys(name for run in found.runs for name in scenarios(run.stats)))


def later_word(found: RunComparison, names: Sequence[str]) -> str:
    """hit, only where the evidence of all runs calls the later rounds so."""
    return "hit" if all(claim_of(run.stats, name)["later"] == "hit" for run in found.runs for name in names) else "later"


def ttft_chart(found: RunComparison) -> Chart | None:
    """The one chart of the page: each run's mean TTFT, cold and on a hit, in every scenario."""
    rows, names = [], scenarios_of(found)
    for scenario in names:
        for run, name in zip(found.runs, found.names, strict=True):
            group = f"{scenario}: {name}" if len(names) > 1 else name
            cold = _window_mean(run, scenario, "cold")
            for window in found.windows[1:]:
                if cold and (hit := _window_mean(run, scenario, window)):
                    rows.append(
                        (group if window == "hit" else f"{group}, {arm_words(window)}", cold, hit, ratio_change(hit / cold))
                    )
    if not rows:
        return None
    bars = pd.DataFrame(rows[:MOST_BARS], columns=["group", "baseline", "contender", "note"])
    word = later_word(found, names)
    text = "; ".join(f"{row[0]}: {number(row[1])} ms cold, {number(row[2])} ms {word}" for row in rows[:MOST_BARS])
    of_rounds = "hit (later rounds)" if word == "hit" else "later rounds"
    later = of_rounds if found.windows == COLD_AND_HIT else " / ".join(map(arm_words, found.windows[1:]))
    left_out = f" (first {MOST_BARS} of {len(rows)})" if len(rows) > MOST_BARS else ""
    return draw("runs-ttft", f"Mean TTFT of each run, cold and {word}{left_out}", text,
                lambda axes: drawing.draw_pairs_of_bars(axes, bars, "mean TTFT (ms)", ("cold (round 1)", later)),
                (7.6, 1.5 + 0.75 * len(bars)))  # fmt: skip


def _window_mean(run: Analysis, scenario: str, window: str) -> float | None:
    """Of cold, of all hits, or of the round of a cache state."""
    by_state = window not in COLD_AND_HIT
    split, group = ("round", str(rounds_of(run)[window])) if by_state else ("round_window", window)
    rows = find(run.stats["distributions"], scenario=scenario, split=split, group=group, metric="ttft_ms")
    return None if not rows or is_missing(rows[0]["mean"]) else float(rows[0]["mean"])


def throughput_chart(found: RunComparison, scenario: str) -> Chart | None:
    rows = [
        (name, f"round {row['round']}", row["requests_per_s"])
        for run, name in zip(found.runs, found.names, strict=True)
        for row in find(run.stats["rounds"], scenario=scenario)
        if row["requests_per_s"]
    ]
    if not rows:
        return None
    frame = pd.DataFrame(rows, columns=["group", "label", "value"])
    text = "; ".join(f"{name} {label}: {number(value)}" for name, label, value in rows)
    return draw(slug(f"runs-throughput-{scenario}"), f"Request throughput of each run and round: {scenario}", text,
                lambda axes: drawing.draw_columns(axes, frame, "successful requests/s"), (7.6, 3.0))  # fmt: skip
