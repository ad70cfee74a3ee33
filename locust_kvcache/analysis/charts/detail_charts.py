"""Makes the charts of the TTFT model, the cache tiers, the stages and the servers' gauges."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.number_text import number, percent
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.charts import drawing, stacked_bars
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.charts.run_charts import slug
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.tables.stage_tables import part_name, place
from locust_kvcache.analysis.tables.table import find

UNSEEN = 0.0005  # of the longest bar: a part that is nowhere wider is left out of the legend
TIER_NAMES = {"gpu": "GPU prefix cache", "external": "LMCache or Mooncake", "computed": "computed"}


def model_charts(analysis: Analysis) -> list[Chart]:
    """TTFT against uncached tokens with the fit, and the residuals."""
    model = analysis.stats["ttft_model"]
    if not model["points"]:
        return []
    points = pd.DataFrame(model["points"])
    points = points.assign(uncached=(points["prompt_tokens"] - points["cached_tokens"]).clip(lower=1))
    text = f"half of the requests are predicted within {percent(model['median_error'])}"
    return [
        draw("ttft-model", "TTFT against uncached prompt tokens, measured and by the model", text,
             lambda axes: drawing.draw_fit(axes, points), (7.6, 3.8)),
        draw("ttft-residuals", "Residuals of the TTFT model", text, lambda axes: drawing.draw_residuals(axes, points), (7.6, 3.0)),
    ]  # fmt: skip


def tier_chart(analysis: Analysis, scenario: str) -> Chart | None:
    """Share of the prompt tokens by tier, per round and role."""
    rows = find(analysis.stats["tiers"], scenario=scenario)
    parts = []
    for row in rows:
        prompt = sum(row[tier] for tier in TIER_NAMES)
        parts += [(f"round {row['round']}, {row['role']}", name, 100 * row[tier] / prompt) for tier, name in TIER_NAMES.items()]
    if not parts:
        return None
    frame = pd.DataFrame(parts, columns=["group", "part", "value"])
    text = "; ".join(f"{group}: {part} {number(value)} %" for group, part, value in parts if value)
    return draw(slug(f"tiers-{scenario}"), "Where the prompt tokens came from, by the servers' counters", text,
                lambda axes: stacked_bars.draw_stack(axes, frame, "share of prompt tokens (%)"), (7.6, 1.4 + 0.42 * len(rows)))  # fmt: skip


def stage_parts(analysis: Analysis, scenario: str, name: str = "") -> list[tuple[str, str, float]]:
    """(group, part, ms) of each round, in the order of the path; what is not measured says so. They add up to the client's mean TTFT."""
    rows = sorted(find(analysis.stats["ttft_parts"], scenario=scenario), key=lambda row: (place(row), row["round"]))
    arms = {row["round"]: f" ({row['arm']})" for row in find(analysis.stats["verdicts"], scenario=scenario) if row["arm"]}
    head = f"{name} round" if name else "round"
    return [(f"{head} {row['round']}{arms.get(row['round'], '')}", part_name(row), row["ms"]) for row in rows]


def stage_chart(parts: list[tuple[str, str, float]], scenario: str) -> Chart | None:
    """The TTFT taken apart, one bar per round (and run)."""
    if not parts:
        return None
    frame = pd.DataFrame(parts, columns=["group", "part", "value"])
    text = "; ".join(f"{group}: {part} {number(value)} ms" for group, part, value in parts if value)
    seen = frame["value"].abs().groupby(frame["part"]).transform("max") >= UNSEEN * frame.groupby("group")["value"].sum().max()
    groups = _by_round(frame["group"])
    frame = frame[seen]
    height = 1.5 + 0.42 * frame["group"].nunique() + 0.12 * frame["part"].nunique()
    return draw(slug(f"stages-{scenario}"), "TTFT breakdown: mean time per request", text,
                lambda axes: stacked_bars.draw_stack(axes, frame, "mean time per request (ms)", groups), (7.6, height))  # fmt: skip


def _by_round(groups: pd.Series) -> list[str]:
    """Each group once: runs as they come, and the rounds of each in their order (a part may be missing in the first)."""
    names = list(dict.fromkeys(groups))
    split = {name: name.rpartition("round ") for name in names}
    runs = list(dict.fromkeys(run for run, _, _ in split.values()))
    return sorted(names, key=lambda name: (runs.index(split[name][0]), int(split[name][2].split()[0])))


def gauge_charts(analysis: Analysis) -> list[Chart]:
    """One small chart per gauge of the servers' metrics, a line per role."""
    gauges = pd.DataFrame(analysis.stats["gauges"], columns=["at_s", "role", "metric", "value"])
    made = []
    for metric, rows in gauges.groupby("metric", sort=True):
        if rows["at_s"].nunique() < 2 or not rows["value"].any():
            continue
        table = pd.DataFrame({"at_s": rows["at_s"] - gauges["at_s"].min(), "label": rows["role"], "value": rows["value"]})
        last = rows_of(rows.groupby("role")["value"].last().reset_index())
        text = "last: " + "; ".join(f"{row['role']} {number(row['value'])}" for row in last)
        made.append(draw(slug(f"gauge-{metric}"), f"{metric} over the run", text,
                         lambda axes, table=table, metric=metric: drawing.draw_series(axes, table, str(metric)), (7.6, 2.4)))  # type: ignore[misc]  # fmt: skip
    return made
