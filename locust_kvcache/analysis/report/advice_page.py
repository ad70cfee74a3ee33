"""Makes the page of `locust-kvcache advise`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.advice.check import Check, kept_text
from locust_kvcache.analysis.advice.demand import Demand
from locust_kvcache.analysis.advice.deployments import Option, servers_text
from locust_kvcache.analysis.advice.marks import Marks, cost_without, own_point
from locust_kvcache.analysis.advice.prediction import GPU, Point, Question
from locust_kvcache.analysis.advice.sources import Source
from locust_kvcache.analysis.basics.number_text import listed, number, percent, plural, whole
from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.charts.advice_drawing import Mark, draw_advice
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.report.advice_tables import (
    TIER_WORDS,
    check_table,
    gb,
    gb_of,
    mark_table,
    option_table,
    p50_text,
    size_table,
)
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.trust import Said, weakest_first

GPU_CACHE = "GPU cache of a server"
LOWER_BOUND = (
    "TTFT P50 with ≥ is a lower bound: over a quarter of it is front end and one step, which takes longer under load than the model "
    "knows; published runs were up to 5 times slower (docs/advise.md)."
)
SECONDS_ALONE = (
    "A tier pays although requests with it wait no less for their first token: what is saved is GPU seconds, which are money only "
    "where other load uses them"
)
USE_OF_SECONDS = "Measure TPOT and requests/s under your load: there the freed seconds show (docs/advise.md)."
PANEL_IN = 2.0  # height of a panel


@dataclass(frozen=True)
class Advice:
    """Everything that the page says. `points`: all sizes, tier by tier; `checks`: beside a run that was `measured`."""

    question: Question
    unlimited_hit_rate: float
    working_set_gb: float
    points: tuple[Point, ...]
    marks: tuple[Marks, ...]
    options: tuple[Option, ...]
    unknown: tuple[str, ...]
    verify: str
    measured: Path | None = None
    checks: tuple[Check, ...] = ()

    @property
    def demand(self) -> Demand:
        return self.question.demand

    @property
    def source(self) -> Source:
        return self.question.source

    @property
    def tiers(self) -> list[str]:
        return list(dict.fromkeys(one.tier for one in self.points))


def lead_of(advice: Advice) -> str:
    said = [] if advice.measured is not None else ["Predicted, not measured."]
    said += [
        f"A cache without limit would hit {percent(advice.unlimited_hit_rate)} of the prompt tokens of {advice.demand.name} "
        f"({gb(advice.working_set_gb)} of KV)."
    ]
    knees = [one.knee for one in advice.marks if one.knee is not None]
    if knees:
        knee = max(knees, key=lambda one: one.ttft_p50_ms is not None)
        said.append(f"The knee is at {gb(knee.size_gb)}: {percent(knee.hit_rate)}{_times(knee)}.")
    elif advice.unlimited_hit_rate > 0:
        said.append("The knee is beyond the largest size tried.")
    own = own_point(advice.points, advice.question.gpu_gb)
    said += [text for one in advice.marks if one.pays for text in _pays(one, own)]
    if silent := [TIER_WORDS[one.tier] for one in advice.marks if one.pays is False]:
        said.append(f"At these prices no tried size of these tiers pays: {', '.join(silent)}.")
    if advice.measured is not None:
        said.append(f"Predicted against measured on {advice.measured.resolve().name}: {kept_text(advice.checks)}.")
    return " ".join(said)


def _pays(marks: Marks, own: Point | None) -> list[str]:
    """With the TTFT, as a size may pay in GPU seconds and make no request faster."""
    beyond = "up to the largest size tried" if marks.largest_pays else f"up to {gb(marks.break_even_gb)}"
    said = [f"At these prices {TIER_WORDS[marks.tier]} pays {beyond}, and is cheapest at {gb_of(marks.cheapest)}."]
    best = marks.cheapest
    if own is not None and best is not None and own.ttft_p50_ms is not None and best.ttft_p50_ms is not None:
        said.append(f"TTFT P50 is {p50_text(best)} ms with it and {p50_text(own)} ms without it.")
    if marks.in_gpu_seconds_alone:
        said.append("So it pays in GPU seconds alone.")
    return said


def _times(point: Point) -> str:
    if point.ttft_p50_ms is None:
        return ", TTFT not known"
    return f", TTFT P50 {p50_text(point)} ms, P90 {number(point.ttft_p90_ms)} ms"


def frame_of(points: Sequence[Point]) -> pd.DataFrame:
    rows = [(TIER_WORDS[one.tier], one.size_gb, 100 * one.hit_rate, one.ttft_p50_ms, one.ttft_p90_ms, one.cost) for one in points]
    return pd.DataFrame(rows, columns=["label", "x", "hit", "p50", "p90", "cost"]).astype(
        {"p50": float, "p90": float, "cost": float}
    )


def chart_marks(marks: Sequence[Marks], without: float | None) -> list[Mark]:
    found = []
    for one in marks:
        if one.knee is not None:
            found.append(Mark("hit", one.knee.size_gb, 100 * one.knee.hit_rate, f"knee, {gb(one.knee.size_gb)}"))
        if one.tier == GPU:
            continue
        if one.break_even_gb is not None and without is not None and not one.largest_pays:
            found.append(Mark("cost", one.break_even_gb, without, f"break-even, {gb(one.break_even_gb)}"))
    by_place = {(mark.panel, mark.x, round(mark.y, 6)): mark for mark in found}  # tiers that hit alike share a ring
    return list(by_place.values())


def chart_of(advice: Advice) -> Chart:
    points = frame_of(advice.points)
    panels = ["hit", *(name for name in ("p50", "cost") if points[name].notna().sum() > 1)]  # of one size there is a point
    limits = {} if advice.question.gpu_gb is None else {GPU_CACHE: advice.question.gpu_gb}
    shown = {"hit": "hit rate", "p50": "TTFT", "cost": "cost"}
    title = f"Predicted {listed(shown[name] for name in panels)} by the size of each tier"
    said = "; ".join(
        f"{TIER_WORDS[one.tier]} {gb(one.size_gb)}: {percent(one.hit_rate)}{_times(one)}"
        + (f", cost {number(one.cost)}" if one.cost is not None else "")
        for one in advice.points
    )
    without = cost_without(advice.points, advice.question.gpu_gb)
    marks = chart_marks(advice.marks, without)
    lines = {"hit": 100 * advice.unlimited_hit_rate} | ({} if without is None else {"cost": without})
    return draw(
        "advise",
        title,
        said,
        lambda axes: draw_advice(axes, points, lines, marks, limits, panels),
        (7.6, 0.9 + PANEL_IN * len(panels)),
    )


def problems_of(advice: Advice) -> tuple[dict[str, Any], ...]:
    """What is not known, each reason once."""
    reasons: dict[str, list[str]] = {}
    for one in advice.points:
        for why, what in (
            (one.why_no_ttft, "TTFT"),
            (one.why_no_cost if one.tier != GPU else None, "cost"),
        ):
            if why:
                reasons.setdefault(f"{what} of {TIER_WORDS[one.tier]} is not predicted: {why}", []).append(gb(one.size_gb))
    every = {tier: sum(one.tier == tier for one in advice.points) for tier in advice.tiers}
    found = [
        Problem("warning", "not_known", f"{text}." if len(sizes) == max(every.values()) else f"{text} (at {', '.join(sizes)}).")
        for text, sizes in reasons.items()
    ]
    if advice.demand.doubt is not None:
        found.insert(0, Problem("warning", "time_unit", f"{advice.demand.doubt}."))
    slow = [one for one in advice.points if not one.sustained]
    if slow:
        sizes = ", ".join(f"{TIER_WORDS[one.tier]} {gb(one.size_gb)}" for one in slow)
        found.append(
            Problem(
                "warning",
                "not_sustained",
                f"The load is not sustained with {sizes}: the queue grows, and times are those of so many requests only.",
            )
        )
    if alone := [TIER_WORDS[one.tier] for one in advice.marks if one.in_gpu_seconds_alone]:
        found.append(Problem("warning", "gpu_seconds_alone", f"{SECONDS_ALONE} ({', '.join(alone)}).", USE_OF_SECONDS))
    if any(one.at_least for one in advice.points) or any(one.at_least for one in advice.options):
        found.append(Problem("warning", "lower_bound", LOWER_BOUND))
    found += [Problem("note", "left_open", text) for text in advice.unknown]
    return tuple(plain(vars(problem)) for problem in found)


def trust_of(advice: Advice) -> tuple[str, ...]:
    source = advice.source
    missed = [one.figure for one in advice.checks if one.kept is False]
    if not advice.checks:
        said = [Said("A prediction alone: no run has confirmed it. The command below is the run that would.", True)]
    elif missed:
        said = [Said(f"The measured run is further off than 2 points or 15 %: {', '.join(missed)}.", True)]
    else:
        said = [Said("The measured run is within 2 points of hit rate and 15 % of TTFT where there is a figure.")]
    said += [Said(note) for note in source.notes]
    said += [
        Said("Caches are LRU; a tier below the GPU is written through, so it also contains everything that is in the GPU cache."),
        Said("TTFT is with queue, from a simulation of the engine's steps (docs/advise.md)."),
    ]
    if any(one.cost is not None for one in advice.points):
        said.append(Said("Assumed: prices, and that GPU seconds which prefill does not use are worth their price."))
    return weakest_first(said)


def advice_page(advice: Advice) -> Page:
    tables = mark_table(advice.marks)
    checked = (check_table(advice.checks),) if advice.checks else ()
    demand = advice.demand
    what = f"{plural(len(demand.requests), 'request')}, {whole(demand.prompt_tokens)} prompt tokens, {demand.load_text}"
    if advice.question.servers > 1:
        what += f", {servers_text(advice.question.servers, advice.question.routing)}"
    which = f"; figures are of round {demand.rounds}" if demand.rounds > 1 else ""
    return Page(
        title=f"Cache sizes for {demand.name} on {advice.source.name}",
        subtitle=f"{what}{which}; costs of a request from {advice.source.name}",
        lead=lead_of(advice),
        details=(),
        answer=section("", [tables, *checked, option_table(advice.options)]).blocks,
        problems=problems_of(advice),
        sections=(
            section("The run that would verify it", [advice.verify], is_open=True),
            section("All sizes", [size_table(advice.points)], is_open=True),
        ),
        incomplete=False,
        chart=chart_of(advice),
        trust=trust_of(advice),
        short=(tables, *checked, *((option_table(advice.options),) if advice.options else ())),
    )
