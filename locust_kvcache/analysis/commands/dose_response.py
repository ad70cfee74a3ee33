"""Shows how the TTFT depends on the cached share (`locust-kvcache dose-response RUN ...`).

The achieved hit share of every request is checked against its cell's target before its TTFT says anything; the model is the runs' own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.number_text import number, percent, plural
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.pipeline import Analysis, open_run
from locust_kvcache.analysis.report.caveats import merged
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables import detail_tables
from locust_kvcache.analysis.tables.claim_words import short_lead
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, use_language
from locust_kvcache.workload.dose_response import Doses, cells

TOLERANCE = 0.02  # of the prompt, beside one block: prompt sizes are planned by calibration
RULE = "last turn of each session in round 1; repeat: round 2; on target: within one block and 2 % of the prompt; medians"


def doses_of(analysis: Analysis) -> tuple[str, Doses]:
    """The scenario with a grid, and the grid; BadInput for a run without one."""
    for scenario in analysis.info.scenarios:
        doses = Doses.from_dict(scenario.get("doses"))
        if doses is not None:
            return str(scenario["name"]), doses
    raise BadInput(f"{analysis.source}: key 'scenarios' has none with `doses`; expected a run of the dose_response scenario")


def dose_points(analysis: Analysis) -> pd.DataFrame:
    """One row per request that asked for a dose: its cell, what was achieved, whether that is on target, its TTFT."""
    name, doses = doses_of(analysis)
    grid = cells(doses, f"{analysis.info.seed}/{name}/doses")
    block = float(analysis.stats["block_size_tokens"])
    mine = analysis.requests[analysis.requests["scenario"].astype(str).eq(name) & analysis.requests["ok"].astype(bool)]
    rows = []
    for row in rows_of(mine):
        cell = grid[int(row["session_id"])]
        if row["turn"] != (2 if cell.hit_fraction > 0 else 1) or not row["prompt_tokens"]:
            continue
        target = 1.0 if row["round"] > 1 else cell.hit_fraction
        cached = row["reported_cached_tokens"]
        achieved = None if cached is None else cached / row["prompt_tokens"]
        margin = TOLERANCE + block / row["prompt_tokens"]
        met = None if achieved is None else abs(achieved - target) <= margin
        rows.append((cell.prompt_tokens, target, achieved, met, row["ttft_ms"]))
    return pd.DataFrame(rows, columns=["prompt_tokens", "target", "achieved", "on_target", "ttft_ms"])


def dose_table(points: pd.DataFrame) -> pd.DataFrame:
    """Per prompt length and target: requests, those on target, achieved share, median TTFT and its ratio to the uncached prompt's."""
    rows: list[dict[str, Any]] = []
    key: Any
    for key, group in points.groupby(["prompt_tokens", "target"]):
        rows.append(
            {
                "prompt_tokens": int(key[0]),
                "target": float(key[1]),
                "requests": len(group),
                "on_target": int(group["on_target"].eq(True).sum()),
                "achieved": group["achieved"].astype("float64").median(),
                "ttft_ms": group["ttft_ms"].median(),
            }
        )
    table = pd.DataFrame(rows, columns=["prompt_tokens", "target", "requests", "on_target", "achieved", "ttft_ms"])
    cold = table[table["target"].eq(0.0)].set_index("prompt_tokens")["ttft_ms"]
    return table.assign(ratio=table["ttft_ms"] / table["prompt_tokens"].map(cold))


def _view(table: pd.DataFrame, users: Any) -> Table:
    header = ("prompt tokens", "cached share wanted", "achieved", "requests", "on target", "TTFT, ms", "of uncached TTFT")
    rows = tuple(
        (f"{r['prompt_tokens']:,}", f"{r['target']:.0%}" + (" (repeat)" if r["target"] == 1 else ""), percent(r["achieved"]),
         str(r["requests"]), str(r["on_target"]), number(r["ttft_ms"]), percent(r["ratio"]))
        for r in rows_of(table)
    )  # fmt: skip
    return Table(f"TTFT by cached share, {plural(int(users or 0), 'user')}", header, rows, RULE)


