"""Pairs of the same planned request under two conditions come in, a tidy table of effects with intervals and verdicts goes out.

`baseline` and `contender` are cold and hit of one run, or two runs. A pair is resampled as a whole, and with it its session, as
turns of one conversation depend on one another.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.stats import intervals
from locust_kvcache.analysis.stats.intervals import Floats

KEYS = ["scenario", "request_index", "session_id"]
METRICS = ("ttft_ms", "prefill_estimate_ms", "e2e_ms", "tpot_ms", "itl_p50_ms")
STATISTICS = ("mean", "median", "p90", "p95", "p99")
RATES = ("requests_per_s", "total_tokens_per_s", "output_tokens_per_s")
COLUMNS = (
    "scenario metric statistic baseline contender difference difference_low difference_high ratio ratio_low ratio_high pairs clusters "
    "smallest_effect p_value"
).split()


def pair_rounds(records: pd.DataFrame, baseline: str = "cold", contender: str = "hit") -> pd.DataFrame:
    """One planned request in the rounds of two kinds: the means over those in which it succeeded."""
    return _paired(records, records["round_window"].eq(baseline), records["round_window"].eq(contender))


def pair_two_rounds(records: pd.DataFrame, baseline: int, contender: int) -> pd.DataFrame:
    """The same planned request in two rounds in which it succeeded."""
    return _paired(records, records["ok"] & records["round"].eq(baseline), records["ok"] & records["round"].eq(contender))


def pair_windows(records: pd.DataFrame) -> pd.DataFrame:
    """Cold and hit of one planned request by evidence: the mean over its cold records, and over its hit records."""
    return _paired(records, records["window"].eq("cold"), records["window"].eq("hit"))


def _paired(records: pd.DataFrame, cold: pd.Series, hit: pd.Series) -> pd.DataFrame:
    before, after = (records[side].groupby(KEYS, observed=True)[list(METRICS)].mean() for side in (cold, hit))
    return _join(before, after, KEYS)


def pair_runs(baseline: pd.DataFrame, contender: pd.DataFrame) -> pd.DataFrame:
    """The same planned request of the same round in two runs; both succeeded."""
    keys = [*KEYS, "round"]
    before, after = (side[side["ok"]].groupby(keys, observed=True)[list(METRICS)].mean() for side in (baseline, contender))
    return _join(before, after, keys)


def _join(left: pd.DataFrame, right: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row per pair, each metric twice: `ttft_ms_baseline`, `ttft_ms_contender`."""
    left, right = left.reset_index().astype({"scenario": str}), right.reset_index().astype({"scenario": str})
    return left.merge(right, on=keys, suffixes=("_baseline", "_contender"))


