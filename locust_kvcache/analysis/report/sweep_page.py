"""Makes the page of `locust-kvcache sweep`: cold and hit by the number of users, in tables and charts per scenario."""

from __future__ import annotations

from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.metrics import ROUND, SWEPT
from locust_kvcache.analysis.basics.number_text import DASH, change, listed, number, plural
from locust_kvcache.analysis.charts import drawing, study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.charts.run_charts import slug
from locust_kvcache.analysis.report.caveats import merged
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.sweep_words import effect, lead, sentence, trust, why_not_valid
from locust_kvcache.analysis.tables.sentences import deployment_text
from locust_kvcache.analysis.tables.table import Stats, Table, find, run_of, scenarios
from locust_kvcache.contract.errors import BadInput

COLUMNS = tuple((metric.swept, metric.key, None if metric.of == ROUND else "mean") for metric in SWEPT)
RULE = (
    "by round: cold is round 1, hits are the later rounds; figures are means; each number of users is a run with its own prompts"
)
SIDES = ("cold", "hit")
MOST_ROWS = 6  # of the table on the first screen


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


def level_table(levels: dict[int, Stats], scenario: str) -> Table:
    """A row for each metric and number of users, and the failures: few columns, so that it fits a narrow page."""
    rows: list[tuple[str, ...]] = []
    for name, metric, statistic in COLUMNS:
        for users, stats in levels.items():
            row = effect(stats, scenario, metric, statistic)
            cells = (number(row.get("baseline")), number(row.get("contender")), _changed(stats, scenario, row))
            rows.append((f"{name}: {plural(users, 'user')}", *cells))
    for users, stats in levels.items():
        rounds = find(stats["rounds"], scenario=scenario)
        failed = [sum(row["failed"] for row in rounds if (row["round"] == 1) == cold) for cold in (True, False)]
        rows.append((f"requests failed: {plural(users, 'user')}", *map(str, failed), DASH))
    return Table(f"{scenario}: cold and hit by concurrency", ("", *SIDES, "change [interval]"), tuple(rows), RULE)


def _changed(stats: Stats, scenario: str, row: dict[str, Any]) -> str:
    if why_not_valid(stats, scenario):
        return "not valid"
    return change(row) if row else DASH


def short_table(levels: dict[int, Stats], names: list[str]) -> Table:
    """For the console: a row for each scenario and level."""
    rows = []
    for name in names:
        for users, stats in levels.items():
            ttft, rate = effect(stats, name, "ttft_ms", "mean"), effect(stats, name, "requests_per_s", None)
            told = [number(row.get(side)) for row in (ttft, rate) for side in ("baseline", "contender")]
            where = f"{name}, " if len(names) > 1 else ""
            rows.append((f"{where}{plural(users, 'user')}", *told[:2], _changed(stats, name, ttft), *told[2:]))
    header = ("mean TTFT", "cold, ms", "hit, ms", "change [interval]", "requests/s cold", "hit")
    return Table("", header, tuple(rows), RULE)


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
        (7.6, 3.4 + 0.1 * len(names)),  # the legend takes rows
    )


def _hundredfold(share: float | None) -> float | None:
    return None if share is None else 100 * share
