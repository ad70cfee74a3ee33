"""Renders a drawing function and its table to a Chart: SVG text, and PNG on demand.

Inline in HTML the named colours become CSS variables, so that a chart follows the page into dark mode; as files they are plain SVG.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

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
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Chart:
    """`title` says what it shows, `text` what can be read from it by someone who cannot see it."""

    name: str
    title: str
    text: str
    drawing: Callable[[Axes], None]
    size_in: tuple[float, float]

    @cached_property
    def svg(self) -> str:
        """A file of its own, in the colours of paper."""
        svg = self._render(FigureCanvasSVG, SVG_DPI, metadata={"Date": None, "Creator": None}).decode("utf-8")
        # a hundredth of a point is finer than any screen; six decimals make half of a chart's bytes
        return re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)

    @cached_property
    def png(self) -> bytes:
        return self._render(FigureCanvasAgg, PNG_DPI, facecolor="white", metadata={"Software": None})

    @property
    def inline_svg(self) -> str:
        """For a page: colours as CSS variables, ids made unique, a role and a label for screen readers."""
        svg = re.sub(r"<metadata>.*?</metadata>", "", self.svg[self.svg.index("<svg") :], flags=re.S)
        for name, colour in COLOURS.items():
            svg = svg.replace(colour, f"var(--{name})")
        svg = re.sub(r'\bid="([^"]+)"', rf'id="{self.name}-\1"', svg)
        svg = re.sub(r'(xlink:href="#|url\(#)([^")]+)', rf"\1{self.name}-\2", svg)
        label = _attribute(f"{self.title}. {self.text}")
        return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"|<svg ', lambda m: _open_tag(m, label), svg, count=1)

    def _render(self, canvas: type[FigureCanvasSVG] | type[FigureCanvasAgg], dpi: int, **options: Any) -> bytes:
        """Lays the figure out and draws it once. savefig would draw it once more for the layout alone, at twice the time."""
        style: Any = {**STYLE, "svg.hashsalt": self.name}  # the same chart gives the same file
        with rc_context(style):
            figure = Figure(figsize=self.size_in, dpi=dpi)
            canvas(figure)
            axes = figure.subplots()
            self.drawing(axes)
            axes.set_title(textwrap.fill(self.title, 80))
            if (layout := figure.get_layout_engine()) is not None:
                layout.execute(figure)
                figure.set_layout_engine("none")
            buffer = io.BytesIO()
            figure.savefig(buffer, format=figure.canvas.get_default_filetype(), dpi=dpi, **options)
            return buffer.getvalue()


def _open_tag(match: re.Match[str], label: str) -> str:
    return f'<svg {match.group(1) or ""}role="img" aria-label="{label}" '


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def draw(name: str, title: str, text: str, drawing: Callable[[Axes], None], size_in: tuple[float, float] = (7.6, 3.4)) -> Chart:
    """One chart with one pair of axes; it is drawn when its SVG or PNG is asked for."""
    return Chart(name, title, text, drawing, size_in)
