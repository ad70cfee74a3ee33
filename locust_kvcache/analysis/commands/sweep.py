"""Shows runs with different numbers of users in one table and chart per scenario (`locust-kvcache sweep RUN ...`).

Makes the page of a `--concurrency 1 5 10` run: what cold and hit cost at each level, and where more users stop paying.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.metrics import ROUND, SWEPT
from locust_kvcache.analysis.basics.number_text import DASH, change, is_missing, listed, number, plural, ratio_change
from locust_kvcache.analysis.charts import drawing, study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.charts.run_charts import slug
from locust_kvcache.analysis.pipeline import open_run
from locust_kvcache.analysis.report.caveats import merged
from locust_kvcache.analysis.report.command_line import add_language, add_png
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.publish import publish
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables.sentences import deployment_text
from locust_kvcache.analysis.tables.table import Stats, Table, find, run_of, scenarios
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import use_language

COLUMNS = tuple((metric.swept, metric.key, None if metric.of == ROUND else "mean") for metric in SWEPT)
RULE = (
    "by round: cold is round 1, hits are the later rounds; figures are means; each number of users is a run with its own prompts"
)
SIDES = ("cold", "hit")
MOST_LEVELS = 3  # in a sentence
MOST_ROWS = 6  # of the table on the first screen
NO_INTERVAL, UNDECIDED, EXCLUDES = "no interval", "undecided", "excludes no change"


def users_of(stats: Stats) -> int:
    users = run_of(stats).users
    if users is None:
        raise BadInput(
            f"{run_of(stats).run_id}: key 'users' is {stats['run'].get('users')!r}; expected the number of users of a run of a sweep"
        )
    return users


def by_users(runs: list[Stats]) -> dict[int, Stats]:
    """Runs in the order of their users; BadInput for two of the same level, or of different models."""
    found: dict[int, Stats] = {}
    for stats in sorted(runs, key=users_of):
        if users_of(stats) in found:
            raise BadInput(f"two runs have {plural(users_of(stats), 'user')}; give one run per level, or use compare_results")
        found[users_of(stats)] = stats
    models = {run_of(stats).model for stats in runs}
    if len(models) > 1:
        raise BadInput(f"the runs are of different models: {', '.join(sorted(map(str, models)))}; a sweep is of one")
    return found


def effect(stats: Stats, scenario: str, metric: str, statistic: str | None) -> dict[str, Any]:
    """Cold (baseline) and hit (contender) of one metric with their ratio's interval; empty where there is none."""
    wanted = {"statistic": statistic} if statistic else {}
    return next(iter(find(stats["effects"], split="round", scenario=scenario, metric=metric, **wanted)), {})


def level_table(levels: dict[int, Stats], scenario: str) -> Table:
    """A row for each metric and number of users, and the failures: few columns, so that it fits a narrow page."""
    rows: list[tuple[str, ...]] = []
    for name, metric, statistic in COLUMNS:
        for users, stats in levels.items():
            row = effect(stats, scenario, metric, statistic)
            cells = (number(row.get("baseline")), number(row.get("contender")), change(row) if row else DASH)
            rows.append((f"{name}: {plural(users, 'user')}", *cells))
    for users, stats in levels.items():
        rounds = find(stats["rounds"], scenario=scenario)
        failed = [sum(row["failed"] for row in rounds if (row["round"] == 1) == cold) for cold in (True, False)]
        rows.append((f"requests failed: {plural(users, 'user')}", *map(str, failed), DASH))
    return Table(f"{scenario}: cold and hit by concurrency", ("", *SIDES, "change [interval]"), tuple(rows), RULE)


def level_chart(levels: dict[int, Stats], scenario: str, metric: str, statistic: str | None, name: str) -> Chart | None:
    """One line each for cold and hit, over the number of users."""
    rows = [(users, effect(stats, scenario, metric, statistic)) for users, stats in levels.items()]
    points = [(users, row["baseline"], row["contender"]) for users, row in rows if row]
    if len(points) < 2:
        return None
    frame = pd.DataFrame(points, columns=["users", *SIDES])
    said = "; ".join(f"{plural(users, 'user')}: {number(cold)} cold, {number(hit)} hit" for users, cold, hit in points)
    title = f"{scenario}: {name}, cold and hit, by concurrency"
    return draw(slug(f"sweep-{metric}-{scenario}"), title, said, lambda axes: drawing.draw_levels(axes, frame, name, metric))


