"""Shows what rounds cost in money and energy, what was measured and what was assumed, and when a store pays."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import change, listed, number, plural
from locust_kvcache.analysis.tables.claim_words import claim_of, round_label
from locust_kvcache.analysis.tables.table import Stats, Table, find, run_of

MEASURED = (
    "wall time, s",
    "GPU power, W",
    "energy, kJ",
    "J per request",
    "kJ per million prompt tokens",
    "kJ per million output tokens",
)
ASSUMED = ("GPU seconds", "cost", "per 1,000 requests", "while all users were busy", "per million prompt tokens",
           "per million output tokens")  # fmt: skip
RULE = "by round"
STALE = 3  # readings of a GPU's energy in a round; fewer say that the exporter measures less often


def energy_table(stats: Stats) -> Table | None:
    """Measured alone."""
    rows = [row for row in (stats.get("cost") or []) if row["joules"] is not None]
    if not rows:
        return None
    return Table(
        "Energy: measured", ("", *MEASURED), tuple(map(_energy_row(stats), rows)), RULE, tuple(_energy_notes(stats, rows))
    )


def _energy_row(stats: Stats) -> Any:
    def cells(row: dict[str, Any]) -> tuple[str, ...]:
        values = (row["wall_s"], row["power_w"], _kilo(row["joules"]), row["joules_per_request"],
                  _kilo(row["joules_per_million_prompt_tokens"]), _kilo(row["joules_per_million_output_tokens"]))  # fmt: skip
        return (_named(stats, row), *map(number, values))

    return cells


def _kilo(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _named(stats: Stats, row: dict[str, Any]) -> str:
    found = find(stats["rounds"], scenario=row["scenario"], round=row["round"])
    return f"{row['scenario']}, {round_label(stats, found[0]) if found else row['round']}"


def _energy_notes(stats: Stats, rows: list[dict[str, Any]]) -> list[str]:
    seen, gpus = [int(row["energy_gpus"]) for row in rows], run_of(stats).deployment.gpus
    if len(set(seen)) > 1:
        counts = listed(map(str, seen))
        return [f"The rounds are not comparable in energy: {counts} GPUs were read."]
    notes = [f"Mean power of {plural(seen[0], 'GPU')} times the wall time; by {rows[0]['energy_by']}."]
    if gpus is not None and gpus != seen[0]:
        notes.append(f"The deployment has {gpus} GPUs, and the energy is that of {seen[0]}.")
    if min(row["least_readings"] for row in rows) < STALE:
        notes.append(
            "A GPU's energy counter changed fewer than 3 times in a round: the exporter measures too rarely, so the energy is inaccurate."
        )
    return notes


def cost_table(stats: Stats) -> Table | None:
    """A price is assumed to hold for all GPUs of the deployment over a round's measured time."""
    rows = [row for row in (stats.get("cost") or []) if row["cost"] is not None]
    if not rows:
        return None
    of = run_of(stats).deployment
    price = number(of.price_per_gpu_hour)
    note = f"Assumed: {plural(int(of.gpus or 0), 'GPU')} at {price} per GPU-hour, the round's alone. Measured: its wall time."
    whole = "Each column is the whole cost of the round over that unit: they are not to be added."
    cells = tuple((_named(stats, row), number(row["gpu_seconds"]), number(row["cost"]), _thousand(row["cost_per_request"]),
                   _interval(row), number(row["cost_per_million_prompt_tokens"]), number(row["cost_per_million_output_tokens"]))
                  for row in rows)  # fmt: skip
    return Table("Cost: at an assumed price", ("", *ASSUMED), cells, RULE, (note, whole, *_changes(stats)))


def _thousand(value: float | None) -> str:
    return number(None if value is None else 1000 * value)


def _interval(row: dict[str, Any]) -> str:
    middle, low, high = (row[f"busy_cost_per_request{end}"] for end in ("", "_low", "_high"))
    return _thousand(middle) if None in (middle, low, high) else f"{_thousand(middle)} [{_thousand(low)}, {_thousand(high)}]"


def _changes(stats: Stats) -> list[str]:
    """Cost of a request, hit against cold: the inverse of the throughput's change."""
    rows = [row for row in find(stats["effects"], split="round", metric="requests_per_s") if row["ratio"]]
    rows = [
        row for row in rows if claim_of(stats, row["scenario"])["valid"] and claim_of(stats, row["scenario"])["later"] == "hit"
    ]
    found = []
    for row in rows:
        ends = (row.get("ratio_high"), row.get("ratio_low"))
        low, high = (1 / end if end else None for end in ends)
        told = change({**row, "ratio": 1 / row["ratio"], "ratio_low": low, "ratio_high": high})
        found.append(f"{row['scenario']}: cost of a request, hit against cold: {told}.")
    return found


def break_even_table(stats: Stats) -> Table | None:
    """How often what is stored must be used again."""
    rows = stats.get("break_even") or []
    if not rows:
        return None
    of = run_of(stats).deployment
    header = ("", "answered by", "stored, GB", "GPU seconds saved", "GPU seconds saved per GB", "uses per month to pay")
    cells = tuple((_named(stats, row), str(row["tier"] or "unknown"), number(row["stored_gb"]), number(row["saved_gpu_seconds"]),
                   number(row["saved_gpu_seconds_per_gb"]), _uses(row)) for row in rows)  # fmt: skip
    notes = [
        "Measured: GPU seconds saved = GPUs x (wall time of the cold round - that of this one). "
        "Reckoned: stored = different prompt tokens x KV bytes per token.",
        f"Assumed: {number(of.price_per_gb_month)} per GB and month, {number(of.price_per_gpu_hour)} per GPU-hour.",
    ]
    reasons = dict.fromkeys(row["why_not"] for row in rows if row["why_not"])
    notes += [f"GPU seconds saved are not known: {reason}." for reason in reasons]
    return Table("Break-even of the store", header, cells, RULE, tuple(notes), texts=(1,))


def _uses(row: dict[str, Any]) -> str:
    saved = row["saved_gpu_seconds"]
    return "never" if saved is not None and saved <= 0 else number(row["reuses_per_month"])
