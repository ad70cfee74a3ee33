"""Draws the chart of a fleet: the prompt tokens of each round, from delivered by the cache to never sent before."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.number_text import number
from locust_kvcache.analysis.charts import stacked_bars
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.charts.run_charts import slug
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.tables.table import find

PARTS = (
    ("delivered from a cache", "delivered", None),
    ("lost in the engine", "captured", "delivered"),
    ("lost by the routing", "held", "captured"),
    ("lost to eviction", "reusable", "held"),
    ("never sent before", "prompt_tokens", "reusable"),
)


def waterfall_chart(analysis: Analysis, scenario: str) -> Chart | None:
    """A bar per round; None where the responses name no engine."""
    rows = find(analysis.stats.get("waterfall", ()), scenario=scenario)
    if not rows:
        return None
    parts = [
        (f"round {row['round']}", name, 100 * max(0.0, row[upper] - (row[lower] if lower else 0.0)) / row["prompt_tokens"])
        for row in rows
        for name, upper, lower in PARTS
    ]
    frame = pd.DataFrame(parts, columns=["group", "part", "value"])
    text = "; ".join(f"{group} {part} {number(value)} %" for group, part, value in parts if value)
    return draw(slug(f"waterfall-{scenario}"), "What became of the prompt tokens in the fleet", text,
                lambda axes: stacked_bars.draw_stack(axes, frame, "share of prompt tokens (%)"), (7.6, 1.6 + 0.42 * len(rows)))  # fmt: skip
