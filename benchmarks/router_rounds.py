"""Reads what a run through a router gave, from the client's records and the fleet's truth, and makes a table of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ENGINES = 4
HEADINGS = (
    "router", "policy", "round", "hit rate", "reusable", "held", "captured", "TTFT mean, ms", "P90", "engines' TTFT", "requests/s",
    "max/mean tokens", "requests of each engine",
)  # fmt: skip
FIGURES = ("reusable", "held", "captured", "delivered")

_NAMES = {"router", "policy", "repeat", "round", "requests_by_engine"}


@dataclass(frozen=True)
class Round:
    """One round of one run. Hit rate and the waterfall are the emulator's truth, shares of the prompt tokens; times are the client's."""

    router: str
    policy: str
    repeat: int
    round: str
    requests_by_engine: list[int]
    max_over_mean_tokens: float
    ttft_mean_ms: float
    ttft_p50_ms: float
    ttft_p90_ms: float
    engine_ttft_mean_ms: float  # the emulator's model: from arrival at the engine until the first token was due
    requests_per_s: float
    reusable: float
    held: float
    captured: float
    delivered: float


def read_rounds(folder: Path, truths: list[dict[str, Any]], key: tuple[str, str, int], requests: int) -> list[Round]:
    """`truths`: the emulator's request lines in order of arrival. The rounds are the last ones; what came before is the preflight."""
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    found = []
    for number, name in ((1, "cold"), (2, "hit")):
        mine = [one for one in records if one["round"] == number and one["status"] == "ok"]
        last = len(truths) - requests * (2 - number)
        found.append(read_round(mine, truths[last - requests : last], key, name))
    return found


def read_round(records: list[dict[str, Any]], truths: list[dict[str, Any]], key: tuple[str, str, int], name: str) -> Round:
    engines = [f"engine-{number}" for number in range(1, ENGINES + 1)]
    tokens = [sum(one["prompt_tokens"] for one in truths if one["engine"] == engine) for engine in engines]
    ttft_ms = sorted(one["ttft_ms"] for one in records)
    wall_s = max(one["started_at_s"] + one["e2e_ms"] / 1e3 for one in records) - min(one["started_at_s"] for one in records)
    return Round(
        *key,
        name,
        [sum(one["engine"] == engine for one in truths) for engine in engines],
        max(tokens) / (sum(tokens) / ENGINES),
        statistics.fmean(ttft_ms),
        statistics.median(ttft_ms),
        ttft_ms[int(0.9 * (len(ttft_ms) - 1))],
        statistics.fmean((one["first_token_due_ns"] - one["arrived_ns"]) / 1e6 for one in truths),
        len(records) / wall_s,
        *(sum(one["reuse"][figure] for one in truths) / sum(tokens) for figure in FIGURES),
    )


def table(rounds: Sequence[Round]) -> str:
    """Markdown: one row per router, policy and round; the mean of the repeats, and their range where it matters."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for router, policy, name in dict.fromkeys((one.router, one.policy, one.round) for one in rounds):
        mine = [one for one in rounds if (one.router, one.policy, one.round) == (router, policy, name)]
        mean = {key: statistics.fmean(getattr(one, key) for one in mine) for key in asdict(mine[0]) if key not in _NAMES}
        low, high = min(one.ttft_mean_ms for one in mine), max(one.ttft_mean_ms for one in mine)
        shares = " | ".join(f"{mean[key]:.1%}" for key in ("delivered", "reusable", "held", "captured"))
        times = f"{mean['ttft_mean_ms']:.0f} ({low:.0f} to {high:.0f}) | {mean['ttft_p90_ms']:.0f} | {mean['engine_ttft_mean_ms']:.0f}"
        counts = "; ".join(" ".join(map(str, one.requests_by_engine)) for one in mine)
        rest = [f"{mean['requests_per_s']:.1f}", f"{mean['max_over_mean_tokens']:.2f}", counts]
        lines.append(f"| {' | '.join([router, policy, name, shares, times, *rest])} |")
    return "\n".join(lines)
