"""Predicts throughput, TTFT and TPOT of each split of GPUs into prefillers and decoders, and of single servers instead.

Each prediction is the mean of several plays (tandem.py) with the measured points. For its interval it is played many times more, each
time with points resampled from the measured requests and with other arrivals: the interval is one for a run of that many requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from locust_kvcache.analysis.basics.number_text import number, whole
from locust_kvcache.analysis.model import tandem
from locust_kvcache.analysis.model.stage_costs import Measured, Mix, Resample, costs_of, same
from locust_kvcache.analysis.model.stage_points import SAME_LENGTH, Point
from locust_kvcache.analysis.model.tandem import Costs, Load, Played, Split
from locust_kvcache.analysis.stats import intervals
from locust_kvcache.analysis.stats.intervals import Floats

RESAMPLES = 100
PLAYS = 5
BEYOND = 0.05  # share of the time with a larger batch than was measured, above which nothing is predicted
FIGURES = ("requests_per_s", "ttft_ms", "ttft_p90_ms", "tpot_ms", "e2e_ms")


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Prediction:
    """`why_not` says why there are no figures. Rates are those of the stages, requests/s, if each were alone."""

    name: str
    gpus: int
    figures: Mapping[str, Estimate] = field(default_factory=dict)
    why_not: str | None = None
    split: Split | None = None
    prefill_per_s: float | None = None
    decode_per_s: float | None = None
    prefill_busy: float | None = None
    batch_mean: float | None = None


@dataclass(frozen=True)
class Budget:
    """GPUs to split, and how many each prefiller and decoder takes."""

    gpus: int
    per_prefiller: int = 1
    per_decoder: int = 1

    def splits(self) -> list[tuple[Split, int]]:
        """(split, GPUs that it uses): for each number of prefillers as many decoders as fit."""
        found = []
        for prefillers in range(1, self.gpus // self.per_prefiller + 1):
            decoders = (self.gpus - prefillers * self.per_prefiller) // self.per_decoder
            if decoders:
                used = prefillers * self.per_prefiller + decoders * self.per_decoder
                found.append((Split(prefillers, decoders), used))
        return found


def stage_rates(split: Split, costs: Costs) -> tuple[float, float]:
    """Requests/s of all prefillers, x / S, and of all decoders, y * max over the measured batches of k / (tokens * token_s(k))."""
    prefill = split.prefillers / float(costs.prefill_s.mean())
    decode = split.decoders * float((costs.batch / costs.token_s).max()) / costs.output_tokens
    return prefill, decode


def _resampler(seed: int) -> Resample:
    rng = np.random.default_rng(seed)
    return lambda values: values[rng.integers(0, len(values), len(values))]


def figures_of(ttft_s: Floats, e2e_s: Floats, output_tokens: float, requests_per_s: float) -> dict[str, float]:
    """FIGURES of one run; no TPOT where there is one token."""
    found = {
        "requests_per_s": requests_per_s,
        "ttft_ms": 1000 * float(ttft_s.mean()),
        "ttft_p90_ms": 1000 * float(np.quantile(ttft_s, 0.9)),
        "e2e_ms": 1000 * float(e2e_s.mean()),
    }
    if output_tokens > 1:
        found["tpot_ms"] = 1000 * float((e2e_s - ttft_s).mean()) / (output_tokens - 1)
    return found


def estimates(rows: Sequence[Mapping[str, float]], resampled: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Mean of each figure over the plays, and its 95 % interval over the resamples."""
    tail = (1 - intervals.CONFIDENCE) / 2
    found = {}
    for name in rows[0]:
        low, high = np.quantile([row[name] for row in resampled], [tail, 1 - tail])
        found[name] = Estimate(float(np.mean([row[name] for row in rows])), float(low), float(high))
    return found


def predict_splits(budget: Budget, mix: Mix, load: Load, measured: Measured, routing: str = tandem.ROUND_ROBIN,
                   resamples: int = RESAMPLES) -> list[Prediction]:  # fmt: skip
    """One prediction per split. BadInput where no prefill point is near the mix."""
    plain = costs_of(measured, mix)
    drawn = [costs_of(measured, mix, _resampler(seed)) for seed in range(resamples)]
    found = []
    for split, used in budget.splits():
        played = [tandem.play(split, load, plain, seed, routing) for seed in range(PLAYS)]
        resampled = [tandem.play(split, load, costs, seed, routing) for seed, costs in enumerate(drawn)]
        found.append(_prediction(split, used, plain, played, resampled))
    return found


