"""A chart's layout: everything it says is inside of its figure, and its legend below hides nothing."""

from __future__ import annotations

from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from locust_kvcache.analysis.charts import phone_drawing
from locust_kvcache.analysis.charts.drawing import draw_columns, draw_over_time, draw_pairs_of_bars, draw_series
from locust_kvcache.analysis.charts.figures import draw, lay_out

BARS = pd.DataFrame(
    [("a scenario with a long name", 109_000.0, 33.0, "−69.8 % [−99.1 %, 9.97 x]")],
    columns=["group", "baseline", "contender", "note"],
)
COLUMNS = pd.DataFrame([("round 1", "cold", 14.9), ("round 2", "hit", 17.5)], columns=["group", "label", "value"])
OVER_TIME = pd.DataFrame([(0.0, 20.0, "cold"), (1.0, 23_000.0, "hit"), (1999.5, 90.0, "hit")], columns=["at_s", "value", "label"])
SERIES = pd.DataFrame([(0.0, "server", 0.0), (3.9999, "server", 1_234_567.0)], columns=["at_s", "label", "value"])
DRAWINGS = {
    "bars": lambda axes: draw_pairs_of_bars(axes, BARS, "mean TTFT (ms)", ("cold (round 1)", "hit (later rounds)")),
    "columns": lambda axes: draw_columns(axes, COLUMNS, "successful requests/s"),
    "over time": lambda axes: draw_over_time(axes, OVER_TIME, [(0.0, "round 1"), (1999.5, "round 2")]),
    "series": lambda axes: draw_series(axes, SERIES, "vllm:num_requests_running"),
}


def _laid_out(name: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, 2.6))
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    DRAWINGS[name](axes)
    axes.set_title("What is drawn")
    lay_out(figure, canvas.get_renderer())
    canvas.draw()
    return figure, axes


@pytest.mark.parametrize("name", DRAWINGS)
def test_all_labels_are_inside_and_use_the_room(name: str) -> None:
    figure, axes = _laid_out(name)
    outer = axes.get_tightbbox()
    assert outer is not None
    assert min(outer.x0, outer.y0) >= 0
    assert outer.x1 <= figure.bbox.x1
    assert outer.y1 <= figure.bbox.y1
    assert outer.width > 0.97 * figure.bbox.width


@pytest.mark.parametrize("name", ["bars", "columns", "over time"])
def test_the_legend_is_below_all_labels(name: str) -> None:
    figure, axes = _laid_out(name)
    (legend,) = figure.legends
    below, outer = legend.get_window_extent(), axes.get_tightbbox()
    assert outer is not None
    assert below.y0 >= 0
    assert below.y1 <= outer.y0


def test_a_chart_is_the_same_each_time_and_of_its_size() -> None:
    charts = [draw("columns", "Columns", "two", DRAWINGS["columns"], (7.6, 2.8)) for _ in range(2)]
    assert charts[0].svg == charts[1].svg
    root = ElementTree.fromstring(charts[0].svg)
    assert root.get("viewBox") == "0 0 547.2 201.6"  # 7.6 x 2.8 inches of 72 points
    assert {"round 1", "round 2", "Columns", "cold", "hit"} <= {
        text.text for text in root.iter("{http://www.w3.org/2000/svg}text")
    }
    assert charts[0].png[16:24] == (988).to_bytes(4, "big") + (364).to_bytes(4, "big")  # 130 dots per inch


@pytest.mark.parametrize("name", DRAWINGS)
def test_on_a_phone_all_labels_are_inside_of_360_points_and_no_tick_covers_another(name: str) -> None:
    chart = draw(
        name, "What is drawn here, with a title that is too long for one line", "text", DRAWINGS[name], (7.6, 2.6)
    ).for_phone
    figure = chart._figure(72)
    renderer = FigureCanvasAgg(figure).get_renderer()
    phone_drawing.fold_labels(figure)
    lay_out(figure, renderer)
    phone_drawing.settle(figure, renderer, 3)
    (axes,) = figure.axes
    outer = axes.get_tightbbox(renderer)
    assert outer is not None
    assert min(outer.x0, outer.y0) >= -1
    assert outer.x1 <= figure.bbox.x1 + 1
    for text in (axes._left_title, *axes.texts, axes.xaxis.label):  # type: ignore[attr-defined]
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
    assert figure.bbox.width < 320
    assert axes.bbox.width > 120, "the bars keep room beside their labels"


def test_a_folded_label_is_translated_as_a_whole() -> None:
    """Two lines of English become two lines that together are the translation of the whole."""
    folds = {"Mean TTFT of each run and of each round": ("Mean TTFT of each run", "and of each round")}
    lines = phone_drawing.translated_lines(folds, lambda text: "每次运行和每一轮的平均 TTFT" if text in folds else text)
    assert "".join(lines.values()).replace(" ", "") == "每次运行和每一轮的平均TTFT"
    assert set(lines) == {"Mean TTFT of each run", "and of each round"}
    assert phone_drawing.translated_lines(folds, lambda text: text) == {}


def test_names_are_folded_at_underscores_and_long_words_stay_whole() -> None:
    assert phone_drawing.folded("long_context_high_reuse: single", 14) == "long_context_\nhigh_reuse:\nsingle"
    assert phone_drawing.folded("aconversationtracewithoutend", 14) == "aconversationtracewithoutend"
