"""Draws finished tables on matplotlib axes. Colour is never the only sign: lines, marks and hatches differ too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from locust_kvcache.analysis.basics.number_text import number
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.charts.figures import COLOURS

LOOKS: dict[str, dict[str, Any]] = {
    "cold": {"color": COLOURS["cold"], "linestyle": "-", "marker": "o", "hatch": ""},
    "hit": {"color": COLOURS["hit"], "linestyle": "--", "marker": "^", "hatch": "///"},
    "partial": {"color": COLOURS["third"], "linestyle": "-.", "marker": "s", "hatch": "---"},
    "racing": {"color": COLOURS["fourth"], "linestyle": ":", "marker": "D", "hatch": "xxx"},
    "unknown": {"color": COLOURS["faint"], "linestyle": (0, (1, 1)), "marker": "v", "hatch": "+++"},
    "control": {"color": COLOURS["faint"], "linestyle": (0, (5, 1)), "marker": "P", "hatch": "|||"},
    "failed": {"color": COLOURS["ink"], "linestyle": (0, (3, 1)), "marker": "x", "hatch": "\\\\\\"},
}
ORDER = ("cold", "control", "hit", "partial", "racing", "unknown", "failed")
LEGEND_LETTERS_PER_IN = 12.51  # 95 in a chart of the usual width
POINTS = 500  # drawn at most, evenly picked: more say nothing and make a report heavy


def look(label: str) -> dict[str, Any]:
    return LOOKS.get(label) or list(LOOKS.values())[hash_of(label) % 5]


def hash_of(label: str) -> int:
    """Stable between processes, unlike hash()."""
    return sum(map(ord, label))


SECONDS_FROM_MS = 10_000  # an axis that reaches so far is in seconds


def seconds_or_ms(axes: Axes, axis: str, name: str, largest_ms: float, more: str = "") -> None:
    """Label an axis of milliseconds in the unit that reads best; `more` follows the unit."""
    which = axes.xaxis if axis == "x" else axes.yaxis
    if largest_ms >= SECONDS_FROM_MS:
        which.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}"))
        which.set_label_text(f"{name} (s{more})")
    else:
        which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
        which.set_label_text(f"{name} (ms{more})")


def pick(frame: pd.DataFrame, limit: int = POINTS) -> pd.DataFrame:
    """At most `limit` rows, evenly spaced."""
    return frame if len(frame) <= limit else frame.iloc[np.linspace(0, len(frame) - 1, limit).astype(int)]


def legend_below(axes: Axes) -> None:
    """Outside the axes, where it can hide nothing."""
    figure = axes.get_figure()
    handles, labels = axes.get_legend_handles_labels()
    if figure is not None and handles:
        widest = max(map(len, labels)) + 5
        room = int(LEGEND_LETTERS_PER_IN * figure.get_figwidth())  # type: ignore[union-attr]
        figure.legend(handles, labels, loc="lower center", ncols=max(1, min(6, len(labels), room // widest)))


def draw_ecdf(axes: Axes, values: pd.DataFrame, name: str) -> None:
    """Columns label, value. The band is distribution-free (Dvoretzky-Kiefer-Wolfowitz): eps = sqrt(ln(2 / 0.05) / 2n)."""
    for label in [label for label in ORDER if values["label"].eq(label).any()]:
        ordered = np.sort(values.loc[values["label"].eq(label), "value"].to_numpy())
        n = len(ordered)
        share = np.arange(1, n + 1) / n
        if n > POINTS:
            kept = np.linspace(0, n - 1, POINTS).astype(int)
            ordered, share = ordered[kept], share[kept]
        band = math.sqrt(math.log(2 / 0.05) / (2 * n))
        style = look(label)
        axes.fill_between(ordered, np.clip(share - band, 0, 1), np.clip(share + band, 0, 1), step="post", alpha=0.18,
                          color=style["color"], linewidth=0)  # fmt: skip
        axes.step(
            ordered,
            share,
            where="post",
            color=style["color"],
            linestyle=style["linestyle"],
            linewidth=2,
            label=f"{label} (n = {n:,})",
        )
    log_if_wide(axes, "x", values["value"])
    seconds_or_ms(axes, "x", name, float(values["value"].max()))
    axes.set_ylabel("share of requests")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.legend(loc="lower right")


def log_if_wide(axes: Axes, axis: str, values: pd.Series) -> None:
    """A logarithmic axis where the values span more than a factor of 20."""
    positive = values[values > 0]
    if len(positive) and positive.max() / positive.min() > 20:
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        which = axes.xaxis if axis == "x" else axes.yaxis
        which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))  # not 10^3: math text is switched off
        which.set_minor_formatter(NullFormatter())


def draw_over_time(axes: Axes, requests: pd.DataFrame, borders: list[tuple[float, str]]) -> None:
    """Columns at_s, value, label: one mark per request; `borders` are (time, name) of the rounds' starts."""
    for label in [label for label in ORDER if requests["label"].eq(label).any()]:
        rows = pick(requests[requests["label"].eq(label)])
        style = look(label)
        axes.scatter(
            rows["at_s"],
            rows["value"],
            s=16,
            color=style["color"],
            marker=style["marker"],
            linewidths=0.8,
            label=label,
            alpha=0.85,
        )
    log_if_wide(axes, "y", requests["value"])
    for at_s, name in borders:
        axes.axvline(at_s, color=COLOURS["faint"], linewidth=0.8, linestyle=":")
        axes.annotate(
            name, (at_s, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -9), textcoords="offset points", fontsize=8
        )
    seconds_or_ms(axes, "y", "TTFT", float(requests["value"].max()))
    axes.set_xlabel("time since the first request (s)")
    legend_below(axes)


