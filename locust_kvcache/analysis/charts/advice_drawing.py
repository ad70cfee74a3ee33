"""Draws hit rate, TTFT and cost over the size of each tier: one picture of panels that share their axis of sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from locust_kvcache.analysis.charts.drawing import LOOKS, legend_below, seconds_or_ms
from locust_kvcache.analysis.charts.figures import COLOURS

MOST_COST = 3.0
GAP = 0.09  # between panels, as a share of the picture


@dataclass(frozen=True)
class Mark:
    """A size that is marked: a ring in a panel (a column of the points), with words beside it."""

    panel: str
    x: float
    y: float
    text: str


LINES = "no limit; without a lower tier"
NAMES = {"hit": "hit rate (%)", "p50": "TTFT (ms)", "cost": "cost per 1M tokens"}


def draw_advice(
    axes: Axes,
    points: pd.DataFrame,
    lines: Mapping[str, float],
    marks: Sequence[Mark],
    limits: Mapping[str, float],
    panels: Sequence[str],
) -> None:
    """Columns label (tier), x (GB), hit (%), p50, p90 (ms), cost; `lines`: without limit (hit), without a lower tier (cost);
    `limits` are sizes that the servers have."""
    axes.set_axis_off()
    height = (1 - GAP * (len(panels) - 1)) / len(panels)
    for place, panel in enumerate(panels):
        inner = axes.inset_axes((0.0, 1 - height - place * (height + GAP), 1.0, height))
        _panel(inner, points, panel, lines.get(panel, 0.0))
        if panel in lines:
            inner.axhline(lines[panel], color=COLOURS["ink"], linestyle="--", linewidth=1, label=LINES)
        if panel == "hit":
            inner.set_ylim(0, 1.35 * max(5.0, lines["hit"]))
        for style, (name, at) in zip(("-.", ":", "--"), limits.items(), strict=False):
            inner.axvline(at, color=COLOURS["faint"], linestyle=style, linewidth=1.2, label=name)
        for mark in marks:
            if mark.panel == panel:
                _mark(inner, mark, points)
        last = place == len(panels) - 1
        inner.set_xlabel("size of the tier (GB)" if last else "")
        inner.tick_params(labelbottom=last)
        if place == 0:
            handles, labels = inner.get_legend_handles_labels()
            for handle, label in zip(handles, labels, strict=True):
                axes.plot([], [], label=label, color=handle.get_color(), linestyle=handle.get_linestyle(),  # type: ignore[attr-defined]
                          marker=handle.get_marker(), markersize=5)  # type: ignore[attr-defined]  # fmt: skip
    if "p50" in panels:
        axes.plot([], [], label="filled: P50, open: P90", color=COLOURS["ink"], linestyle="", marker="o", fillstyle="right")
    legend_below(axes)


def _panel(axes: Axes, points: pd.DataFrame, panel: str, line: float) -> None:
    for (label, rows), style in zip(points.groupby("label", sort=False), LOOKS.values(), strict=False):
        rows = rows.sort_values("x")
        look = {"color": style["color"], "linestyle": style["linestyle"], "marker": style["marker"], "markersize": 5}
        axes.plot(rows["x"], rows[panel], label=str(label), linewidth=1.8, **look)
        if panel == "p50":
            axes.plot(rows["x"], rows["p90"], linewidth=1.0, markerfacecolor="none", **look)
    axes.set_xscale("log")
    axes.set_xlim(float(points["x"].min()) / 1.15, float(points["x"].max()) * 1.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    values = points[["p50", "p90"] if panel == "p50" else panel]
    highest, lowest = float(np.nanmax(values.to_numpy())), float(np.nanmin(values.to_numpy()))
    if panel == "p50" and lowest > 0 and highest > 20 * lowest:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, 1.15 * highest if highest > 0 else 1.0)
    if panel == "cost" and lowest > 0:
        axes.set_ylim(0, 1.15 * max(line, min(highest, MOST_COST * max(lowest, line))))  # what is far dearer needs no height
    if panel == "p50":
        seconds_or_ms(axes, "y", "TTFT", highest)
    else:
        axes.set_ylabel(NAMES[panel])


def _mark(axes: Axes, mark: Mark, points: pd.DataFrame) -> None:
    """A ring, and its words above it; of the cost below."""
    axes.scatter([mark.x], [mark.y], s=150, facecolors="none", edgecolors=COLOURS["ink"], linewidths=1.6, zorder=5)
    right = mark.x > float(points["x"].max()) ** 0.5 * float(points["x"].min()) ** 0.5
    below = mark.panel == "cost"
    axes.annotate(mark.text, (mark.x, mark.y), xytext=(-6 if right else 6, -11 if below else 11), textcoords="offset points", fontsize=9,
                  ha="right" if right else "left", va="top" if below else "bottom", color=COLOURS["ink"])  # fmt: skip
