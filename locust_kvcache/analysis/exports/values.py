"""Collects the values for experiment trackers: parameters, figures of each round, the answer, and files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.pipeline import Analysis

STATISTICS = ("mean", "median", "p90", "p99")
ROUND_FIGURES = ("requests", "succeeded", "failed", "wall_s", "requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "hit_rate",
                 "planned_hit_rate", "prompt_tokens", "output_tokens", "reported_cached_tokens")  # fmt: skip
FILES = ("run.json", "stats.json", "report")


@dataclass(frozen=True)
class RoundFigures:
    """The numbers of one round; what is unknown is left out."""

    scenario: str
    round: int
    kind: str
    figures: Mapping[str, float]


def parameters(analysis: Analysis) -> dict[str, str | int | float | bool]:
    """What the run was asked for, flat; what it does not say is left out."""
    run = analysis.stats["run"]
    deployment, server = run.get("deployment") or {}, run.get("server") or {}
    found = {
        "run_id": analysis.run_id,
        "deployment": deployment.get("name"),
        "deployment_kind": deployment.get("kind"),
        "endpoint": deployment.get("endpoint"),
        "gpus": deployment.get("gpus"),
        "model": run.get("model"),
        "server_version": server.get("version"),
        "scenarios": ",".join(str(scenario.get("name")) for scenario in run.get("scenarios") or []),
        **{key: run.get(key) for key in ("users", "spawn_rate", "workers", "seed", "nonce", "started_at", "ended_at")},
        **{f"arrival_{key}": value for key, value in (run.get("arrival") or {}).items()},
        **{f"version_{key}": value for key, value in (run.get("versions") or {}).items()},
        "command": " ".join(map(str, run.get("command") or [])),
    }
    return {key: value for key, value in found.items() if isinstance(value, str | int | float) and value != ""}


def outcome(analysis: Analysis) -> dict[str, str]:
    """How the run ended, for tags."""
    run = analysis.stats["run"]
    found = {
        "complete": str(bool(analysis.stats["complete"])).lower(),
        "cause": run.get("cause"),
        "why": run.get("incomplete_reason"),
    }
    return {key: str(value) for key, value in found.items() if value}


def rounds(analysis: Analysis) -> Iterator[RoundFigures]:
    """Each round in the order of play: its totals, and mean, median, P90 and P99 of each time."""
    for row in analysis.stats["rounds"]:
        figures = {name: row.get(name) for name in ROUND_FIGURES}
        for spread in analysis.stats["distributions"]:
            if (spread["scenario"], spread["split"], spread["group"]) == (row["scenario"], "round", str(row["round"])):
                figures |= {f"{spread['metric']}_{statistic}": spread.get(statistic) for statistic in STATISTICS}
        yield RoundFigures(row["scenario"], int(row["round"]), str(row.get("kind") or ""), numbers(figures))


def answer(analysis: Analysis) -> dict[str, float]:
    """The changes from cold to hit, as shares with their interval, and each judged target: met is 1, missed is 0."""
    figures: dict[str, Any] = {}
    for effect in analysis.stats["effects"]:
        if effect["split"] == "round" and effect["statistic"] in ("mean", "rate") and not effect.get("withheld"):
            name = f"{effect['scenario']}/{effect['metric']}_change"
            for end in ("", "_low", "_high"):
                ratio = effect.get(f"ratio{end}")
                figures[f"{name}{end}"] = None if ratio is None else ratio - 1
    for target in analysis.stats["targets"]:
        if target["verdict"] in ("pass", "fail"):
            figures[f"{target['scenario']}/{target['target']}_met"] = float(target["verdict"] == "pass")
    return numbers(figures)


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Those that are finite numbers."""
    known = {name: value for name, value in figures.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return {name: float(value) for name, value in known.items() if math.isfinite(value)}


def artifacts(analysis: Analysis) -> list[Path]:
    """The files and folders of the run that exist; the records stay where they are, as they may be large."""
    folder = analysis.source if analysis.source.is_dir() else analysis.source.parent
    return [folder / name for name in FILES if (folder / name).exists()]
