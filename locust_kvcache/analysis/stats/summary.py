"""Summarises labelled records: counts, tokens and throughput per group, and distributions per metric."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from locust_kvcache.analysis.basics.mapped import kept_column, release
from locust_kvcache.analysis.basics.metrics import OF_REQUESTS
from locust_kvcache.analysis.basics.narrow import by_group, chosen, group_masks
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.stats import dependence, influence
from locust_kvcache.analysis.stats.added_metrics import with_added_metrics
from locust_kvcache.analysis.stats.figure_checks import status_errors
from locust_kvcache.analysis.stats.intervals import Floats, Ints, carried_quantile, quantile_interval
from locust_kvcache.contract.failure_words import counted_causes

TOTALS = (
    "requests succeeded failed failed_by_status failed_by_cause cached_known sessions prompt_tokens output_tokens "
    "reported_cached_tokens planned_cached_tokens "
    "hit_rate planned_hit_rate cache_efficiency loop_lag_max_ms"
).split()
SUMMED = (
    "ok status error session_id prompt_tokens output_tokens reported_cached_tokens planned_cached_tokens loop_lag_ms"
).split()
QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def add_estimates(records: pd.DataFrame) -> pd.DataFrame:
    """What follows from two columns of a record.

    prefill_estimate_ms = ttft_ms - tpot_ms: TTFT less one decode step, the first token's own.

    Queueing, KV transfer and the network stay in it: only the servers' own metrics can tell them apart. Missing without TPOT.
    *_from_intended_ms = schedule_lag_ms + *_ms: what a client that does not wait for a free user would have seen (open loop).
    """
    estimate = records["ttft_ms"] - records["tpot_ms"]
    columns = {"prefill_estimate_ms": kept_column(estimate.where(estimate >= 0))}
    for name in ("ttft", "e2e"):
        columns[f"{name}_from_intended_ms"] = kept_column(records["schedule_lag_ms"] + records[f"{name}_ms"])
        release()
    return with_added_metrics(records.assign(**columns))


def from_intended(records: pd.DataFrame) -> pd.DataFrame:
    """TTFT and E2E latency counted from the intended time; later turns of a session have none and keep theirs (open loop)."""
    lag_ms = records["schedule_lag_ms"].fillna(0.0)
    return records.assign(**{name: records[name] + lag_ms for name in ("ttft_ms", "e2e_ms")})


def distributions(records: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row per group and metric: n, mean, sd, median, P90 ... over the successful requests, None where the sample is too small.

    median_low and median_high are the median's 95 % interval: Woodruff's where requests depend on one another (dependence.py), order
    statistics where each stands for itself.
    """
    rows = []
    for key, places in group_masks(records, by):
        units = _Units(records, np.flatnonzero((places & records["ok"]).to_numpy()))
        for metric in OF_REQUESTS:
            values = units.values(metric.key)
            known = ~np.isnan(values)
            if known.any():
                told = describe(values[known], units.median_interval(values[known], known))
                rows.append({**dict(zip(by, key, strict=True)), "metric": metric.key, "unit": metric.unit, **told})
    return pd.DataFrame(rows, columns=[*by, "metric", "unit", *describe(np.array([0.0]))])


class _Units:
    """The planned requests of a group of records, and how they depend on one another: found once for all metrics that the same records
    have."""

    def __init__(self, records: pd.DataFrame, places: Ints) -> None:
        self._records, self._places = records, places
        self._found: dict[bytes, tuple[dependence.Dependence, Ints]] = {}

    def values(self, name: str) -> Floats:
        """Of a column, NaN where it is missing."""
        values: Floats = self._records[name].to_numpy(dtype="float64", na_value=np.nan)[self._places]
        release()
        return values

    def median_interval(self, values: Floats, known: NDArray[np.bool_]) -> tuple[float, float] | None:
        """Of the median of these records' values."""
        if not set(dependence.COLUMNS) <= set(self._records):
            return quantile_interval(values, 0.5)
        depends, unit = self._depends(known)
        if depends.why_not:
            return None
        if len(depends.groupings) == 1 and depends.clusters == len(values):
            return quantile_interval(values, 0.5)
        return influence.quantile_interval(influence.Side(values, unit), 0.5, depends)

    def _depends(self, known: NDArray[np.bool_]) -> tuple[dependence.Dependence, Ints]:
        if (key := known.tobytes()) not in self._found:
            mine = self._places[known]
            unit = pd.factorize(self._records["request_index"].to_numpy()[mine])[0].astype(np.int64, copy=False)
            first = mine[np.diff(np.maximum.accumulate(unit), prepend=-1) > 0]
            units = self._records[dependence.OF_UNITS].iloc[first]
            release()
            self._found[key] = dependence.of_requests(units), unit
        return self._found[key]


