"""Charts of studies: figures stand in the unit of their axis, and an interval that is cut ends in an arrow."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from locust_kvcache.analysis.charts.study_drawing import CUT_INTERVAL, draw_repeats, draw_shares


@pytest.mark.parametrize(("highest_ms", "said"), [(9_000.0, ["200", "9,000"]), (20_000.0, ["0.200", "20.0"])])
def test_figures_are_in_the_unit_of_the_axis(highest_ms: float, said: list[str]) -> None:
    axes = Figure().subplots()
    points = pd.DataFrame({"place": [0, 1], "round": [1, 1], "value": [200.0, highest_ms]})
    draw_repeats(axes, points, ["a", "b"])
    assert [text.get_text() for text in axes.texts] == said


@pytest.mark.parametrize(("high", "arrows"), [(120.0, 0), (900.0, 1)])
def test_an_interval_beyond_the_axis_ends_in_an_arrow(high: float, arrows: int) -> None:
    axes = Figure().subplots()
    points = pd.DataFrame({"label": ["s", "s"], "x": [1, 5], "y": [50.0, 40.0], "low": [40.0, 10.0], "high": [60.0, high]})
    draw_shares(axes, points)
    assert axes.get_legend_handles_labels()[1].count(CUT_INTERVAL) == arrows
