"""Makes the page of `locust-kvcache ratio`, and the JSON beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.number_text import listed, number, percent, plural, whole
from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.model.ratio import RESAMPLES, Budget, Prediction
from locust_kvcache.analysis.model.ratio_check import Check
from locust_kvcache.analysis.model.stage_costs import Mix
from locust_kvcache.analysis.model.stage_points import Point
from locust_kvcache.analysis.model.tandem import LEAST_LOADED, ROUND_ROBIN, Load
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables.ratio_tables import (
    NAMES,
    check_table,
    estimate_text,
    point_table,
    prediction_table,
    stage_table,
)
from locust_kvcache.analysis.tables.table import Stats

ROUTING_WORDS = {
    ROUND_ROBIN: "Routing in the prediction: round robin.",
    LEAST_LOADED: "Requests go to the prefiller and the decoder with the least to do.",
}
KEEPS_UP = 0.95  # of the offered rate
CHART_NAMES = {"requests_per_s": "requests/s", "ttft_ms": "mean TTFT (ms)"}


@dataclass(frozen=True)
class Answer:
    """Everything that the page says. `points` are (what for, point)."""

    budget: Budget
    mix: Mix
    load: Load
    routing: str
    predictions: tuple[Prediction, ...]
    best: Prediction | None
    points: tuple[tuple[str, Point], ...]
    limits: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    runs: tuple[Stats, ...] = ()  # evidence of all runs, those that it rests on and those that it is checked by

    @property
    def what(self) -> str:
        """4 GPUs, 8,192 prompt and 64 output tokens, nothing cached, 12 users."""
        load = f"{self.load.users} users" if self.load.users is not None else f"{number(self.load.rate_per_s)} requests/s"
        cached = f"{percent(self.mix.hit_rate)} cached" if self.mix.hit_rate else "nothing cached"
        tokens = f"{whole(self.mix.prompt_tokens)} prompt and {whole(self.mix.output_tokens)} output tokens"
        return f"{plural(self.budget.gpus, 'GPU')}, {tokens}, {cached}, {load}"


def lead_of(answer: Answer) -> str:
    best = answer.best
    if best is None:
        return f"No split can be recommended for {answer.what}: see the warnings."
    said = (
        f"{best.name} is predicted to be best for {answer.what}: {estimate_text(best.figures['requests_per_s'])} requests/s, "
        f"mean TTFT {estimate_text(best.figures['ttft_ms'])} ms"
    )
    if silent := [one.name for one in answer.predictions if not one.figures]:
        said += f". {listed(silent)} could not be predicted and may be better"
    apart = [one for one in answer.predictions if one.figures and one is not best]
    if alike := [one.name for one in apart if _overlap(one, best)]:
        said += f". {listed(alike)} may be as good (the intervals of the latency overlap)"
    if rates := [one for one in answer.checks if one.figure == "requests_per_s"]:
        times = [abs(one.off) for one in answer.checks if one.figure == "ttft_ms"]
        off, which = max(abs(one.off) for one in rates), listed(one.name for one in rates)
        said += f". Measured on {which}: the predicted throughput is off by at most {percent(off)}"
        said += f", the predicted mean TTFT by at most {percent(max(times))}" if times else ""
    return said + "."


def _overlap(one: Prediction, other: Prediction) -> bool:
    a, b = one.figures["e2e_ms"], other.figures["e2e_ms"]
    return None not in (a.low, a.high, b.low, b.high) and a.low <= b.high and b.low <= a.high  # type: ignore[operator]


def chart_of(answer: Answer, figure: str) -> Chart | None:
    known = [one for one in answer.predictions if one.figures]
    if not known:
        return None
    points = pd.DataFrame([{"name": one.name, **dataclasses.asdict(one.figures[figure])} for one in known]).astype(
        {"low": float, "high": float}
    )
    marks = [(one.name, value) for one in answer.checks if one.figure == figure for value in one.measured]
    measured = pd.DataFrame(marks, columns=["name", "value"])
    said = "; ".join(f"{one.name}: {estimate_text(one.figures[figure])}" for one in known)
    said += "".join(f"; {name} measured: {number(value)}" for name, value in marks)
    better = (max if figure == "requests_per_s" else min)(known, key=lambda one: one.figures[figure].value)
    title = f"Predicted {NAMES[figure].split(',')[0]}: {better.name} has the best, {number(better.figures[figure].value)}"
    name = f"ratio-{figure.replace('_', '-')}"
    return draw(name, title, said, lambda axes: study_drawing.draw_ratio(axes, points, measured, CHART_NAMES[figure]))


def trust_of(answer: Answer) -> tuple[str, ...]:
    """What every page says of the runs, whether the prediction was checked, and what its intervals cover."""
    inside = [one.inside for one in answer.checks if one.inside is not None]
    if not answer.checks:
        checked = Said("A prediction alone: no split was measured (--verify, --measured).", True)
    else:
        text = f"{sum(inside)} of {plural(len(answer.checks), 'measured figure')} lie within the predicted intervals."
        checked = Said(text, sum(inside) < len(answer.checks))
    figures = Said(
        f"Predicted figures are means of simulated runs of {answer.load.requests:,} requests. Their intervals come from {RESAMPLES} "
        "simulations with resampled measurements: they cover the spread of requests and arrivals, not what the model leaves out "
        "(docs/ratio.md)."
    )
    return common_trust(answer.runs, [checked, figures, Said(ROUTING_WORDS[answer.routing])], caches=False, control=False)


def behind(one: Prediction, load: Load) -> str | None:
    """Of an open loop: that a deployment serves less than comes, so its queue and its times grow with the length of the run."""
    served = one.figures.get("requests_per_s")
    if load.rate_per_s is None or served is None or served.value >= KEEPS_UP * load.rate_per_s:
        return None
    return (
        f"{one.name} serves {number(served.value)} of {number(load.rate_per_s)} requests/s: its queue grows, and its times are those of a "
        f"run of {load.requests} requests."
    )


def problems_of(answer: Answer) -> tuple[dict[str, Any], ...]:
    """What was not predicted, and what the points leave open."""
    silent = [one for one in answer.predictions if one.why_not]
    found = [Problem("warning", "not_predicted", f"{one.name} is not predicted: {one.why_not}.") for one in silent]
    found += [Problem("warning", "not_sustained", text) for one in answer.predictions if (text := behind(one, answer.load))]
    found += [Problem("note", "left_open", text) for text in answer.limits]
    return tuple(plain(vars(problem)) for problem in found)


def subtitle_of(answer: Answer) -> str:
    """qwen2.5-32b-fp8; splits predicted: 2 of 3; predicted from 6 measured rounds."""
    splits = [one for one in answer.predictions if one.split is not None]
    models = listed(dict.fromkeys(str(one["run"].get("model") or "an unknown model") for one in answer.runs))
    known = sum(bool(one.figures) for one in splits)
    return f"{models}; splits predicted: {known} of {len(splits)}; predicted from {plural(len(answer.points), 'measured round')}"


def ratio_page(answer: Answer) -> Page:
    checked = (check_table(answer.checks),) if answer.checks else ()
    answer_table = prediction_table(answer.predictions, answer.best)
    return Page(
        title=f"Prefillers and decoders: {answer.what}",
        subtitle=subtitle_of(answer),
        lead=lead_of(answer),
        details=(),
        answer=section("", [answer_table, *checked, chart_of(answer, "ttft_ms")]).blocks,
        problems=problems_of(answer),
        sections=(
            section("Stages", [stage_table(answer.predictions)], is_open=True),
            section("Measured points", [point_table(answer.points)], is_open=True),
        ),
        incomplete=False,
        chart=chart_of(answer, "requests_per_s"),
        trust=trust_of(answer),
        short=(answer_table, *checked),
    )


def ratio_json(answer: Answer) -> dict[str, Any]:
    """ratio.json: inputs, predictions, points, checks."""
    return {
        "format": 1,
        "budget": dataclasses.asdict(answer.budget),
        "mix": dataclasses.asdict(answer.mix),
        "load": dataclasses.asdict(answer.load),
        "routing": answer.routing,
        "best": answer.best.name if answer.best else None,
        "predictions": [dataclasses.asdict(one) for one in answer.predictions],
        "points": [{"used_for": use, **_point(point)} for use, point in answer.points],
        "limits": list(answer.limits),
        "checks": [{**dataclasses.asdict(one), "off": one.off, "inside": one.inside} for one in answer.checks],
    }


def _point(point: Point) -> dict[str, Any]:
    """Means in place of the requests."""
    found = {name: value for name, value in vars(point).items() if not hasattr(value, "mean")}
    means = {name: float(value.mean()) if len(value) else None for name, value in vars(point).items() if hasattr(value, "mean")}
    return {**found, **means, "requests": len(point.ttft_s)}
