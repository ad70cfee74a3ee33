"""Draws the charts of studies: lines, limits and bands."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from locust_kvcache.analysis.basics.number_text import number
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.charts.drawing import LOOKS, SECONDS_FROM_MS, legend_below, seconds_or_ms
from locust_kvcache.analysis.charts.figures import COLOURS
from locust_kvcache.analysis.tables.claim_words import arm_words

CUT_INTERVAL = "interval reaches beyond the axis"
MOST_SHARE = 250.0  # % of cold: intervals that reach beyond are cut at the chart's edge, with an arrow


def draw_lines(axes: Axes, points: pd.DataFrame, x_name: str, y_name: str, x_log: bool = False) -> None:
    """Columns label, x, y: a line per label, in the order in which they come. A y name that ends in (ms) may be given in s."""
    labels = list(dict.fromkeys(points["label"]))
    for label, style in zip(labels, [*LOOKS.values()] * (1 + len(labels) // len(LOOKS)), strict=False):
        rows = points[points["label"].eq(label)].sort_values("x")
        axes.plot(rows["x"], rows["y"], label=label, color=style["color"], linestyle=style["linestyle"], marker=style["marker"],
                  linewidth=1.8, markersize=5)  # fmt: skip
    if x_log:
        axes.set_xscale("log")
    axes.set_xlabel(x_name)
    axes.set_ylim(bottom=0)
    if y_name.endswith(" (ms)"):
        seconds_or_ms(axes, "y", y_name.removesuffix(" (ms)"), float(points["y"].max()))
    else:
        axes.set_ylabel(y_name)


def draw_shares(axes: Axes, points: pd.DataFrame) -> None:
    """Columns label (scenario), x (users), y (TTFT of a hit, % of cold), low, high (its interval); the line of no change."""
    draw_lines(axes, points, "users", "mean TTFT of a hit (% of cold)")
    for place, (line, name) in enumerate(zip(axes.get_lines(), dict.fromkeys(points["label"]), strict=False)):
        known = points[points["label"].eq(name) & points["low"].notna()]
        axes.vlines(
            known["x"] + 0.06 * (place - 1), known["low"], known["high"], colors=line.get_color(), linewidth=1.2, alpha=0.8
        )
    axes.axhline(100, color=COLOURS["ink"], linestyle="-", linewidth=0.8, label="no change")
    users = sorted(points["x"].unique())
    axes.set_xticks(users, [f"{count:g}" for count in users])
    axes.set_xlim(left=0)
    highest = max([100.0, *points["y"], *points["high"].dropna()])
    top = 1.05 * min(highest, max(MOST_SHARE, float(points["y"].max())))
    axes.set_ylim(0, top)
    _arrows_at(axes, points, top)
    legend_below(axes)


def _arrows_at(axes: Axes, points: pd.DataFrame, top: float) -> None:
    """An arrow on the upper edge for each interval that reaches beyond it."""
    labels = list(dict.fromkeys(points["label"]))
    for row in rows_of(points[points["high"].gt(top)]):
        at = labels.index(row["label"])
        axes.scatter([row["x"] + 0.06 * (at - 1)], [top], marker="^", s=60, color=axes.get_lines()[at].get_color(), clip_on=False,
                     zorder=5)  # fmt: skip
    if points["high"].gt(top).any():
        axes.scatter([], [], marker="^", s=60, color=COLOURS["faint"], label=CUT_INTERVAL)


def draw_dose(axes: Axes, points: pd.DataFrame) -> None:
    """Columns label (prompt length), x (achieved hit share, %), y (median TTFT, ms)."""
    draw_lines(axes, points, "cached share of the prompt, as reported (%)", "median TTFT (ms)")
    legend_below(axes)


def draw_working_set(axes: Axes, points: pd.DataFrame, limits: list[tuple[str, float]]) -> None:
    """Columns label (tier), x (working set, tokens), y (hit rate, %); `limits` are what each tier is known to hold."""
    draw_lines(axes, points, "working set (tokens)", "hit when sent again (%)", x_log=True)
    for place, (name, tokens) in enumerate(limits):
        axes.axvline(
            tokens,
            color=COLOURS["ink"],
            linestyle=("--", ":", "-.")[place % 3],
            linewidth=1,
            label=f"{arm_words(name)}: capacity",
        )
    axes.set_ylim(0, 105)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    legend_below(axes)


def draw_retention(axes: Axes, points: pd.DataFrame, x_name: str, lines: list[tuple[str, float]]) -> None:
    """Columns label (pressure), x, y, low, high (hit, %): a line per pressure with its intervals; `lines` are capacities or leases."""
    draw_lines(axes, points, x_name, "hit when sent again (%)", x_log=True)
    for (_, rows), style in zip(points.groupby("label", sort=False), LOOKS.values(), strict=False):
        reach = [rows["y"] - rows["low"], rows["high"] - rows["y"]]
        axes.errorbar(rows["x"], rows["y"], yerr=reach, fmt="none", color=style["color"], capsize=3, linewidth=1)
    for place, (name, at) in enumerate(lines):
        axes.axvline(at, color=COLOURS["ink"], linestyle=("--", ":", "-.")[place % 3], linewidth=1, label=name)
    axes.set_ylim(0, 105)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    legend_below(axes)


def draw_capacity(
    axes: Axes, points: pd.DataFrame, limit: float, name: str, unit: str, bands: list[tuple[str, float, float]]
) -> None:
    """Columns label (cold or hit), x (rate, or users), y (the percentile, ms), passed; a band per side from its low to its high end."""
    for (label, rows), style in zip(points.groupby("label", sort=False), LOOKS.values(), strict=False):
        for passed, fill in ((True, "none"), (False, style["color"])):
            some = rows[rows["passed"].eq(passed)]
            axes.scatter(some["x"], some["y"], marker=style["marker"], s=40, linewidths=1.6, facecolors=fill, edgecolors=style["color"],
                         label=f"{label}: {'sustained' if passed else 'not sustained'}")  # fmt: skip
    for (label, low, high), style in zip(bands, list(LOOKS.values()), strict=False):
        axes.axvspan(low, high, facecolor=style["color"], alpha=0.3, hatch=style["hatch"], label=f"{label}: capacity")
    axes.axhline(limit, color=COLOURS["ink"], linestyle="--", linewidth=1, label="objective")
    axes.set_xlabel("users" if unit == "users" else f"offered rate ({unit})")
    axes.set_xlim(left=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    seconds_or_ms(axes, "y", name, float(points["y"].max()))
    legend_below(axes)


def draw_oracle(axes: Axes, points: pd.DataFrame, ceiling: float, block_tokens: int) -> None:
    """Columns label, x (blocks), y (hit rate, %); `ceiling` is the hit rate of a cache without limit, in %."""
    draw_lines(axes, points, f"cache size (blocks of {block_tokens} tokens)", "hit rate, by tokens (%)", x_log=True)
    axes.axhline(ceiling, color=COLOURS["ink"], linestyle="--", linewidth=1, label="no limit")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    legend_below(axes)


def draw_hit_rates(axes: Axes, points: pd.DataFrame) -> None:
    """Columns label, x (s), y (hit rate, %)."""
    draw_lines(axes, points, "time since the scenario's first request (s)", "hit rate, by tokens (%)")
    axes.set_ylim(0, 105)
    legend_below(axes)


def draw_repeats(axes: Axes, points: pd.DataFrame, names: list[str], label: str = "mean TTFT of a run") -> None:
    """Columns place (of the deployment in `names`), round, value (ms): a point per run, rounds side by side and of different marks;
    beside each group its geometric mean over runs, in figures and in the unit of the axis."""
    rounds = sorted(points["round"].unique())
    highest = float(points["value"].max())
    unit = 1000 if highest >= SECONDS_FROM_MS else 1  # figures in the unit of the axis
    for step, (number_, style) in enumerate(zip(rounds, [*LOOKS.values()] * len(rounds), strict=False)):
        rows = points[points["round"].eq(number_)]
        aside = (step - (len(rounds) - 1) / 2) * 0.5 / max(1, len(rounds))
        axes.scatter(rows["place"] + aside, rows["value"], marker=style["marker"], s=42, facecolors="none", linewidths=1.6,
                     edgecolors=style["color"], label=f"round {number_}{' (cold)' if number_ == 1 else ''}")  # fmt: skip
        before = step < (len(rounds) - 1) / 2  # figures of the first rounds stand left of their points, those of the last right
        places: Any = rows.groupby("place")["value"]
        for place, values in places:
            mean = math.exp(float(values.map(math.log).mean()))
            axes.annotate(
                number(mean / unit),
                (float(place) + aside, mean),
                xytext=(-7 if before else 7, 0),
                textcoords="offset points",
                ha="right" if before else "left",
                va="center",
                fontsize=9,
            )
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    seconds_or_ms(axes, "y", label, highest, ", log scale")
    legend_below(axes)


def draw_ratio(axes: Axes, points: pd.DataFrame, measured: pd.DataFrame, y_name: str) -> None:
    """Columns name, value, low, high: what is predicted of each deployment; of `measured` name, value: a mark per run."""
    names = list(points["name"])
    places = range(len(names))
    ends = [points["value"] - points["low"], points["high"] - points["value"]]
    reach = [[max(0.0, float(end)) for end in side.fillna(0.0)] for side in ends]
    axes.errorbar(places, points["value"], yerr=reach, fmt="o", color=COLOURS["cold"], capsize=5, linewidth=1.8, markersize=6,
                  label="predicted, 95 % interval")  # fmt: skip
    if len(measured):
        axes.scatter([names.index(name) for name in measured["name"]], measured["value"], marker="D", s=55, facecolors="none",
                     edgecolors=COLOURS["hit"], linewidths=1.8, zorder=3, label="measured, one mark a run")  # fmt: skip
    axes.set_xticks(places, names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    highest = max([*points["value"], *points["high"].dropna(), *measured["value"]])
    axes.set_ylim(0, 1.08 * highest)
    if y_name.endswith(" (ms)"):
        seconds_or_ms(axes, "y", y_name.removesuffix(" (ms)"), float(highest))
    else:
        axes.set_ylabel(y_name)
    legend_below(axes)


def draw_recovery(axes: Axes, points: pd.DataFrame, failed: pd.DataFrame, events: list[tuple[str, float]]) -> None:
    """Columns label, x (s since the first event), y (% of the level before it); of `failed` x, count: windows with failed requests."""
    draw_lines(axes, points, "time since the first event (s)", "% of the level before")
    for line in axes.lines:
        line.set_markersize(3)
    axes.axhline(100, color=COLOURS["ink"], linewidth=0.8)
    for place, (name, at_s) in enumerate(events):
        axes.axvline(at_s, color=COLOURS["ink"], linestyle=("--", ":", "-.")[place % 3], linewidth=1.2, label=name)
    if len(failed):
        axes.scatter(failed["x"], [0.0] * len(failed), marker="X", s=60, color=COLOURS["fourth"], zorder=4, clip_on=False,
                     label="window with failed requests")  # fmt: skip
    legend_below(axes)