def draw_pairs_of_bars(axes: Axes, bars: pd.DataFrame, name: str, labels: tuple[str, str]) -> None:
    """Columns group, baseline, contender, note: two horizontal bars per group, the note behind the second."""
    positions = np.arange(len(bars))[::-1].astype(float)
    largest = float(bars[["baseline", "contender"]].max().max())
    for offset, column, label, key in ((0.19, "baseline", labels[0], "cold"), (-0.19, "contender", labels[1], "hit")):
        style = look(key)
        axes.barh(positions + offset, bars[column], height=0.36, color=style["color"], hatch=style["hatch"], edgecolor=COLOURS["ink"],
                  linewidth=0.6, label=label)  # fmt: skip
    for position, row in zip(positions, rows_of(bars), strict=True):
        before, after = row["baseline"], row["contender"]
        axes.text(before + largest * 0.01, position + 0.19, number(before), va="center", fontsize=9)
        axes.text(after + largest * 0.01, position - 0.19, f"{number(after)}   ({row['note']})", va="center", fontsize=9)
    axes.set_yticks(positions, bars["group"])
    axes.set_xlim(0, largest * 1.25)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(name)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    legend_below(axes)


def draw_changes(axes: Axes, changes: pd.DataFrame) -> None:
    """Columns name, change, low, high (shares): a point with its interval per row, and the line of no change."""
    positions = np.arange(len(changes))[::-1]
    values = 100 * changes[["change", "low", "high"]].astype("float64")
    axes.axvline(0, color=COLOURS["ink"], linewidth=1)
    for position, (change, low, high) in zip(positions, values.to_numpy(), strict=True):
        better = math.isfinite(low) and (high < 0 or low > 0)
        axes.plot([low, high], [position, position], color=COLOURS["cold"], linewidth=2.5, solid_capstyle="butt")
        axes.plot([change], [position], marker="o" if better else "D", markersize=8, color=COLOURS["cold"],
                  markerfacecolor=COLOURS["cold"] if better else "none", markeredgewidth=1.6)  # fmt: skip
    axes.set_yticks(positions, changes["name"])
    axes.set_ylim(-0.6, len(changes) - 0.4)
    axes.set_xlabel("change (%); filled: the 95 % interval excludes no change")