def sweep_page(levels: dict[int, Stats]) -> Page:
    names = list(dict.fromkeys(name for stats in levels.values() for name in scenarios(stats)))
    first = run_of(next(iter(levels.values())))
    sections = []
    for scenario in names:
        made = (("ttft_ms", "mean", "mean TTFT"), ("requests_per_s", None, "requests/s"))
        found = [level_chart(levels, scenario, *what) for what in made]
        sections.append(section(f"Scenario {scenario}", found[1:] if len(names) == 1 else found))
    shown = short_table(levels, names)
    on_top = len(shown.rows) <= MOST_ROWS
    details = {name: f"{sentence(levels, name)}." for name in names} if len(names) > 1 else {}
    runs = Table("Runs", ("run", "users"), tuple((str(run_of(s).run_id), str(u)) for u, s in levels.items()))
    tables = [block for name in names for block in (details.get(name), level_table(levels, name))]
    return Page(
        title=f"KV cache by concurrency: {first.model} on {first.deployment.name}",
        subtitle=f"{deployment_text(first)}; {listed(levels)} users, one run each",
        lead=lead(levels, names),
        details=(),
        answer=section("", [None if on_top else shown, *tables]).blocks,
        problems=merged((plural(users, "user"), stats["problems"]) for users, stats in levels.items()),
        sections=tuple(part for part in (*sections, section("Runs", [runs])) if part.blocks),
        incomplete=not all(stats["complete"] for stats in levels.values()),
        chart=level_chart(levels, names[0], "ttft_ms", "mean", "mean TTFT") if len(names) == 1 else share_chart(levels, names),
        table=shown if on_top else None,
        trust=trust(levels, names),
        short=(shown,),
    )


def short_table(levels: dict[int, Stats], names: list[str]) -> Table:
    """For the console: a row for each scenario and level."""
    rows = []
    for name in names:
        for users, stats in levels.items():
            ttft, rate = effect(stats, name, "ttft_ms", "mean"), effect(stats, name, "requests_per_s", None)
            told = [number(row.get(side)) for row in (ttft, rate) for side in ("baseline", "contender")]
            where = f"{name}, " if len(names) > 1 else ""
            rows.append((f"{where}{plural(users, 'user')}", *told[:2], change(ttft) if ttft else DASH, *told[2:]))
    header = ("mean TTFT", "cold, ms", "hit, ms", "change [interval]", "requests/s cold", "hit")
    return Table("", header, tuple(rows), RULE)


def sentence(levels: dict[int, Stats], scenario: str) -> str:
    """What a hit changes at each level, in words; of more than three levels at the fewest and the most users."""
    shown = levels if len(levels) <= MOST_LEVELS else {users: levels[users] for users in (min(levels), max(levels))}
    parts = []
    for users, stats in shown.items():
        row = effect(stats, scenario, "ttft_ms", "mean")
        parts.append(f"{_with_times(row)} at {plural(users, 'user')}")
    return f"{scenario}: a hit changes the mean TTFT by {', '.join(parts)}"


def _with_times(row: dict[str, Any]) -> str:
    """−92.7 % [−94.5, −90.2] (1,750 to 128 ms)."""
    return f"{change(row)} ({number(row['baseline'])} to {number(row['contender'])} ms)" if row else "no comparison"


def lead(levels: dict[int, Stats], names: list[str]) -> str:
    """The sentence of the only scenario; of several, in how many a hit cuts the TTFT, at the fewest and at the most users."""
    if len(names) == 1:
        return f"{sentence(levels, names[0])}."
    ends = sorted({min(levels), max(levels)})
    return " ".join(_counted(users, [effect(levels[users], name, "ttft_ms", "mean") for name in names]) for users in ends)


