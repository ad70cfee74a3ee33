"""The oracle's curve comes in, a picture goes out: hit rate against the size of the cache."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure


def draw(table: pd.DataFrame, path: Path, name: str) -> None:
    """Columns capacity_blocks and hit_rate; the row without a capacity is the ceiling."""
    limited = table[table["capacity_blocks"].notna()]
    ceiling = 100 * float(table.loc[table["capacity_blocks"].isna(), "hit_rate"].iloc[0])
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        limited["capacity_blocks"].astype(float),
        100 * limited["hit_rate"],
        color="#1f5fa8",
        marker="o",
        linewidth=2,
        label="LRU of this size",
    )
    axes.axhline(ceiling, color="#1f232b", linestyle="--", linewidth=1.4, label=f"no limit: {ceiling:.1f} %")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("cache size (blocks of 512 tokens)")
    axes.set_ylabel("hit rate, by tokens (%)")
    axes.set_title(f"What a prefix cache of a given size can reach on {name}", loc="left", fontweight="bold")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=130)
