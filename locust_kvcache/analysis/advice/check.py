"""Compares a prediction with a measured run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from locust_kvcache.analysis.advice.demand import Demand
from locust_kvcache.analysis.advice.prediction import GPU, Point
from locust_kvcache.analysis.basics.number_text import number, percent, whole
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.contract.errors import BadInput

HIT_POINTS, TTFT_SHARE = 0.02, 0.15  # what a prediction should keep
SAME_TOKENS = 0.05  # prompt tokens of a run, beyond which it is another load
HIT_RATE = "hit rate"


@dataclass(frozen=True)
class Check:
    """One figure. `predicted` is None where nothing was."""

    figure: str
    predicted: float | None
    measured: float

    @property
    def off(self) -> float | None:
        """Of a hit rate the difference, of a TTFT predicted / measured - 1."""
        if self.predicted is None:
            return None
        return self.predicted - self.measured if self.figure == HIT_RATE else self.predicted / self.measured - 1

    @property
    def kept(self) -> bool | None:
        return None if self.off is None else abs(self.off) <= (HIT_POINTS if self.figure == HIT_RATE else TTFT_SHARE)

    @property
    def off_text(self) -> str:
        """+0.3 points, or −8.0 %."""
        if self.off is None:
            return "not known"
        return f"{100 * self.off:+.1f} points".replace("-", "−") if self.figure == HIT_RATE else percent(self.off, signed=True)

    def value_text(self, value: float | None) -> str:
        return percent(value) if self.figure == HIT_RATE else number(value)


def checks_of(point: Point, records: pd.DataFrame) -> list[Check]:
    """`records`: the requests of one round that succeeded."""
    told = records[records["reported_cached_tokens"].notna() & records["prompt_tokens"].notna()]
    found = []
    if len(told):
        rate = float(told["reported_cached_tokens"].sum() / told["prompt_tokens"].sum())
        found.append(Check(HIT_RATE, point.hit_rate, rate))
    for name, predicted, share in (("TTFT P50, ms", point.ttft_p50_ms, 0.5), ("TTFT P90, ms", point.ttft_p90_ms, 0.9)):
        found.append(Check(name, predicted, float(records["ttft_ms"].quantile(share))))
    return [*found, Check("mean TTFT, ms", point.ttft_mean_ms, float(records["ttft_ms"].mean()))]


def measured_round(folder: Path, demand: Demand, tier: str = GPU) -> pd.DataFrame:
    """The successful requests of the round that the figures are of; BadInput where the run sent another load."""
    run = load_run(folder)
    records, played = run.records, _round_of(folder, run.info, demand, tier)
    if records["scenario"].eq(demand.name).any():  # of several
        records = records[records["scenario"].eq(demand.name)]
    rows = records[records["ok"] & records["round"].eq(played) & records["ttft_ms"].notna()]
    sent, planned = float(rows["prompt_tokens"].sum()), demand.prompt_tokens
    if not planned * (1 - SAME_TOKENS) <= sent <= planned * (1 + SAME_TOKENS):
        raise BadInput(
            f"--measured {folder}: its round {played} has {len(rows):,} successful requests with {whole(sent)} prompt tokens, the "
            f"prediction {len(demand.requests):,} with {whole(planned)}; give a run of the same load"
        )
    return rows


def _round_of(folder: Path, info: RunInfo, demand: Demand, tier: str) -> int:
    """The last round of the demand; of a run of --arms with a tier below the GPU, the arm that was answered from there."""
    arms = {entry.arm: entry.number for entry in info.rounds if entry.scenario == demand.name and entry.arm}
    if tier == GPU or demand.rounds == 1 or not arms:
        return demand.rounds
    if f"{tier}_hit" not in arms:
        raise BadInput(
            f"--measured {folder}: its arms are {', '.join(arms)}; expected {tier}_hit, as --measured-size names {tier}"
        )
    return arms[f"{tier}_hit"]


def kept_text(checks: Sequence[Check]) -> str:
    """In a sentence: how far off."""
    return "; ".join(f"{one.figure.removesuffix(', ms')} {one.off_text}" for one in checks)