def draw_columns(axes: Axes, columns: pd.DataFrame, name: str) -> None:
    """Columns group, label, value: bars per group side by side, told apart by their label's look."""
    labels, groups = list(dict.fromkeys(columns["label"])), list(dict.fromkeys(columns["group"]))
    slots = int(columns.groupby("group").size().max())
    width = 0.8 / slots
    place = columns.groupby("group").cumcount()
    at = columns["group"].map(groups.index) - 0.4 + width * (place + 0.5)
    for i, label in enumerate(labels):
        rows = columns["label"].eq(label)
        style = LOOKS.get(label) or list(LOOKS.values())[i % 5]
        drawn = axes.bar(at[rows], columns.loc[rows, "value"], width=width * 0.92, color=style["color"], hatch=style["hatch"],
                         edgecolor=COLOURS["ink"], linewidth=0.6, label=label)  # fmt: skip
        axes.bar_label(drawn, labels=[number(value) for value in columns.loc[rows, "value"]], fontsize=9, padding=2)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.14)
    axes.set_ylabel(name)
    if len(labels) > 1:
        legend_below(axes)


def draw_fit(axes: Axes, points: pd.DataFrame) -> None:
    """Columns uncached, ttft_ms, predicted_ms, label: measured requests by window, and what the model says of each as a cross."""
    for label in [label for label in ORDER if points["label"].eq(label).any()]:
        rows = points[points["label"].eq(label)]
        style = look(label)
        axes.scatter(
            rows["uncached"], rows["ttft_ms"], s=18, color=style["color"], marker=style["marker"], linewidths=0.8, label=label
        )
    axes.scatter(
        points["uncached"],
        points["predicted_ms"],
        s=22,
        marker="x",
        color=COLOURS["ink"],
        linewidths=0.9,
        label="model",
        zorder=3,
    )
    log_if_wide(axes, "x", points["uncached"])
    log_if_wide(axes, "y", points["ttft_ms"])
    seconds_or_ms(axes, "y", "TTFT", float(points["ttft_ms"].max()))
    axes.set_xlabel("uncached prompt tokens")
    axes.legend(loc="upper left")


def draw_residuals(axes: Axes, points: pd.DataFrame) -> None:
    """Columns predicted_ms, ttft_ms, label: (measured - predicted) / predicted against the prediction; a pattern means a missing term."""
    for label in [label for label in ORDER if points["label"].eq(label).any()]:
        rows = points[points["label"].eq(label)]
        style = look(label)
        residual = 100 * (rows["ttft_ms"] / rows["predicted_ms"] - 1)
        axes.scatter(
            rows["predicted_ms"], residual, s=18, color=style["color"], marker=style["marker"], linewidths=0.8, label=label
        )
    axes.axhline(0, color=COLOURS["ink"], linewidth=1)
    log_if_wide(axes, "x", points["predicted_ms"])
    seconds_or_ms(axes, "x", "predicted TTFT", float(points["predicted_ms"].max()))
    axes.set_ylabel("measured against predicted (%)")
    axes.legend(loc="best")


def draw_series(axes: Axes, series: pd.DataFrame, name: str) -> None:
    """Columns at_s, label, value: a line per label with a mark at each scrape."""
    for (label, rows), style in zip(series.groupby("label", sort=True), [*LOOKS.values()] * 3, strict=False):
        axes.plot(rows["at_s"], rows["value"], color=style["color"], linestyle=style["linestyle"], marker=style["marker"], markersize=4,
                  linewidth=1.6, label=str(label))  # fmt: skip
    axes.set_xlabel("time since the first scrape (s)")
    axes.set_ylabel(name)
    axes.set_ylim(bottom=0)
    axes.legend(loc="best")


def draw_levels(axes: Axes, levels: pd.DataFrame, name: str, metric: str) -> None:
    """Columns users, cold, hit: a line each, over the number of users."""
    for side in ("cold", "hit"):
        style = look(side)
        axes.plot(levels["users"], levels[side], label=side, color=style["color"], linestyle=style["linestyle"],
                  marker=style["marker"], linewidth=2)  # fmt: skip
    axes.set_xlabel("users (requests in flight)")
    axes.set_xticks(levels["users"], [f"{users:g}" for users in levels["users"]])
    axes.set_ylim(bottom=0)
    if metric.endswith("_ms"):
        seconds_or_ms(axes, "y", name, float(levels[["cold", "hit"]].to_numpy().max()))
    else:
        axes.set_ylabel(name)
    axes.legend(loc="best")
