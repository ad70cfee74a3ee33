"""Draws the dashboard's panels without Grafana, from a Prometheus and a span of time: figures and one PNG.

python -m benchmarks.panels --prometheus http://127.0.0.1:9090 --minutes 15 --out panels.png
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import requests

DASHBOARD = Path(__file__).parent.parent / "configs" / "grafana" / "dashboards" / "kvcache.json"
COLUMNS = 3
FACTORS = {"s": (1000, "ms"), "percentunit": (100, "%"), "bytes": (1e-9, "GB"), "Bps": (1e-9, "GB/s"), "reqps": (1, "1/s"),
           "ops": (1, "1/s"), "percent": (1, "%"), "watt": (1, "W"), "short": (1, "")}  # fmt: skip


class Line(NamedTuple):
    name: str
    times_s: list[float]
    values: list[float]  # finite ones only


class PanelData(NamedTuple):
    row: str
    title: str
    unit: str
    lines: dict[str, list[Line]]  # by query

    @property
    def empty(self) -> list[str]:
        """The queries that no Prometheus here answers with a figure."""
        return [query for query, lines in self.lines.items() if not any(line.values for line in lines)]


def expressions(dashboard: Path = DASHBOARD) -> list[tuple[str, str, str, str, str]]:
    """(row, panel, unit, legend, PromQL) of every query on the dashboard."""
    found, row = [], ""
    for panel in json.loads(dashboard.read_text())["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        unit = panel["fieldConfig"]["defaults"]["unit"]
        found += [(row, panel["title"], unit, target["legendFormat"], target["expr"]) for target in panel["targets"]]
    return found


def _ask(prometheus: str, query: str, start_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
    params: dict[str, str | float] = {"query": query, "start": start_s, "end": end_s, "step": step_s}
    answer = requests.get(f"{prometheus}/api/v1/query_range", params=params, timeout=30).json()
    if answer["status"] != "success":
        raise SystemExit(f"error: {prometheus} refuses {query!r}: {answer['error']}")
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def _line(legend: str, series: dict[str, Any], start_s: float) -> Line:
    name = re.sub(r"{{(\w+)}}", lambda label: series["metric"].get(label[1], ""), legend)
    points = [(float(at) - start_s, float(text)) for at, text in series["values"] if math.isfinite(float(text))]
    return Line(name, [at for at, _ in points], [value for _, value in points])


def panels(prometheus: str, start_s: float, end_s: float, rate_interval_s: int, step_s: float) -> list[PanelData]:
    found: dict[tuple[str, str], PanelData] = {}
    for row, title, unit, legend, expr in expressions():
        query = expr.replace("$__rate_interval", f"{rate_interval_s}s")
        lines = [_line(legend, series, start_s) for series in _ask(prometheus, query, start_s, end_s, step_s)]
        found.setdefault((row, title), PanelData(row, title, unit, {})).lines[expr] = lines
    return list(found.values())


def _with_gaps(line: Line, factor: float) -> tuple[list[float], list[float]]:
    """Nothing is drawn across a time without data: where a step is far longer than the usual one, the line ends."""
    steps_s = [after - before for before, after in itertools.pairwise(line.times_s)]
    usual_s = min(steps_s, default=0)
    times_s, values = line.times_s[:1], [factor * value for value in line.values[:1]]
    for step_s, at_s, value in zip(steps_s, line.times_s[1:], line.values[1:], strict=True):
        if step_s > 3 * usual_s:
            times_s.append(at_s)
            values.append(math.nan)
        times_s.append(at_s)
        values.append(factor * value)
    return times_s, values


def draw(found: list[PanelData], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    height = -(-len(found) // COLUMNS)
    figure, axes = plt.subplots(height, COLUMNS, figsize=(6 * COLUMNS, 2.9 * height), squeeze=False, layout="constrained")
    for ax in axes.flat[len(found) :]:
        ax.axis("off")
    for ax, panel in zip(axes.flat, found, strict=False):
        factor, unit = FACTORS[panel.unit]
        for line in (line for lines in panel.lines.values() for line in lines if line.values):
            ax.plot(*_with_gaps(line, factor), label=line.name, linewidth=1.4)
        ax.set_title(
            f"{panel.row.split(' (')[0].split(':')[0]}: {panel.title}" + (f" ({unit})" if unit else ""), fontsize=9, loc="left"
        )
        ax.set_ylim(0, 1.08 * max(ax.get_ylim()[1], 1e-9))
        ax.tick_params(labelsize=8)
        ax.grid(alpha=0.3)
        if any(line.values for lines in panel.lines.values() for line in lines):
            ax.legend(fontsize=7, framealpha=0.6)
        else:
            ax.text(0.5, 0.5, "no data", transform=ax.transAxes, ha="center", color="grey")
    figure.savefig(path, dpi=70)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the dashboard's panels from a Prometheus, and name those without data.")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="default: http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=15, help="how far back, default: 15")
    parser.add_argument("--end", type=float, help="Unix time of the end, in seconds, default: now")
    parser.add_argument("--rate-interval", type=int, default=20, help="seconds that a rate looks back, default: 20")
    parser.add_argument("--filled", action="store_true", help="draw only panels that have data")
    parser.add_argument("--out", type=Path, default=Path("panels.png"), help="default: panels.png")
    given = parser.parse_args()
    end_s = time.time() if given.end is None else given.end
    found = panels(given.prometheus, end_s - 60 * given.minutes, end_s, given.rate_interval, max(1, 60 * given.minutes / 500))
    draw([panel for panel in found if not given.filled or any(any(lines) for lines in panel.lines.values())], given.out)
    for panel in found:
        for query in panel.empty:
            print(f"no data: {panel.row}: {panel.title}: {query}")
    print(given.out)


if __name__ == "__main__":
    main()
