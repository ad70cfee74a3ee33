"""What a chart of parts and of arms says, read from the chart itself: order of bars, fills that differ, every arm with its own pair."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from locust_kvcache.analysis.charts.detail_charts import stage_chart
from locust_kvcache.analysis.charts.run_charts import answer_chart
from locust_kvcache.analysis.charts.stacked_bars import draw_stack, fills
from locust_kvcache.analysis.pipeline import analyse_folder

ARMS = Path(__file__).resolve().parents[3] / "docs/results/h200-two-gpus-vllm-0.26/pair_pd_store"


def test_no_two_parts_are_filled_alike() -> None:
    assert len(set(fills(19))) == 19


def test_bars_stand_in_the_order_of_the_groups_and_parts_keep_their_own_fill() -> None:
    parts = pd.DataFrame(
        [("b", f"part {i}", 1.0 + i) for i in range(8)] + [("a", "part 0", 5.0)], columns=["group", "part", "value"]
    )
    axes = Figure().subplots()
    draw_stack(axes, parts, "ms", ["a", "b"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_yticks()[0] > axes.get_yticks()[1]  # a above b
    looks = {(str(bars[0].get_facecolor()), bars[0].get_hatch()) for bars in axes.containers}
    assert len(looks) == 8


def test_rounds_come_in_their_order_whatever_part_is_seen_first() -> None:
    """Round 3 alone holds the part that the path meets first, as an arm does that loads within its prefill."""
    parts = [("round 3 (cpu_hit)", "load", 20.0), ("round 1 (cold)", "prefill", 500.0), ("round 2 (gpu_hit)", "prefill", 60.0)]
    chart = stage_chart(parts, "s")
    assert chart
    axes = Figure().subplots()
    chart.drawing(axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["round 1 (cold)", "round 2 (gpu_hit)", "round 3 (cpu_hit)"]


def test_the_answer_of_arms_shows_and_judges_each_by_itself() -> None:
    """A published run: the store's hits take 1,067 ms where the GPU's take 346; their mean would be neither."""
    analysis = analyse_folder(ARMS)
    chart = answer_chart(analysis)
    assert chart
    assert "prompt_30000: GPU hit: 6,420 to 346 ms" in chart.text
    assert "prompt_30000: CPU hit: 6,420 to 1,070 ms" in chart.text
    found = [
        row
        for row in analysis.stats["targets"]
        if row["scenario"] == "prompt_30000" and "TTFT: reduction by a hit" in row["text"]
    ]
    assert [(row["text"][-7:], row["value"]) for row in found] == [
        ("round 2", pytest.approx(1 - 346.34 / 6417.4, abs=1e-4)),
        ("round 3", pytest.approx(1 - 1067.09 / 6417.4, abs=1e-4)),
    ]
