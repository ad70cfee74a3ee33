"""Says what the other tenants cost a quiet one, in the runs of --noisy-neighbour (`locust-kvcache noisy-neighbour RUN ...`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from locust_kvcache.analysis.across_runs.noisy_neighbour import ALONE, BESIDE, SIDES, Side, differences, points, side_values
from locust_kvcache.analysis.basics.number_text import DASH, change, is_missing, number, percent, plural
from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.basics.problems import Problem, sorted_problems
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.pipeline import Analysis, open_run
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables.table import Table, scenarios
from locust_kvcache.analysis.tables.tenant_tables import tenant_table
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, use_language

NAMES = {"hit_rate": "hit rate", "ttft_p50_ms": "TTFT P50, ms", "ttft_p90_ms": "TTFT P90, ms"}
RULE = (
    "over the pairs of runs: mean of the hit rate, geometric mean of the TTFT; Student's 95 % intervals over pairs, "
    "that of a hit rate's change within ±100 points"
)


def side_of(run: Analysis) -> Side:
    study = run.info.study
    pair, side, tenant = study.get("pair"), study.get("side"), study.get("tenant")
    if not isinstance(pair, int) or side not in SIDES or not isinstance(tenant, str):
        raise BadInput(f"{run.source}: key study is {dict(study)!r}; expected a run of --noisy-neighbour")
    return Side(pair, side, tenant, run.requests)


def _points(row: dict[str, Any]) -> str:
    """A difference of hit rates in points: −41.2 points [−45.0, −37.4]."""
    said = f"{100 * row['difference']:+.1f} points".replace("-", "−")
    if is_missing(row["low"]):
        return f"{said} [no interval]"
    ends = ", ".join(f"{100 * end:+.1f}".replace("-", "−") for end in (row["low"], row["high"]))
    return f"{said} [{ends}]"


def difference_text(row: dict[str, Any]) -> str:
    return _points(row) if row["metric"] == "hit_rate" else change(row)


def difference_table(rows: list[dict[str, Any]], scenario: str, tenant: str) -> Table:
    def value(row: dict[str, Any], side: str) -> str:
        return percent(row[side]) if row["metric"] == "hit_rate" else number(row[side])

    body = tuple(
        (
            f"round {row['round']}: {NAMES[row['metric']]}",
            value(row, ALONE),
            value(row, BESIDE),
            difference_text(row),
            str(row["pairs"]),
        )
        for row in rows
        if row["scenario"] == scenario
    )
    title = f"{scenario}: {tenant} alone, and beside the other tenants"
    return Table(title, ("", "alone", "beside", "change [interval]", "pairs"), body, RULE)


def _lead(rows: list[dict[str, Any]], tenant: str) -> str:
    said = []
    for row in rows:
        if row["metric"] == "hit_rate":
            said.append(f"round {row['round']}: hit rate of {tenant} {percent(row[ALONE])} alone, {percent(row[BESIDE])} beside")
        elif row["metric"] == "ttft_p50_ms" and said:
            said[-1] += f", its median TTFT {change(row)}"
    return "; ".join(said) + "." if said else f"No cached tokens were reported of {tenant}: compare its TTFT below."


def _problems(sides: Sequence[Side], runs: Sequence[Analysis]) -> list[Problem]:
    incomplete = [run.run_id for run in runs if not run.stats["complete"]]
    found = (
        [Problem("error", "incomplete", f"Incomplete runs: {', '.join(incomplete)}.", "Measure their pairs again.")]
        if incomplete
        else []
    )
    pairs = len({side.pair for side in sides})
    if pairs < 3:
        text = f"{plural(pairs, 'pair')}: {'no interval' if pairs == 1 else 'the interval is valid, and wide'}."
        found.append(Problem("warning" if pairs == 1 else "note", "few_pairs", text, "Use --repeat 3 or more."))
    return found


def _chart(sides: Sequence[Side], scenario: str, tenant: str) -> Chart | None:
    """The median TTFT of each run of a whole pair as a point; in figures their geometric means, as in the table."""
    shown = points(side_values(sides), scenario, "ttft_p50_ms")
    if shown.empty:
        return None
    shown = shown.assign(place=shown["side"].map(SIDES.index))
    means = {key: geometric_mean(rows["value"]) for key, rows in shown.groupby(["side", "round"])}
    said = "; ".join(f"{side}, round {round_}: {number(value)} ms" for (side, round_), value in means.items())
    title = f"{scenario}: median TTFT of {tenant} in each run, figures are geometric means"
    return draw(
        f"noisy-neighbour-{scenario}",
        title,
        said,
        lambda axes: study_drawing.draw_repeats(axes, shown, list(SIDES), "median TTFT of a run"),
    )


def study_page(runs: Sequence[Analysis]) -> Page:
    sides = [side_of(run) for run in runs]
    tenants = {side.tenant for side in sides}
    if len(tenants) > 1:
        raise BadInput(f"the runs are of tenants {', '.join(sorted(tenants))}; expected the runs of one --noisy-neighbour")
    (tenant,) = tenants
    rows = differences(side_values(sides))
    if not rows:
        raise BadInput(
            f"no pair is whole: {', '.join(f'{side.side} {side.pair}' for side in sides)}; expected alone and beside of a pair"
        )
    names = list(dict.fromkeys(row["scenario"] for row in rows))
    charts = [_chart(sides, name, tenant) for name in names]
    tables = [difference_table(rows, name, tenant) for name in names]
    beside = [run for run, side in zip(runs, sides, strict=True) if side.side == BESIDE]
    sections = [
        section(f"Scenario {name}", [chart if place else None, table, *_of_all(beside, name)], is_open=True)
        for place, (name, chart, table) in enumerate(zip(names, charts, tables, strict=True))
    ]
    return Page(
        title=f"Noisy neighbour: {tenant} alone and beside the others, {runs[0].info.model} on {runs[0].info.deployment.name}",
        subtitle=f"{plural(len({side.pair for side in sides}), 'pair')} of runs, at {_rate(runs[0])}",
        lead=_lead(rows, tenant),
        details=(),
        answer=(),
        problems=tuple(plain(vars(problem)) for problem in sorted_problems(_problems(sides, runs))),
        sections=tuple(sections),
        incomplete=not all(run.stats["complete"] for run in runs),
        chart=charts[0],
        trust=common_trust(
            [run.stats for run in runs],
            own=[Said("A pair is one observation: intervals (95 %) cover the variation from pair to pair.")],
        ),
        short=tuple(tables),
    )


def _of_all(beside: Sequence[Analysis], scenario: str) -> list[Table]:
    """The tenants of the first run that has them all."""
    return [tenant_table(run.stats, scenario) for run in beside[:1] if scenario in scenarios(run.stats)]


def _rate(run: Analysis) -> str:
    rate = run.info.arrival.request_rate_per_s
    return f"{number(rate) if rate else DASH} sessions/s of all tenants together"


def main() -> int:
    parser = command_parser(
        "noisy-neighbour",
        "Says what the other tenants cost a quiet one, in the runs of --noisy-neighbour.",
        ["results/NAME_alone* results/NAME_beside*"],
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs of one study")
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: NAME_noisy_neighbour beside the runs)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    base = re.sub(r"_(alone|beside)\d+$", "", args.runs[0].resolve().name)
    with unusable_is_bad_input(*args.runs):
        page = study_page([open_run(path) for path in args.runs])
    publish(page, args.output_dir or folder_beside(args.runs[0], f"{base}_noisy_neighbour"), args.png)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
