"""Finds the highest sustained load in the runs of a --capacity search (`locust-kvcache capacity RUN ...`).

Every step is judged again from its records, by the rules of the search itself (contract/capacity_rule.py); --slo asks for other limits.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs.capacity_steps import Capacity, Step, by_side, found_capacity, steps_of
from locust_kvcache.analysis.across_runs.run_evidence import run_evidence
from locust_kvcache.analysis.basics.number_text import DASH, number, percent, plural
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.reading.run_info import SIDES
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.report.command_line import add_language, add_png
from locust_kvcache.analysis.report.page import Page, fold, section
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import use_language
from locust_kvcache.contract.slo import parse_slo

SHORT_S = 5.0
LEAST_HIT = 0.5  # share of cached prompt tokens below which a step of the hit search is no hit
RULE = (
    "a level is sustained when so many requests (without the first fifth, which fills the queue) are within every limit, counted from "
    "their intended start, and the queue does not grow"
)


def capacity_text(found: Capacity) -> str:
    """4.10 [3.90, 4.30]; about 4.10 without an interval; or which side has no bound."""
    if found.value is None or found.passed is None or found.failed is None:
        return f"below {number(found.failed)}" if found.passed is None else f"at least {number(found.passed)}"
    return (
        f"about {number(found.value)}"
        if found.low is None
        else f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
    )


def objective_text(slo: Mapping[str, float], share: float) -> str:
    return " and ".join(
        f"{name.removesuffix('_ms').upper()} p{share * 100:g} under {number(limit / 1000)} s" for name, limit in slo.items()
    )


def unit_of(sides: Mapping[str, list[Step]]) -> str:
    return next(step.unit for steps in sides.values() for step in steps)


def sentence(scenario: str, sides: Mapping[str, list[Step]], slo: Mapping[str, float], share: float) -> str:
    found = {side: found_capacity(steps, slo, share) for side, steps in sides.items()}
    at, unit = objective_text(slo, share), unit_of(sides)
    least = _least_hit(sides.get("hit", []))
    if least is not None and least < LEAST_HIT:
        measured = "; ".join(f"{side} {capacity_text(one)}" for side, one in found.items())
        missed = f"the hit search missed the cache (a step with {percent(least)} cached tokens)"
        return f"{scenario}: {missed}; measured: {measured}, {unit} at {at}"
    if set(found) == set(SIDES) and all(one.value is not None for one in found.values()):
        cold, hit = capacity_text(found["cold"]), capacity_text(found["hit"])
        said = (
            "the cache raises capacity"
            if _above(found["hit"], found["cold"])
            else "a higher capacity with the cache is not shown"
        )
        return f"{scenario}: {said}: {cold} cold, {hit} hit, {unit} at {at}"
    return (
        f"{scenario}: " + "; ".join(f"{side}: capacity {capacity_text(one)} {unit}" for side, one in found.items()) + f" at {at}"
    )


def _above(one: Capacity, other: Capacity) -> bool:
    """Its interval lies above the other's; without one, its steps were sustained where none of the other's was."""
    low = one.passed if one.low is None else one.low
    high = other.failed if other.high is None else other.high
    return low is not None and high is not None and low > high


def _least_hit(steps: list[Step]) -> float | None:
    """The smallest share of cached prompt tokens in a step of the hit search; None where nothing tells."""
    return min((step.hit_share for step in steps if step.hit_share is not None), default=None)


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


def problems_of(scenario: str, side: str, steps: list[Step], capacity: Capacity) -> list[Problem]:
    """What would make a capacity another thing than it says."""
    found = []
    if capacity.no_interval and capacity.value is not None:
        text = f"{scenario}, {side}: the capacity has no interval: {capacity.no_interval}."
        todo = "Send more requests per step (--requests), and measure more often at its ends (--capacity-repeats)."
        found.append(Problem("warning", "no_interval", text, todo))
    if short := [step for step in steps if step.found.short_of_users]:
        first = min(short, key=lambda step: step.level)
        text = (
            f"{scenario}, {side}: {plural(len(short), 'step')} from {number(first.level)} {first.unit} on would have kept the limits as "
            f"sent: requests were sent late ({number(first.in_flight)} in flight on average at the first of them)."
        )
        found.append(
            Problem("warning", "short_of_users", text, "The capacity may be the load generator's: give more users (-u).")
        )
    if few := [step for step in steps if step.found.drift is None]:
        text = f"{scenario}, {side}: {plural(len(few), 'step')} had too few requests to see whether the queue grows."
        found.append(Problem("warning", "not_steady_known", text, "Send more per step (--requests 400)."))
    ends = {capacity.passed, capacity.failed}
    if brief := [step.lasted_s for step in steps if step.level in ends and step.lasted_s < SHORT_S]:
        text = f"{scenario}, {side}: the steps that enclose the capacity lasted {number(min(brief))} s."
        found.append(
            Problem(
                "warning",
                "short_steps",
                text,
                f"A queue needs time to show: send more per step, {SHORT_S:g} s at the least (--requests).",
            )
        )
    least = _least_hit(steps)
    if steps[0].side == "hit" and least is not None and least < LEAST_HIT:
        text = f"{scenario}, hit: only {percent(least)} of the prompt tokens were cached in one step."
        found.append(Problem("warning", "hit_is_not_hit", text, "The working set may exceed the cache: send fewer --requests."))
    return found


def own_trust(steps: list[Step], slo: Mapping[str, float], share: float) -> list[Said]:
    searches = [mine for scenario in dict.fromkeys(step.scenario for step in steps) for mine in by_side(steps, scenario).values()]
    without = sum(found_capacity(mine, slo, share).low is None for mine in searches)
    if without:
        known = Said(
            f"No interval for {without} of {plural(len(searches), 'search', 'searches')}: the steps do not carry one.", True
        )
    else:
        known = Said(
            "One search each: intervals (95 %) cover how finely and how often its levels were measured, not other runs.", True
        )
    return [known, Said(f"Objective: {objective_text(slo, share)}, counted from each request's intended start.")]


def capacity_page(folders: list[Path], slo: Mapping[str, float], share: float) -> Page:
    steps: list[Step] = []
    limits_of: list[dict[str, float]] = []
    runs = [load_run(folder) for folder in folders]
    for run in runs:
        some, limits = steps_of(run, slo, share)
        steps, limits_of = steps + some, [*limits_of, limits]
    if not steps:
        raise BadInput(f"{folders[0]}: no round of a --capacity search in these runs; give the folders that a search wrote")
    if len({step.unit for step in steps}) > 1:
        raise BadInput("some of these runs searched a rate, others users; give those of one kind")
    if len({str(sorted(limits.items())) for limits in limits_of}) > 1 or len({run.info.model for run in runs}) > 1:
        raise BadInput("the runs have different models or objectives; give the runs of one search, or one --slo for all")
    limits, info = limits_of[0], runs[0].info
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


def main() -> int:
    parser = command_parser(
        "capacity",
        "Judges the steps of a --capacity search again from their records: the highest sustained rate of each side, with its interval.",
        ["results/NAME_cold results/NAME_hit", "results/NAME_cold --slo ttft_ms=1000"],
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs of a search")
    parser.add_argument("--slo", nargs="+", default=[], metavar="NAME=MS", help="limits (default: those of the search)")
    parser.add_argument(
        "--share", type=float, default=0.9, metavar="Q", help="share of the requests within each limit (default: 0.9)"
    )
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: NAME_capacity beside the runs)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    page = capacity_page(args.runs, parse_slo(args.slo), args.share)
    base = re.sub(r"_(cold|hit)(_\w+)?$", "", args.runs[0].resolve().name)
    publish(page, args.output_dir or folder_beside(args.runs[0], f"{base}_capacity"), args.png)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