def _prediction(split: Split, used: int, costs: Costs, played: Sequence[Played], resampled: Sequence[Played]) -> Prediction:
    prefill, decode = stage_rates(split, costs)
    beyond = float(np.median([one.beyond for one in played]))
    batch = float(np.median([one.batch_mean for one in played]))
    why_not = None
    if beyond > BEYOND:
        most = whole(costs.most)
        why_not = f"a decoder would hold about {number(batch)} requests at once; measured up to {most}: add a --decode run"
    rows, spread = (
        [figures_of(one.ttft_s, one.e2e_s, costs.output_tokens, one.requests_per_s) for one in some]
        for some in (played, resampled)
    )
    return Prediction(
        name=split.name,
        gpus=used,
        figures={} if why_not else estimates(rows, spread),
        why_not=why_not,
        split=split,
        prefill_per_s=prefill,
        decode_per_s=decode,
        prefill_busy=float(np.median([one.prefill_busy for one in played])),
        batch_mean=batch,
    )


def predict_servers(name: str, gpus: int, budget: Budget, mix: Mix, load: Load, points: Sequence[Point],
                    resamples: int = RESAMPLES) -> Prediction:  # fmt: skip
    """Plain servers of `gpus` each, as many as fit: between the measured loads of one, straight lines."""
    count = budget.gpus // gpus
    title = f"{count} x {name}" if count > 1 else name
    if not count:
        return Prediction(title, gpus, why_not=f"one takes {gpus} GPUs, there are {budget.gpus}")
    near = of_mix(points, mix)
    if not near:
        return Prediction(title, count * gpus, why_not=f"not measured at this mix ({_mixes(points)})")
    wanted = (load.users if load.users is not None else float(load.rate_per_s or 0)) / count
    plain = _served(near, wanted, count, load, same)
    if plain is None:
        loads = sorted(point.in_flight if load.users is not None else point.requests_per_s for point in near)
        unit = "users" if load.users is not None else "requests/s"
        why = f"each would have {number(wanted)} {unit}; measured {number(loads[0])} to {number(loads[-1])}"
        return Prediction(title, count * gpus, why_not=why)
    rows = [_served(near, wanted, count, load, _resampler(seed)) or plain for seed in range(resamples)]
    return Prediction(title, count * gpus, estimates([plain], rows))


def of_mix(points: Sequence[Point], mix: Mix) -> list[Point]:
    """Those with about its prompt, computed and output tokens."""
    return [point for point in points if _near(point, mix)]


def _near(point: Point, mix: Mix) -> bool:
    wanted = (mix.prompt_tokens, mix.computed_tokens, mix.output_tokens)
    found = (point.prompt_tokens, point.computed_tokens, point.output_tokens)
    slack = 0.02 * mix.prompt_tokens  # the end of a prompt is computed even where all of it could hit
    return all(abs(have - want) <= max(SAME_LENGTH * want, slack) for have, want in zip(found, wanted, strict=True))


def _mixes(points: Sequence[Point]) -> str:
    told = {
        f"{whole(p.prompt_tokens)} prompt, {whole(p.computed_tokens)} computed, {whole(p.output_tokens)} output" for p in points
    }
    return "measured: " + "; ".join(sorted(told)) + " tokens"


def _served(points: Sequence[Point], wanted: float, count: int, load: Load, resample: Resample) -> dict[str, float] | None:
    """The figures at `wanted` users or requests/s of one server; None where that lies outside of what was measured."""
    rows = []
    for point in points:
        chosen = resample(np.arange(len(point.e2e_s), dtype=np.float64)).astype(int)
        ttft_s, e2e_s = point.ttft_s[chosen], point.e2e_s[chosen]
        rate = point.requests_per_s * float(point.e2e_s.mean() / e2e_s.mean())  # Little: users / E2E
        at = point.in_flight if load.users is not None else point.requests_per_s
        rows.append((at, figures_of(ttft_s, e2e_s, point.output_tokens, rate)))
    rows.sort(key=lambda row: row[0])
    ats = [at for at, _ in rows]
    if not 0.85 * ats[0] <= wanted <= 1.15 * ats[-1]:
        return None
    found = {name: float(np.interp(wanted, ats, [row[name] for _, row in rows])) for name in rows[0][1]}
    return {**found, "requests_per_s": count * found["requests_per_s"] if load.users is not None else count * wanted}


def best_of(predictions: Sequence[Prediction], slo: Mapping[str, float] | None = None) -> Prediction | None:
    """The shortest mean latency of a request (at given users that is the highest throughput), among those within the limits."""
    known = [one for one in predictions if one.figures]
    kept = [
        one
        for one in known
        if all(name in one.figures and one.figures[name].value <= limit for name, limit in (slo or {}).items())
    ]
    return min(kept, key=lambda one: one.figures["e2e_ms"].value, default=None)


def neighbours(best: Prediction, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The best split and those with one prefiller less and more."""
    if best.split is None:
        return [best]
    return [one for one in predictions if one.split and abs(one.split.prefillers - best.split.prefillers) <= 1]
