"""Draws stacked bars of the parts of several wholes, each part with a fill of its own.

More parts than LOOKS has names are told apart by the same colours with other hatches.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from locust_kvcache.analysis.basics.number_text import number
from locust_kvcache.analysis.charts.drawing import LOOKS, legend_below, seconds_or_ms
from locust_kvcache.analysis.charts.figures import COLOURS


def fills(count: int) -> list[tuple[str, str]]:
    """So many pairs of colour and hatch, no two alike (up to 19): first those of LOOKS, then their colours with other hatches."""
    looks = list(LOOKS.values())
    size = len(looks)
    return [(looks[i % size]["color"], looks[(i + 3 * (i // size)) % size]["hatch"]) for i in range(count)]


def draw_stack(axes: Axes, parts: pd.DataFrame, name: str, groups: list[str] | None = None) -> None:
    """Columns group, part, value: one horizontal stacked bar per group (in that order); what is below zero goes to the left."""
    groups, names = groups or list(dict.fromkeys(parts["group"])), list(dict.fromkeys(parts["part"]))
    positions, right, left = np.arange(len(groups))[::-1], np.zeros(len(groups)), np.zeros(len(groups))
    for part, (colour, hatch) in zip(names, fills(len(names)), strict=True):
        widths = parts[parts["part"].eq(part)].set_index("group")["value"].reindex(groups).fillna(0.0).to_numpy()
        axes.barh(positions, widths, left=np.where(widths < 0, left, right), height=0.6, color=colour, hatch=hatch,
                  edgecolor=COLOURS["ink"], linewidth=0.6, label=part)  # fmt: skip
        right, left = right + np.maximum(widths, 0), left + np.minimum(widths, 0)
    axes.set_yticks(positions, groups)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(name)
    legend_below(axes)


def draw_totals(axes: Axes, parts: pd.DataFrame, name: str) -> None:
    """As draw_stack, of milliseconds, each bar with its sum behind it."""
    draw_stack(axes, parts, name)
    totals = parts.groupby("group", sort=False)["value"].sum()
    largest = float(totals.max())
    seconds = largest >= 10_000
    for position, total in zip(range(len(totals))[::-1], totals, strict=True):
        said = f"{number(total / 1000)} s" if seconds else f"{number(total)} ms"
        axes.text(float(total) + largest * 0.01, position, said, va="center", fontsize=9)
    axes.set_xlim(0, largest * 1.13)
    seconds_or_ms(axes, "x", name, largest)
