"""python -m analysis.capacity RUN [RUN ...]: the runs of a --capacity search come in, the highest sustained rate of each side goes out.

Every step is judged again from its records, by the rules that the search itself used (scenarios.capacity); --slo asks for other limits.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import study_charts
from analysis.commands import run_command
from analysis.figures import Chart, draw
from analysis.goodput import meets_slo
from analysis.pages import Page, section
from analysis.problems import Problem
from analysis.runs import load_run
from analysis.study_pages import folder_beside, publish
from analysis.tidy import rows_of
from analysis.views import Table
from analysis.wording import DASH, number, percent, plural
from scenarios.capacity import Capacity, Judgement, Measured, capacity_of, judge, sample_of
from scenarios.errors import BadInput
from scenarios.slo import parse_slo

SIDES = ("cold", "hit")
RULE = "a rate is sustained when so many requests are within every limit, counted from their intended start, and the queue does not grow"


@dataclass(frozen=True)
class Step:
    """One measured round."""

    scenario: str
    deployment: str
    gpus: int | None
    side: str
    arrivals: str
    rate_per_s: float
    found: Judgement
    requests: int
    hit_share: float | None
    goodput_per_s: float
    in_flight: float | None  # mean, by Little's law


def steps_of(folder: Path, slo: Mapping[str, float], share: float) -> tuple[list[Step], dict[str, Any]]:
    """The measured rounds of one run, and its run.json. Rounds that only fill a cache or look for a start are none."""
    run = load_run(folder)
    limits = dict(slo) or run.info["deployment"].get("slo") or {}
    if not limits:
        raise BadInput(f"{folder}: key deployment.slo is {limits!r}; give --slo ttft_ms=2000")
    found = []
    for entry in run.info["rounds"]:
        told = entry.get("capacity")
        if not told or not entry.get("complete"):
            continue
        mine = run.records[run.records["scenario"].astype(str).eq(entry["scenario"]) & run.records["round"].eq(entry["round"])]
        found.append(_step(entry["scenario"], run.info["deployment"], told, mine, limits, share))
    return found, {**run.info, "slo": limits}


def _step(
    scenario: str, deployment: dict[str, Any], told: dict[str, Any], records: pd.DataFrame, slo: Mapping[str, float], share: float
) -> Step:
    samples = [sample for row in rows_of(records) if (sample := sample_of(row))]
    known = records[records["reported_cached_tokens"].notna() & records["prompt_tokens"].gt(0)]
    lag_ms = records["schedule_lag_ms"].fillna(0.0)
    intended = records.assign(ttft_ms=records["ttft_ms"] + lag_ms, e2e_ms=records["e2e_ms"] + lag_ms)
    requests_per_s = float(told["request_rate_per_s"]) * len(records) / max(1, records["session_id"].nunique())
    mean_s = float(records["e2e_ms"].mean()) / 1000
    return Step(
        scenario=scenario,
        deployment=str(deployment.get("name")),
        gpus=deployment.get("gpus"),
        side=str(told["side"]),
        arrivals=str(told["kind"]),
        rate_per_s=float(told["request_rate_per_s"]),
        found=judge(samples, slo, share),
        requests=len(records),
        hit_share=float(known["reported_cached_tokens"].sum() / known["prompt_tokens"].sum()) if len(known) else None,
        goodput_per_s=requests_per_s * float(meets_slo(intended, slo).mean()) if len(records) else 0.0,
        in_flight=None if pd.isna(mean_s) else requests_per_s * mean_s,
    )


def by_side(steps: list[Step], scenario: str) -> dict[str, list[Step]]:
    """The steps of each search: cold and hit, of each deployment where there are several."""
    mine = [step for step in steps if step.scenario == scenario]
    several = len({step.deployment for step in mine}) > 1
    found: dict[str, list[Step]] = {}
    for step in sorted(mine, key=lambda step: (step.deployment, SIDES.index(step.side))):
        found.setdefault(f"{step.deployment} {step.side}" if several else step.side, []).append(step)
    return found


def found_capacity(steps: list[Step]) -> Capacity:
    return capacity_of([Measured(step.rate_per_s, step.found.sustained) for step in steps])


def capacity_text(found: Capacity) -> str:
    """4.10 [3.90, 4.30], or which side has no bound."""
    if found.value is not None:
        return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
    return f"at least {number(found.low)}" if found.low is not None else f"below {number(found.high)}"


def objective_text(slo: Mapping[str, float], share: float) -> str:
    return " and ".join(
        f"{name.removesuffix('_ms').upper()} p{share * 100:g} under {number(limit / 1000)} s" for name, limit in slo.items()
    )


def sentence(scenario: str, sides: Mapping[str, list[Step]], slo: Mapping[str, float], share: float) -> str:
    found = {side: found_capacity(steps) for side, steps in sides.items()}
    at = objective_text(slo, share)
    if set(found) == set(SIDES) and all(one.value is not None for one in found.values()):
        cold, hit = capacity_text(found["cold"]), capacity_text(found["hit"])
        verb = "raises" if (found["hit"].value or 0) > (found["cold"].value or 0) else "does not raise"
        return f"{scenario}: the cache {verb} capacity: {cold} cold, {hit} hit, sessions/s at {at}"
    return f"{scenario}: " + "; ".join(f"{side}: capacity {capacity_text(one)} sessions/s at {at}" for side, one in found.items())


def answer_table(scenario: str, sides: Mapping[str, list[Step]]) -> Table:
    """The capacities beside one another, per GPU as well, and the concurrency that belongs to each."""
    rows = []
    for side, steps in sides.items():
        found, gpus = found_capacity(steps), steps[0].gpus
        at_low = [step for step in steps if step.rate_per_s == found.low]
        in_flight = [step.in_flight for step in at_low if step.in_flight is not None]
        per_gpu = number(found.value / gpus) if gpus and found.value is not None else DASH
        rows.append((side, capacity_text(found), per_gpu, number(max(in_flight)) if in_flight else DASH, str(found.steps)))
    header = ("search", "capacity, sessions/s", "per GPU", "requests in flight at its lower end", "steps")
    return Table(f"{scenario}: capacity", header, tuple(rows), RULE)


def step_table(scenario: str, side: str, steps: list[Step], slo: Mapping[str, float], share: float) -> Table:
    names = [f"{name.removesuffix('_ms').upper()} p{share * 100:g}, ms" for name in slo]
    header = (
        "sessions/s",
        "verdict",
        *names,
        "queue grows, ms/s",
        "goodput, requests/s",
        "in flight",
        "hit share",
        "requests",
        "why",
    )
    rows = tuple(
        (number(step.rate_per_s, 4), "sustained" if step.found.sustained else "not sustained",
         *(number(step.found.percentiles[name]) for name in slo),
         DASH if step.found.drift is None else number(1000 * step.found.drift), number(step.goodput_per_s), number(step.in_flight),
         percent(step.hit_share), str(step.requests), "" if step.found.sustained else step.found.why)
        for step in sorted(steps, key=lambda step: step.rate_per_s)
    )  # fmt: skip
    return Table(f"{scenario}, {side}: steps", header, rows, RULE, texts=(1, len(header) - 1))


def capacity_chart(scenario: str, sides: Mapping[str, list[Step]], slo: Mapping[str, float], share: float) -> Chart | None:
    name, limit = next(iter(slo.items()))
    rows = [
        (side, step.rate_per_s, step.found.percentiles[name], step.found.sustained)
        for side, steps in sides.items()
        for step in steps
    ]
    points = pd.DataFrame([row for row in rows if row[2] is not None], columns=["label", "x", "y", "passed"])
    if points.empty:
        return None
    found = {side: found_capacity(steps) for side, steps in sides.items()}
    bands = [(side, one.low, one.high) for side, one in found.items() if one.low is not None and one.high is not None]
    said = ", ".join(f"{capacity_text(one)} {side}" for side, one in found.items())
    title = f"{scenario}: capacity {said} sessions/s at {objective_text(slo, share)}"
    text = "; ".join(
        f"{row[0]} {number(row[1])}/s: {number(row[2])} ms, {'sustained' if row[3] else 'not sustained'}" for row in rows
    )
    label = f"{name.removesuffix('_ms').upper()} p{share * 100:g}"
    return draw(f"capacity-{scenario}".replace("_", "-"), title, text,
                lambda axes: study_charts.draw_capacity(axes, points, limit, label, bands))  # fmt: skip


def problems_of(scenario: str, side: str, steps: list[Step]) -> list[Problem]:
    """What would make a capacity another thing than it says."""
    found = []
    if short := [step for step in steps if step.found.short_of_users]:
        text = (
            f"{scenario}, {side}: at {number(min(step.rate_per_s for step in short))} sessions/s and above all users were busy."
        )
        found.append(
            Problem("warning", "short_of_users", text, "The capacity may be the load generator's: give more users (-u).")
        )
    if few := [step for step in steps if step.found.drift is None]:
        text = f"{scenario}, {side}: {plural(len(few), 'step')} had too few requests to see whether the queue grows."
        found.append(Problem("warning", "not_steady_known", text, "Send more per step (--requests 200)."))
    hits = [step.hit_share for step in steps if step.hit_share is not None]
    if steps[0].side == "hit" and hits and min(hits) < 0.5:
        text = f"{scenario}, hit: only {percent(min(hits))} of the prompt tokens were cached in one step."
        found.append(Problem("warning", "hit_is_not_hit", text, "The working set may exceed the cache: send fewer --requests."))
    return found


def capacity_page(folders: list[Path], slo: Mapping[str, float], share: float) -> Page:
    steps: list[Step] = []
    infos: list[dict[str, Any]] = []
    for folder in folders:
        some, info = steps_of(folder, slo, share)
        steps, infos = steps + some, [*infos, info]
    if not steps:
        raise BadInput(f"{folders[0]}: no round of a --capacity search in these runs; give the folders that a search wrote")
    if len({str(sorted(info["slo"].items())) for info in infos}) > 1 or len({info.get("model") for info in infos}) > 1:
        raise BadInput("the runs have different models or objectives; give the runs of one search, or one --slo for all")
    limits, info = infos[0]["slo"], infos[0]
    sections, said, problems = [], [], []
    for scenario in dict.fromkeys(step.scenario for step in steps):
        sides = by_side(steps, scenario)
        blocks: list[Any] = [answer_table(scenario, sides), capacity_chart(scenario, sides, limits, share)]
        for side, mine in sides.items():
            blocks.append(step_table(scenario, side, mine, limits, share))
            problems += problems_of(scenario, side, mine)
        sections.append(section(scenario, blocks))
        said.append(sentence(scenario, sides, limits, share))
    subtitle = (
        f"highest sustained rate at {objective_text(limits, share)}; {steps[0].arrivals} arrivals; {plural(len(steps), 'step')}"
    )
    return Page(
        title=f"Capacity: {info.get('model')} on {', '.join(dict.fromkeys(step.deployment for step in steps))}",
        subtitle=subtitle,
        lead=". ".join(said) + ".",
        details=(),
        answer=(),
        problems=tuple(problem.to_dict() for problem in problems),
        sections=tuple(sections),
        incomplete=not all(info.get("complete") for info in infos),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m analysis.capacity", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs of a search")
    parser.add_argument("--slo", nargs="+", default=[], metavar="NAME=MS", help="limits (default: those of the search)")
    parser.add_argument(
        "--share", type=float, default=0.9, metavar="Q", help="share of the requests within each limit (default: 0.9)"
    )
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: NAME_capacity beside the runs)")
    args = parser.parse_args()
    page = capacity_page(args.runs, parse_slo(args.slo), args.share)
    base = re.sub(r"_(cold|hit)(_\w+)?$", "", args.runs[0].resolve().name)
    publish(page, args.output_dir or folder_beside(args.runs[0], f"{base}_capacity"))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
