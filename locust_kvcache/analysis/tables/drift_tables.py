"""Makes the tables of drift and changes over timed rounds."""

from __future__ import annotations

from locust_kvcache.analysis.basics.number_text import number, percent, signed_percent
from locust_kvcache.analysis.stats.drift import HIT_RATE, NAMES
from locust_kvcache.analysis.tables.table import Stats, Table


def drift_table(stats: Stats) -> Table | None:
    rows = []
    for row in stats.get("drift", ()):
        name = f"{row['scenario']}, round {row['round']}, {NAMES[row['figure']]}"
        ends = (_value(row["figure"], row["first"]), _value(row["figure"], row["last"]))
        moved = signed_percent(row["last"] / row["first"] - 1) if row["first"] else ""
        rows.append((name, str(row["windows"]), number(row["window_s"]), *ends, moved))
    header = ("", "windows", "of s", "first tenth", "last tenth", "drift")
    return Table("Drift over the round", header, tuple(rows), "means of equal times within each timed round") if rows else None


def change_table(stats: Stats) -> Table | None:
    rows = [
        (
            f"{row['scenario']}, round {row['round']}, {NAMES[row['figure']]}",
            f"{row['at_s']:,.0f} [{row['low_s']:,.0f}, {row['high_s']:,.0f}]",
            _value(row["figure"], row["before"]),
            _value(row["figure"], row["after"]),
        )
        for row in stats.get("change_points", ())
    ]
    if not rows and not stats.get("drift"):
        return None
    header = ("", "after s [interval]", "before", "after")
    note = "by cumulated sums, at p < 0.001 each; times since the round's first request that is measured"
    return Table("Changes within the round" if rows else "Changes within the round: none", header, tuple(rows), note)


def _value(figure: str, value: float) -> str:
    return percent(value) if figure == HIT_RATE else f"{number(value)} ms"