def _chart(table: pd.DataFrame, users: Any) -> Chart:
    points = pd.DataFrame(
        {"label": [f"{n:,} tokens" for n in table["prompt_tokens"]], "x": 100 * table["achieved"], "y": table["ttft_ms"]}
    )
    longest = table[table["prompt_tokens"].eq(table["prompt_tokens"].max())].sort_values("target")
    last = longest.iloc[-1]
    saved = f"{percent(last['achieved'])} cached takes {percent(last['ratio'])} of the uncached TTFT"
    title = f"{saved} at {last['prompt_tokens']:,.0f} tokens, {plural(int(users or 0), 'user')}"
    said = "; ".join(
        f"{r['prompt_tokens']:,} tokens, {percent(r['achieved'])} cached: {number(r['ttft_ms'])} ms" for r in rows_of(table)
    )
    return draw(f"dose-{users}-users", title, said, lambda axes: study_drawing.draw_dose(axes, points))


def _sentence(analysis: Analysis, points: pd.DataFrame) -> str:
    users = analysis.info.users
    met = int(points["on_target"].eq(True).sum())
    said = f"{plural(int(users or 0), 'user')}: {met} of {plural(len(points), 'request')} were cached as planned"
    against = [short_lead(claim) for claim in analysis.stats.get("claims") or [] if claim["lead"]]
    if against:
        return f"{plural(int(users or 0), 'user')}: {'; '.join(against)}. {met} of {plural(len(points), 'request')} were cached as planned"
    found = {row["name"]: row for row in analysis.stats["ttft_model"]["parameters"]}
    for name, what in (("prefill_tokens_per_s", "computing"), ("load_tokens_per_s", "fetching")):
        if row := found.get(name):
            said += f"; {what} {number(row['value'])} tokens/s ({detail_tables.interval_text(row)})"
    return said


def dose_page(runs: list[Analysis]) -> Page:
    """A section for each number of users."""
    sections, said = [], []
    charts: list[Chart | None] = []
    for analysis in sorted(runs, key=lambda run: run.info.users or 0):
        points, users = dose_points(analysis), analysis.info.users
        if points.empty:
            raise BadInput(f"{analysis.source}: no request of the grid succeeded; look at the run's failures")
        table = dose_table(points)
        charts.append(_chart(table, users) if table["achieved"].notna().any() else None)
        sections.append(
            section(
                f"Users: {users}",
                [
                    charts[-1] if len(charts) > 1 else None,
                    _view(table, users),
                    detail_tables.no_model(analysis.stats) or detail_tables.model_table(analysis.stats),
                ],
            )
        )
        said.append(_sentence(analysis, points))
    first = runs[0].info
    return Page(
        title=f"TTFT by cached share: {first.model} on {first.deployment.name}",
        subtitle="grid of cached share and prompt length, in random order, at each number of users",
        lead=". ".join(said) + ".",
        details=(),
        answer=(),
        problems=merged((plural(int(run.info.users or 0), "user"), run.stats["problems"]) for run in runs),
        sections=tuple(sections),
        incomplete=not all(run.stats["complete"] for run in runs),
        chart=charts[0],
        trust=common_trust(
            [run.stats for run in runs],
            own=[
                Said("One run for each number of users: intervals (95 %) hold for this run; other runs may differ more.", True),
                Said("Rates are valid without queueing: use those with 1 user. With more users the TTFT includes queueing."),
            ],
        ),
    )


def main() -> int:
    parser = command_parser(
        "dose-response",
        "Shows how the TTFT depends on the cached share, from runs of the scenario dose_response.",
        ["results/NAME", "results/NAME_c1 results/NAME_c4"],
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run of dose_response; one per number of users"
    )
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: NAME_dose_response beside the first run)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    runs = [open_run(path) for path in args.runs]
    base = re.sub(r"_c\d+$", "", runs[0].run_id)
    publish(dose_page(runs), args.output_dir or folder_beside(args.runs[0], f"{base}_dose_response"), args.png)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
