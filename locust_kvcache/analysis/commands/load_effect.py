"""Shows what a hit saves one user alone, and what it saves under load, in runs of one scenario (`locust-kvcache load-effect RUN ...`).

The runs differ in their load alone: all at once, at a rate, one user; several of each. docs/load-effect.md says how to play them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs import load_effect
from locust_kvcache.analysis.across_runs.load_effect import Split, Way
from locust_kvcache.analysis.across_runs.run_validity import validity_problems
from locust_kvcache.analysis.basics.number_text import DASH, change, number, percent
from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.basics.problems import Problem, sorted_problems
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.charts.stacked_bars import draw_totals
from locust_kvcache.analysis.pipeline import Analysis, open_run
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.load_effect_words import counted, few_runs, lead_text
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables.claim_words import arm_words
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, use_language

RULE = "one value per run; geometric means; Student's 95 % intervals of the runs' logarithms"
PARTS_RULE = (
    "own prefill: TTFT of one user in that state; queue: by the servers' counters, beyond one user's; sharing: the rest, that is "
    "front ends, engine steps and KV loads shared with others"
)
OWN, QUEUE, SHARING, BOTH = "own prefill", "queue", "sharing (the rest)", "queue and sharing"
GIVEN = "the rate is given"
MINUS = "\u2212"


def _with_interval(row: dict[str, Any]) -> str:
    low, high = row["low"], row["high"]
    return number(row["mean"]) if low is None else f"{number(row['mean'])} [{number(low)}, {number(high)}]"


def _name(row: Split) -> str:
    return f"{row.way}: {arm_words(row.state)}"


def change_table(rows: Sequence[Split], ways: Sequence[Way], scenario: str) -> Table:
    given = {way.name for way in ways if way.given_rate}
    body = tuple(
        (_name(row), str(row.ttft["runs"]), _with_interval(row.ttft), DASH if row.ttft_change is None else change(row.ttft_change),
         number(row.rate["mean"]), DASH if row.rate_change is None else GIVEN if row.way in given else change(row.rate_change))
        for row in rows
    )  # fmt: skip
    header = ("", "runs", "mean TTFT, ms [interval]", "change [interval]", "requests/s", "change [interval]")
    return Table(f"{scenario}: each cache state under each way of loading", header, body, RULE)


def parts_table(rows: Sequence[Split], scenario: str) -> Table:
    """The mean TTFT taken apart, and what a hit saves of each part."""
    body = []
    for row in rows:
        total, own = load_effect.saved(rows, row.way, row.state)
        cells = (
            number(row.ttft_ms),
            *(DASH if part is None else number(round(part, 1)) for part in (row.own_ms, row.queue_ms, row.sharing_ms)),
        )
        first = row.ttft_change is None
        body.append(
            (
                _name(row),
                *cells,
                DASH if first else number(total).replace("-", MINUS),
                DASH if first or own is None else _of(own, total),
            )
        )
    header = ("", "mean TTFT, ms", OWN, QUEUE, SHARING, "saved, ms", "of it one user saves")
    notes = (
        ()
        if any(row.queue_ms is not None for row in rows)
        else ("No server reports its queue time, so it is included in sharing.",)
    )
    return Table(f"{scenario}: parts of the mean TTFT", header, tuple(body), PARTS_RULE, notes)


def _of(own: float, total: float) -> str:
    if own <= 0:
        return f"nothing ({number(-own)} more)"
    return f"{number(own)} ({percent(own / total)})" if total >= own else number(own)


def parts_chart(rows: Sequence[Split], scenario: str) -> Chart | None:
    if any(row.sharing_ms is None for row in rows):
        return None
    counted = any(row.queue_ms is not None for row in rows)
    bars = []
    for row in rows:
        parts = (
            ((OWN, row.own_ms), (QUEUE, row.queue_ms), (SHARING, row.sharing_ms))
            if counted
            else ((OWN, row.own_ms), (BOTH, row.sharing_ms))
        )
        bars += [(_name(row), part, value) for part, value in parts]
    frame = pd.DataFrame(bars, columns=["group", "part", "value"]).fillna({"value": 0.0})
    said = "; ".join(f"{_name(row)}: {number(row.ttft_ms)} ms, of it own prefill {number(row.own_ms)}" for row in rows)
    title = "Mean TTFT in parts: own prefill, queue, sharing"
    return draw(
        f"load-effect-{scenario}", title, said, lambda axes: draw_totals(axes, frame, "mean TTFT"), (7.6, 0.9 + 0.36 * len(rows))
    )


def _problems(runs: Sequence[Analysis], left_out: Sequence[Analysis]) -> list[Problem]:
    found = validity_problems({run.run_id: run.stats for run in runs})
    if left_out:
        names = ", ".join(run.run_id for run in left_out)
        found.append(Problem("warning", "incomplete", f"Left out, as incomplete: {names}.", "Run them again, or --resume them."))
    if missing := load_effect.unshared_states(runs):
        text = f"Not compared and not judged: {' and '.join(map(arm_words, missing))}, which not every run has."
        found.append(Problem("warning", "arms_not_shared", text, "Give the runs the same --arms."))
    return found


def study_page(given: Sequence[Analysis]) -> tuple[Page, dict[str, Any]]:
    """The page, and what load_effect.json holds. Incomplete runs are left out, and named."""
    runs = [run for run in given if run.stats["complete"]]
    if not runs:
        raise BadInput(f"none of the {len(given)} runs is complete; give complete runs, or --resume them")
    twice = {run.run_id for run in runs if [other.run_id for other in runs].count(run.run_id) > 1}
    if twice:
        raise BadInput(f"run {', '.join(sorted(twice))} is given more than once; expected each run once")
    scenario = load_effect.scenario_of(runs)
    ways = load_effect.ways_of(runs)
    rows = load_effect.splits(ways, load_effect.common_states(runs))
    chart, tables = parts_chart(rows, scenario), (change_table(rows, ways, scenario), parts_table(rows, scenario))
    problems = _problems(runs, [run for run in given if not run.stats["complete"]])
    counts = ", ".join(counted(way) for way in ways)
    page = Page(
        title=f"What a hit saves one user, and what under load: {scenario}",
        subtitle=f"{runs[0].info.model} on {runs[0].info.deployment.name}: {counts}",
        lead=lead_text(ways, rows),
        details=(),
        answer=(),
        problems=tuple(plain(vars(problem)) for problem in sorted_problems(problems)),
        sections=(section(f"Scenario {scenario}", tables, is_open=True),),
        incomplete=False,
        chart=chart,
        trust=common_trust(
            [run.stats for run in runs],
            own=[
                *(Said(text, True) for text in few_runs(ways)),
                Said("Intervals (95 %) cover the variation from run to run."),
            ],
        ),
        short=(tables[1],),
    )
    return page, {"scenario": scenario, "runs": [run.run_id for run in runs], "lead": page.lead, "states": _json(rows)}


def _json(rows: Sequence[Split]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        total, own = load_effect.saved(rows, row.way, row.state)
        found.append({
            "way": row.way, "state": row.state, "runs": row.ttft["runs"],
            "ttft_ms": row.ttft_ms, "ttft_ms_low": row.ttft["low"], "ttft_ms_high": row.ttft["high"],
            "ttft_ratio": _ratio(row.ttft_change), "requests_per_s": row.rate["mean"], "requests_per_s_ratio": _ratio(row.rate_change),
            "own_prefill_ms": row.own_ms, "queue_ms": row.queue_ms, "sharing_ms": row.sharing_ms, "saved_ms": total, "saved_own_ms": own,
        })  # fmt: skip
    return found


def _ratio(row: dict[str, Any] | None) -> list[float | None] | None:
    """The ratio against the first state, and its interval."""
    return None if row is None else [row["ratio"], row["ratio_low"], row["ratio_high"]]


def main() -> int:
    parser = command_parser(
        "load-effect",
        "Shows what a hit saves one user alone, and what it saves under load: runs of one scenario all at once, at a rate, with one user.",
        ["results/all_* results/rate_* results/one_*"],
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs; one user among them, several of each way"
    )
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: load_effect beside the first run)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    with unusable_is_bad_input(*args.runs):
        page, found = study_page([open_run(path) for path in args.runs])
    folder = args.output_dir or folder_beside(args.runs[0], "load_effect")
    publish(page, folder, args.png, figures=("load_effect.json", found))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