def describe(values: np.ndarray, interval: tuple[float, float] | None = None) -> dict[str, float | int | None]:
    """Count, mean, standard deviation (n - 1), extremes, the percentiles that the sample carries; the median's interval if it is given."""
    ordered = np.sort(values)
    return {
        "n": len(values),
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "min": float(ordered[0]),
        "max": float(ordered[-1]),
        **{name: carried_quantile(ordered, q) for name, q in QUANTILES.items()},
        "median_low": interval[0] if interval else None,
        "median_high": interval[1] if interval else None,
    }


def totals(records: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row per group: requests by outcome, tokens, hit rate = cached / prompt tokens (summed), cache efficiency = reported / planned.

    A sum over requests of which some lack the value is missing, not smaller; the rates are over the requests that have both values.
    """
    rows = []
    for key, group in by_group(records, by, [*by, *SUMMED]):
        ok = group[group["ok"]]
        failures = group.loc[~group["ok"], "status"].astype(str).value_counts().sort_index()
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "requests": len(group),
                "succeeded": len(ok),
                "failed": len(group) - len(ok),
                "failed_by_status": {str(status): int(count) for status, count in failures.items()},
                "failed_by_cause": counted_causes(status_errors(group[~group["ok"]])) if len(ok) < len(group) else {},
                "cached_known": int((ok["reported_cached_tokens"].notna() & ok["prompt_tokens"].notna()).sum()),
                "sessions": int(group["session_id"].nunique()),
                "prompt_tokens": total(ok["prompt_tokens"]),
                "output_tokens": total(ok["output_tokens"]),
                "reported_cached_tokens": total(ok["reported_cached_tokens"]),
                "planned_cached_tokens": total(ok["planned_cached_tokens"]),
                "hit_rate": ratio(ok["reported_cached_tokens"], ok["prompt_tokens"]),
                "planned_hit_rate": ratio(ok["planned_cached_tokens"], ok["prompt_tokens"]),
                "cache_efficiency": ratio(ok["reported_cached_tokens"], ok["planned_cached_tokens"]),
                "loop_lag_max_ms": float(group["loop_lag_ms"].max()) if group["loop_lag_ms"].notna().any() else None,
            }
        )
    return pd.DataFrame(rows, columns=[*by, *TOTALS])


def total(values: pd.Series) -> float | None:
    """The sum, or None if any value is missing or there is none."""
    return float(values.sum()) if len(values) and values.notna().all() else None


def ratio(numerator: pd.Series, denominator: pd.Series) -> float | None:
    """Sum over sum where both are known; None if there is nothing to divide by."""
    both = numerator.notna() & denominator.notna()
    below = float(denominator[both].sum())
    return float(numerator[both].sum()) / below if below > 0 else None


def round_table(records: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """`totals` per scenario and round, with wall time and throughput: successful requests, and their tokens, over the wall time.

    The wall time is the load's own (monotonic clock, first send to last end); without it, it is taken from the records' wall
    clocks, and `wall_from` says so.
    """
    summed = totals(records, ["scenario", "round"]).astype({"scenario": str})
    table = counts[["scenario", "round", "planned_requests", "wall_s"]].merge(summed, on=["scenario", "round"], how="left")
    keys = ["scenario", "round"]
    spans = {key: _wall_from_records(group) for key, group in by_group(records, keys, ["started_at_s", "e2e_ms"])}
    spanned = pd.Series(
        [spans.get((row["scenario"], row["round"])) for row in rows_of(table[["scenario", "round"]])],
        index=table.index,
        dtype="float64",
    )
    known = table["wall_s"].notna() & table["wall_s"].gt(0)
    for column in ("requests", "succeeded", "failed"):
        table[column] = table[column].fillna(0).astype("int64")
    wall_s = table["wall_s"].where(known, spanned)
    tokens = table["prompt_tokens"].astype("float64") + table["output_tokens"].astype("float64")
    return table.assign(
        wall_s=wall_s,
        wall_from=np.where(known, "run.json", np.where(spanned.notna(), "records", "unknown")),
        requests_per_s=table["succeeded"].where(table["requests"] > 0) / wall_s,  # without a record nothing is known
        total_tokens_per_s=tokens / wall_s,
        output_tokens_per_s=table["output_tokens"].astype("float64") / wall_s,
    )


def _wall_from_records(group: pd.DataFrame) -> float | None:
    ends = group["started_at_s"] + group["e2e_ms"] / 1000
    span = ends.max() - group["started_at_s"].min()
    return float(span) if pd.notna(span) and span > 0 else None


def failures(records: pd.DataFrame, limit: int = 50) -> pd.DataFrame:
    """Failed requests by scenario, round, class, HTTP status and message, the most frequent first."""
    by = ["scenario", "round", "status", "http_status", "error"]
    failed = chosen(records, ~records["ok"], by).astype({"scenario": str, "status": str, "error": object})
    return failed.groupby(by, dropna=False).size().rename("requests").reset_index().nlargest(limit, "requests")
