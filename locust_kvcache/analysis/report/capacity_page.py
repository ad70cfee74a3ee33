"""Makes the page of `locust-kvcache capacity`: the capacity of each side with its interval, a chart, and every step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs.capacity_steps import Step, by_side, found_capacity, steps_of_runs
from locust_kvcache.analysis.across_runs.run_evidence import run_evidence
from locust_kvcache.analysis.basics.number_text import DASH, number, percent, plural
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.report.capacity_words import capacity_text, objective_text, own_trust, problems_of, sentence, unit_of
from locust_kvcache.analysis.report.page import Page, fold, section
from locust_kvcache.analysis.report.trust import common_trust
from locust_kvcache.analysis.tables.table import Table

RULE = (
    "a level is sustained when so many requests (without the first fifth, which fills the queue) are within every limit, counted from "
    "their intended start, and the queue does not grow"
)


def answer_table(scenario: str, sides: Mapping[str, list[Step]], slo: Mapping[str, float], share: float) -> Table:
    """The capacities beside one another, per GPU as well, and the concurrency that belongs to each."""
    rows = []
    for side, steps in sides.items():
        found, gpus = found_capacity(steps, slo, share), steps[0].gpus
        in_flight = [step.in_flight for step in steps if step.level == found.passed and step.in_flight is not None]
        per_gpu = number(found.value / gpus) if gpus and found.value is not None else DASH
        rows.append((side, capacity_text(found), per_gpu, number(found.passed), number(found.failed),
                     number(max(in_flight)) if in_flight else DASH, str(found.steps)))  # fmt: skip
    header = ("search", f"capacity, {unit_of(sides)} [95 % interval]", "per GPU", "always sustained up to", "never sustained from",
              "open requests there", "steps")  # fmt: skip
    return Table(f"{scenario}: capacity", header, tuple(rows), RULE)


def step_table(scenario: str, side: str, steps: list[Step], slo: Mapping[str, float], share: float) -> Table:
    names = [f"{name.removesuffix('_ms').upper()} p{share * 100:g}, ms" for name in slo]
    header = (
        steps[0].unit,
        "verdict",
        "late",
        *names,
        "queue growth, ms/s",
        "goodput, requests/s",
        "open requests",
        "hit share",
        "requests",
        "why",
    )
    rows = tuple(
        (number(step.level, 4), "sustained" if step.found.sustained else "not sustained",
         percent(step.found.late), *(number(step.found.percentiles[name]) for name in slo),
         DASH if step.found.drift is None else number(1000 * step.found.drift), number(step.goodput_per_s), number(step.in_flight),
         percent(step.hit_share), str(step.requests), "" if step.found.sustained else step.found.why)
        for step in sorted(steps, key=lambda step: step.level)
    )  # fmt: skip
    return Table(f"{scenario}, {side}: steps", header, rows, RULE, texts=(1, len(header) - 1))


def capacity_chart(scenario: str, sides: Mapping[str, list[Step]], slo: Mapping[str, float], share: float) -> Chart | None:
    name, limit = next(iter(slo.items()))
    rows = [
        (side, step.level, step.found.percentiles[name], step.found.sustained) for side, steps in sides.items() for step in steps
    ]
    points = pd.DataFrame([row for row in rows if row[2] is not None], columns=["label", "x", "y", "passed"])
    if points.empty:
        return None
    found = {side: found_capacity(steps, slo, share) for side, steps in sides.items()}
    bands = [(side, one.low, one.high) for side, one in found.items() if one.low is not None and one.high is not None]
    said = ", ".join(f"{capacity_text(one)} {side}" for side, one in found.items())
    title = f"{scenario}: capacity {said} {unit_of(sides)} at {objective_text(slo, share)}"
    text = "; ".join(
        f"{row[0]} {number(row[1])}/s: {number(row[2])} ms, {'sustained' if row[3] else 'not sustained'}" for row in rows
    )
    label = f"{name.removesuffix('_ms').upper()} p{share * 100:g}"
    return draw(f"capacity-{scenario}".replace("_", "-"), title, text,
                lambda axes: study_drawing.draw_capacity(axes, points, limit, label, unit_of(sides), bands))  # fmt: skip


def capacity_page(folders: list[Path], slo: Mapping[str, float], share: float) -> Page:
    runs = [load_run(folder) for folder in folders]
    steps, limits = steps_of_runs(runs, slo, share)
    info = runs[0].info
    sections, said, problems, answers = [], [], [], []
    charts: list[Chart | None] = []
    for scenario in dict.fromkeys(step.scenario for step in steps):
        sides = by_side(steps, scenario)
        charts.append(capacity_chart(scenario, sides, limits, share))
        answers.append(answer_table(scenario, sides, limits, share))
        blocks: list[Any] = [charts[-1] if len(charts) > 1 else None, answers[-1]]
        for side, mine in sides.items():
            blocks.append(fold(f"Steps of the {side} search", [step_table(scenario, side, mine, limits, share)]))
            problems += problems_of(scenario, side, mine, found_capacity(mine, limits, share))
        sections.append(section(f"Scenario {scenario}", blocks, is_open=True))
        said.append(sentence(scenario, sides, limits, share))
    subtitle = (
        f"most {steps[0].unit} at {objective_text(limits, share)}; {steps[0].arrivals} arrivals; {plural(len(steps), 'step')}"
    )
    return Page(
        title=f"Capacity: {info.model} on {', '.join(dict.fromkeys(step.deployment for step in steps))}",
        subtitle=subtitle,
        lead=". ".join(said) + ".",
        details=(),
        answer=(),
        problems=tuple(problem.to_dict() for problem in problems),
        sections=tuple(sections),
        incomplete=not all(run.complete for run in runs),
        chart=charts[0],
        trust=common_trust([run_evidence(run) for run in runs], own=own_trust(steps, limits, share), control=False),
        short=tuple(answers),
    )
