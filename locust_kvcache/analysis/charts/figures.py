"""Renders a drawing function and its table to a Chart: SVG text, and PNG on demand.

Inline in HTML the named colours become CSS variables, so that a chart follows the page into dark mode; as files they are plain SVG.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape, unescape
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from locust_kvcache.analysis.charts import phone_drawing
from locust_kvcache.contract.language import told

# name of a CSS variable -> colour on paper; lightness differs from one to the next, so that they differ in grayscale too
COLOURS = {
    "ink": "#1d2127",
    "grid": "#d4d8de",
    "cold": "#1f5fa8",
    "hit": "#f09a26",
    "third": "#5c8f3d",
    "fourth": "#a63a6b",
    "faint": "#8a919c",
}
SVG_DPI = 72  # points: what the SVG backend draws in
PNG_DPI = 130
PHONE_IN = 4.3  # wide: on a screen of 390 px a letter is then as large as on a wide one
PHONE_HIGHER, PHONE_MORE_IN = 1.15, 0.35  # folded labels, and a legend in more rows
PAD_IN = 0.04  # between what is drawn and the figure's edge
SVG_TEXT = re.compile(r"(<text\b[^>]*>)([^<]+)</text>")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
    "font.size": 10,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "figure.subplot.left": 0.1,  # near to what a layout gives, so that it seldom changes the ticks
    "figure.subplot.right": 0.98,
    "figure.subplot.bottom": 0.2,
    "axes.titley": 1.0,
}


@dataclass(frozen=True)
class Chart:
    """`title` says what it shows, `text` what can be read from it by someone who cannot see it."""

    name: str
    title: str
    text: str
    drawing: Callable[[Axes], None]
    size_in: tuple[float, float]
    on_phone: bool = False

    @cached_property
    def for_phone(self) -> Chart:
        """The same chart drawn for a narrow screen."""
        size_in = (PHONE_IN, PHONE_HIGHER * self.size_in[1] + PHONE_MORE_IN)
        return replace(self, name=f"{self.name}-phone", size_in=size_in, on_phone=True)

    @property
    def svg(self) -> str:
        """A file of its own, in the colours of paper."""
        return self._drawn[0]

    @cached_property
    def _drawn(self) -> tuple[str, phone_drawing.Folds]:
        """The SVG, and which texts were folded to fit."""
        file, folds = io.StringIO(), phone_drawing.Folds()
        with self._style():
            figure = self._figure(SVG_DPI)
            renderer = _svg_renderer(file, figure)
            if self.on_phone:
                folds = phone_drawing.fold_labels(figure)
            lay_out(figure, renderer)
            if self.on_phone:
                phone_drawing.settle(figure, renderer, PAD_IN * SVG_DPI)
            figure.draw(renderer)
            renderer.finalize()
        # a hundredth of a point is finer than any screen; six decimals make half of a chart's bytes
        svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda m: re.sub(r"(?<=\.\d\d)\d+", "", m[0]), file.getvalue())
        return svg, folds

    @cached_property
    def png(self) -> bytes:
        file = io.BytesIO()
        with self._style(**{"figure.facecolor": "white"}):
            figure = self._figure(PNG_DPI)
            canvas: Any = FigureCanvasAgg(figure)
            lay_out(figure, canvas.get_renderer())
            canvas.print_png(file, metadata={"Software": None})
        return file.getvalue()

    @property
    def inline_svg(self) -> str:
        """For a page: colours as CSS variables, ids made unique, a role and a label for screen readers, in the reader's language.

        A browser has the letters for it; files keep English, as matplotlib ships no Chinese font."""
        svg = re.sub(r"<metadata>.*?</metadata>", "", self.svg[self.svg.index("<svg") :], flags=re.S)
        for name, colour in COLOURS.items():
            svg = svg.replace(colour, f"var(--{name})")
        svg = re.sub(r'\bid="([^"]+)"', rf'id="{self.name}-\1"', svg)
        svg = re.sub(r'(xlink:href="#|url\(#)([^")]+)', rf"\1{self.name}-\2", svg)
        lines = phone_drawing.translated_lines(self._drawn[1], told)
        svg = SVG_TEXT.sub(lambda match: f"{match[1]}{escape(_said(unescape(match[2]), lines))}</text>", svg)
        label = _attribute(f"{told(self.title)}. {told(self.text)}")
        return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"|<svg ', lambda m: _open_tag(m, label), svg, count=1)

    def _style(self, **more: Any) -> AbstractContextManager[None]:
        style: Any = {**STYLE, "svg.hashsalt": self.name, **more}  # the same chart gives the same file
        return rc_context(style)

    def _figure(self, dpi: int) -> Figure:
        figure = Figure(figsize=self.size_in, dpi=dpi)
        axes = figure.subplots()
        self.drawing(axes)
        axes.set_title(self.title if self.on_phone else textwrap.fill(self.title, 80))
        return figure


def _said(text: str, lines: Mapping[str, str]) -> str:
    return lines[text] if text in lines else told(text)


def _svg_renderer(file: io.StringIO, figure: Figure) -> Any:
    """Used alone, as savefig draws a figure twice and measures each text once more."""
    make: Any = RendererSVG  # has no types
    return make(figure.bbox.width, figure.bbox.height, file, metadata={"Date": None, "Creator": None})


def lay_out(figure: Figure, renderer: Any) -> None:
    """Give the axes all room that their labels and the figure's legend below leave; measured again only where the ticks then change."""
    (axes,) = figure.axes
    pad = PAD_IN * figure.dpi
    floor = pad + sum(legend.get_window_extent(renderer).height + 2 * pad for legend in figure.legends)
    for _ in range(3):
        inner, outer = axes.bbox.frozen(), axes.get_tightbbox(renderer, for_layout_only=True)
        assert outer is not None  # it is visible
        ticks = axes.get_xticks(), axes.get_yticks()
        left, right = pad + inner.x0 - outer.x0, figure.bbox.x1 - pad - (outer.x1 - inner.x1)
        bottom, top = floor + inner.y0 - outer.y0, figure.bbox.y1 - pad - (outer.y1 - inner.y1)
        box = Bbox([(left, bottom), (right, top)])
        axes.set_position(box.transformed(figure.transFigure.inverted()))
        if all(map(np.array_equal, ticks, (axes.get_xticks(), axes.get_yticks()))):
            return


def _open_tag(match: re.Match[str], label: str) -> str:
    return f'<svg {match.group(1) or ""}role="img" aria-label="{label}" '


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def draw(name: str, title: str, text: str, drawing: Callable[[Axes], None], size_in: tuple[float, float] = (7.6, 3.4)) -> Chart:
    """One chart with one pair of axes; it is drawn when its SVG or PNG is asked for."""
    return Chart(name, title, text, drawing, size_in)