def effects(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per scenario, metric and statistic (mean, median, percentiles that the pairs carry, median of the pairs' own ratios)."""
    rows: list[dict[str, Any]] = []
    for scenario, group in pairs.groupby("scenario", sort=False):
        for metric in METRICS:
            both = group[[f"{metric}_baseline", f"{metric}_contender"]].to_numpy(dtype="float64")
            whole = np.isfinite(both).all(axis=1)
            clusters = pd.factorize(group["session_id"].to_numpy()[whole])[0]
            if whole.any():
                head = {"scenario": scenario, "metric": metric}
                rows += [{**head, **row} for row in compare_pairs(both[whole, 0], both[whole, 1], clusters)]
    return pd.DataFrame(rows, columns=COLUMNS)


def compare_pairs(
    baseline: Floats, contender: Floats, clusters: np.ndarray, resamples: int = intervals.RESAMPLES
) -> list[dict[str, Any]]:
    """All statistics of one metric. Above MAX_RESAMPLED pairs a random part of the clusters is resampled (m out of n): its spread,
    times sqrt(m / n), is the spread of the whole."""
    count = int(clusters.max()) + 1
    kept = _some_clusters(clusters, count)
    names = [name for name in STATISTICS if intervals.is_carried(name, len(baseline))]
    whole = _both(baseline, contender, np.ones((1, len(baseline)), dtype=np.int32), names)
    part = drawn = None
    if count >= intervals.MIN_CLUSTERS:
        codes = np.unique(clusters[kept], return_inverse=True)[1]
        part = _both(baseline[kept], contender[kept], np.ones((1, int(kept.sum())), dtype=np.int32), names)
        drawn = _both(
            baseline[kept], contender[kept], intervals.cluster_weights(int(codes.max()) + 1, resamples)[:, codes], names
        )
    scale = math.sqrt(kept.sum() / len(baseline))
    rows = []
    for name in names:
        full = [float(side[name][0]) for side in whole]
        resampled = (
            _rescaled(full, [float(side[name][0]) for side in part], [side[name] for side in drawn], scale)
            if part and drawn
            else None
        )
        rows.append(_effect(name, full, resampled, len(baseline), count))
    rows.append(_pair_ratio(baseline, contender, count))
    return rows


def _both(baseline: Floats, contender: Floats, weights: intervals.Counts, names: list[str]) -> list[dict[str, Floats]]:
    return [intervals.statistics(side, weights, names) for side in (baseline, contender)]


def _some_clusters(clusters: np.ndarray, count: int) -> np.ndarray:
    """A mask over the pairs: all, or those of randomly chosen whole clusters up to about MAX_RESAMPLED pairs."""
    if len(clusters) <= intervals.MAX_RESAMPLED:
        return np.ones(len(clusters), dtype=bool)
    order = np.random.default_rng(intervals.SEED).permutation(count)
    sizes = np.bincount(clusters, minlength=count)[order]
    chosen = order[: max(intervals.MIN_CLUSTERS, int(np.searchsorted(np.cumsum(sizes), intervals.MAX_RESAMPLED)))]
    return np.isin(clusters, chosen)


def _rescaled(whole: list[float], part: list[float], drawn: list[Floats], scale: float) -> tuple[Floats, Floats] | None:
    """(resampled log ratio, resampled difference) around the whole sample's own values."""
    if min(*whole, *part) <= 0 or min(float(side.min()) for side in drawn) <= 0:
        return None
    log_ratio = math.log(whole[1] / whole[0]) + scale * (np.log(drawn[1] / drawn[0]) - math.log(part[1] / part[0]))
    difference = (whole[1] - whole[0]) + scale * ((drawn[1] - drawn[0]) - (part[1] - part[0]))
    return log_ratio, difference


def _effect(name: str, whole: list[float], resampled: tuple[Floats, Floats] | None, pairs: int, clusters: int) -> dict[str, Any]:
    baseline, contender = whole
    row: dict[str, Any] = dict.fromkeys(COLUMNS[2:])
    row |= {"statistic": name, "baseline": baseline, "contender": contender, "difference": contender - baseline}
    row |= {"ratio": contender / baseline if baseline > 0 else None, "pairs": pairs, "clusters": clusters}
    if resampled is not None:
        row |= ratio_interval(resampled[0], math.log(contender / baseline), clusters, expanded=name == "mean")
        low, high = intervals.percentile_interval(resampled[1], clusters, expanded=name == "mean")
        row |= {"difference_low": low, "difference_high": high}
    return row


def ratio_interval(log_ratios: Floats, log_ratio: float, clusters: int, expanded: bool = True) -> dict[str, Any]:
    """Interval, p-value and smallest effect of a ratio from its resampled logarithm."""
    low, high = intervals.percentile_interval(log_ratios, clusters, expanded)
    se = float(log_ratios.std(ddof=1)) * math.sqrt(clusters / (clusters - 1))
    return {
        "ratio_low": math.exp(low),
        "ratio_high": math.exp(high),
        "p_value": intervals.p_value(log_ratio, se, clusters),
        "smallest_effect": intervals.smallest_effect(se, clusters),
    }


def _pair_ratio(baseline: Floats, contender: Floats, clusters: int) -> dict[str, Any]:
    """Median of the pairs' own contender / baseline, with its order-statistic interval (exact for independent pairs only)."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS[2:])
    row |= {"statistic": "pair_ratio", "pairs": len(baseline), "clusters": clusters}
    if (baseline > 0).all():
        ratios = contender / baseline
        bounds = intervals.quantile_interval(ratios, 0.5) if clusters == len(baseline) else None
        row |= {"ratio": float(np.median(ratios)), "ratio_low": bounds[0] if bounds else None}
        row |= {"ratio_high": bounds[1] if bounds else None}
    return row


def rate_effects(baseline: pd.DataFrame, contender: pd.DataFrame, pairs: pd.DataFrame, closed_loop: bool) -> pd.DataFrame:
    """Throughput effects per scenario from rows of the round table: rate = sum of what was done / sum of wall time.

    The interval takes over that of the mean E2E latency: in a closed loop, throughput = users in flight / mean latency (Little), so
    its ratio moves as the latency's inverse. In an open loop the rate is the arrivals' own, and has no interval.
    """
    latency = (
        {s: _latency_logs(group) for s, group in pairs.groupby("scenario", sort=False)} if closed_loop and len(pairs) else {}
    )
    rows = []
    for scenario in [name for name in baseline["scenario"].unique() if (contender["scenario"] == name).any()]:
        sides = [table[table["scenario"] == scenario] for table in (baseline, contender)]
        for name in RATES:
            before, after = (_rate(side, name) for side in sides)
            if before is None or after is None or before <= 0:
                continue
            row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "scenario": scenario, "metric": name, "statistic": "rate"}
            row |= {"baseline": before, "contender": after, "difference": after - before, "ratio": after / before}
            logs, clusters, count = latency.get(scenario, (None, 0, 0))
            row |= {"pairs": count, "clusters": clusters}
            if logs is not None and after > 0:
                row |= ratio_interval(math.log(after / before) - logs, math.log(after / before), clusters)
            rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rate(rounds: pd.DataFrame, name: str) -> float | None:
    """Mean rate over rounds, weighted by their wall time; None if a round lacks it."""
    rate, wall_s = rounds[name].astype("float64"), rounds["wall_s"].astype("float64")
    value = float((rate * wall_s).sum(skipna=False) / wall_s.sum(skipna=False)) if len(rounds) else math.nan
    return value if math.isfinite(value) else None


def _latency_logs(pairs: pd.DataFrame) -> tuple[Floats | None, int, int]:
    """Centred resampled log ratio of the mean E2E latency, the clusters and the pairs behind it."""
    both = pairs[["e2e_ms_baseline", "e2e_ms_contender"]].dropna()
    clusters = pd.factorize(pairs.loc[both.index, "session_id"])[0]
    count = int(clusters.max()) + 1 if len(clusters) else 0
    if count < intervals.MIN_CLUSTERS or both.min().min() <= 0:
        return None, count, len(both)
    kept = _some_clusters(clusters, count)
    codes = np.unique(clusters[kept], return_inverse=True)[1]
    weights = intervals.cluster_weights(int(codes.max()) + 1)[:, codes]
    sides = [both[column].to_numpy()[kept] for column in both]
    drawn = [intervals.weighted_means(side, weights) for side in sides]
    centre = math.log(sides[1].mean() / sides[0].mean())
    return (np.log(drawn[1] / drawn[0]) - centre) * math.sqrt(kept.sum() / len(both)), count, len(both)


def add_verdicts(table: pd.DataFrame, alpha: float = 1 - intervals.CONFIDENCE) -> pd.DataFrame:
    """Verdict per metric, on the mean (or rate): better / worse / no evidence; p-values adjusted for the number of metrics (Holm)."""
    judged = table["statistic"].isin(["mean", "rate"]) & table["p_value"].notna()
    adjusted = pd.Series(intervals.holm(table.loc[judged, "p_value"].tolist()), index=table.index[judged], dtype="float64")
    adjusted = adjusted.reindex(table.index)
    higher_is_better = table["metric"].str.contains("_per_s")
    improved = (table["ratio"].astype("float64") > 1) == higher_is_better
    verdict = pd.Series(np.where(improved, "better", "worse"), index=table.index, dtype=object)
    verdict = verdict.mask(adjusted.ge(alpha) | adjusted.isna(), "no evidence").where(table["statistic"].isin(["mean", "rate"]))
    return table.assign(p_adjusted=adjusted, verdict=verdict)