def _counted(users: int, rows: list[dict[str, Any]]) -> str:
    """At 1 user a hit cuts the mean TTFT in 2 of 4 scenarios (−56.7 to −86.7 %); 2 are undecided."""
    kinds = [interval_kind(row) for row in rows]
    sure = [row["ratio"] for row, kind in zip(rows, kinds, strict=True) if kind == EXCLUDES]
    cut, raised = [ratio for ratio in sure if ratio < 1], [ratio for ratio in sure if ratio > 1]
    if sure:
        some = f" ({_from_to(cut)})" if cut else ""
        parts = [f"At {plural(users, 'user')} a hit cuts the mean TTFT in {len(cut)} of {plural(len(rows), 'scenario')}{some}"]
    else:
        parts = [f"At {plural(users, 'user')} the change of the mean TTFT is certain in no scenario"]
    parts += [f"it raises the mean TTFT in {len(raised)} ({_from_to(raised)})"] if raised else []
    parts += [f"undecided in {count}" for count in [kinds.count(UNDECIDED)] if count]
    parts += [f"no interval in {count} (too few requests)" for count in [kinds.count(NO_INTERVAL)] if count]
    return f"{'; '.join(parts)}."


def _from_to(ratios: list[float]) -> str:
    """−56.7 % to −86.7 %."""
    texts = list(dict.fromkeys(ratio_change(ratio) for ratio in sorted(ratios, reverse=True)))
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def interval_kind(row: dict[str, Any]) -> str:
    """Whether there is an interval, and whether it excludes no change."""
    if is_missing(row.get("ratio_low")):
        return NO_INTERVAL
    return UNDECIDED if row["ratio_low"] <= 1 <= row["ratio_high"] else EXCLUDES


def share_chart(levels: dict[int, Stats], names: list[str]) -> Chart | None:
    """The TTFT of a hit as a share of the cold one, a line per scenario, with intervals."""
    rows = [(name, users, effect(stats, name, "ttft_ms", "mean")) for name in names for users, stats in levels.items()]
    known = [(name, users, row) for name, users, row in rows if row.get("ratio")]
    points = pd.DataFrame(
        [(name, users, *(_hundredfold(row[key]) for key in ("ratio", "ratio_low", "ratio_high"))) for name, users, row in known],
        columns=["label", "x", "y", "low", "high"],
    )
    if points["x"].nunique() < 2:
        return None
    said = "; ".join(f"{name}, {plural(users, 'user')}: {change(row)}" for name, users, row in known)
    return draw(
        "sweep-ttft-share",
        "TTFT of a hit against cold, by concurrency, with 95 % intervals",
        said,
        lambda axes: study_drawing.draw_shares(axes, points),
    )


def _hundredfold(share: float | None) -> float | None:
    return None if share is None else 100 * share


def trust(levels: dict[int, Stats], names: list[str]) -> tuple[str, ...]:
    """What every page says; how many of the changes are certain; that each level is one run."""
    rows = [effect(stats, name, "ttft_ms", "mean") for name in names for stats in levels.values()]
    kinds = [interval_kind(row) for row in rows if row]
    sure, unsure, none = (kinds.count(kind) for kind in (EXCLUDES, UNDECIDED, NO_INTERVAL))
    counts = [(sure, "certain"), (unsure, "undecided"), (none, "without an interval (too few requests)")]
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return common_trust(
        list(levels.values()),
        own=[
            Said("One run for each number of users, each with other prompts; other runs may differ more.", True),
            Said(f"{plural(len(kinds), 'change')} of the mean TTFT, by their 95 % intervals: {told}.", bool(unsure or none)),
        ],
    )


def output_folder(runs: list[Path]) -> Path:
    """Beside the runs, named as they are without their level: results/NAME_sweep."""
    first = (runs[0] if runs[0].is_dir() else runs[0].parent).resolve()
    base = re.sub(r"_c\d+$", "", first.name)
    return first.parent / f"{base}_sweep"


def main() -> int:
    parser = command_parser(
        "sweep",
        "Shows times, throughput and hits by the number of users, from the runs of --concurrency.",
        ["results/NAME_c1 results/NAME_c5 results/NAME_c10"],
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder or stats.json of each level's run")
    parser.add_argument("--output-dir", type=Path, help="folder of the report (default: NAME_sweep beside the runs)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    levels = by_users([open_run(path).stats for path in args.runs])
    page = sweep_page(levels)
    folder = args.output_dir or output_folder(args.runs)
    publish(page, folder, args.png)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
