"""Makes the tables of stats.json about the fitted TTFT model: parameters, expected TTFT, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.number_text import plural
from locust_kvcache.analysis.model import physical_limits
from locust_kvcache.analysis.model.ttft_model import Fit, Model, residual_summary, without_load
from locust_kvcache.analysis.stats import intervals

HIT_RATES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99)
PCIE5_X16_GB_PER_S = 63.0
BREAK_EVEN = "break_even_prefix_tokens"
Value = Callable[[Model], float | None]


MISFIT = 0.25  # P90 of the relative residuals, beyond which the model does not tell what it was fitted to
MISFIT_SHARED = 0.15  # where users wait for one another: a queue that a fit takes for a cost per token hides in a small residual


def misfit(fit: Fit, users: int | None) -> str:
    """Why a fit is not shown; empty where it tells nine of ten requests well enough."""
    error = residual_summary(fit)["p90_error"]
    shared = users is None or users > 1
    if error <= (MISFIT_SHARED if shared else MISFIT):
        return ""
    load = "an unknown number of users" if users is None else plural(users, "user")
    cause = (
        "requests wait for one another, which the model has no term for: measure at one user"
        if shared
        else "another cause is at work"
    )
    return f"its fit misses one request in ten by more than {error:.0%} (at {load}); {cause}"


def model_stats(fit: Fit | None, kv_bytes_per_token: float | None, points: pd.DataFrame, users: int | None = 1) -> dict[str, Any]:
    """Everything about the model for stats.json; `why_not` where there is none, or none that fits."""
    if fit is not None and (why := misfit(fit, users)):
        return {"why_not": why, "parameters": [], "expected": [], "points": {}, **residual_summary(fit)}
    if fit is None:
        why = f"{len(points)} usable requests; their uncached tokens must differ by a factor of 2, and there must be 8 of them"
        return {"why_not": why, "parameters": [], "expected": [], "points": {}}
    prompt = float(fit.points["prompt_tokens"].median())
    rows = [_row(fit, name, unit, value) for name, unit, value in _parameters(kv_bytes_per_token, prompt)]
    return {
        "why_not": None,
        "terms": {"load": fit.model.form.load, "attention": fit.model.form.attention, "step_ms": fit.model.form.step_ms},
        **residual_summary(fit),
        "reference_prompt_tokens": prompt,
        "parameters": [row for row in rows if row["value"] is not None or (row["name"] == BREAK_EVEN and fit.model.form.load)],
        "expected": expected(fit, prompt),
        "notes": _notes(fit, rows),
        "points": _points(fit),
    }


def _parameters(kv_bytes: float | None, prompt: float) -> list[tuple[str, str, Value]]:
    one = np.array([prompt])

    def prefill_rate(model: Model) -> float | None:
        """At the reference length: n tokens over the time that computing all of them takes."""
        taken = float(model.prefill_ms(one, 0 * one)[0])
        return 1000 * prompt / taken if taken > 0 else None

    def load_rate(model: Model) -> float | None:
        return 1000 / model.load_ms_per_token if model.load_ms_per_token else None

    def load_gb(model: Model) -> float | None:
        rate = load_rate(model)
        return rate * kv_bytes / 1e9 if rate and kv_bytes else None

    def even_gb(model: Model) -> float | None:
        rate = prefill_rate(model)
        return physical_limits.break_even_bandwidth(kv_bytes, rate) / 1e9 if rate and kv_bytes else None

    def ceiling(model: Model) -> float | None:
        return reduction(without_load(model), prompt, prompt - 1) if model.form.load else None

    def even_prefix(model: Model) -> float | None:
        if model.load_ms_per_token is None:
            return None
        return physical_limits.break_even_prefix(
            model.prefill_ms_per_token, model.load_ms_per_token, model.attention_ms_per_token2
        )

    return [
        ("fixed_ms", "ms", lambda model: model.fixed_ms),
        ("prefill_tokens_per_s", "tokens/s", prefill_rate),
        ("load_tokens_per_s", "tokens/s", load_rate),
        ("load_gb_per_s", "GB/s", load_gb),
        ("break_even_gb_per_s", "GB/s", even_gb),
        (BREAK_EVEN, "tokens", even_prefix),
        (
            "attention_ms_per_million_token2",
            "ms",
            lambda model: 1e6 * model.attention_ms_per_token2 if model.form.attention else None,
        ),
        ("full_hit_reduction", "share", lambda model: reduction(model, prompt, prompt - 1)),
        ("ceiling_reduction", "share", ceiling),
    ]


def reduction(model: Model, prompt: float, cached: float) -> float:
    """1 - TTFT with `cached` tokens / TTFT with none, by the model."""
    hit, cold = model.predict_ms(np.array([prompt, prompt]), np.array([cached, 0.0]))
    return float(1 - hit / cold)


def _row(fit: Fit, name: str, unit: str, value: Value) -> dict[str, Any]:
    """The value and its interval over the resampled sessions. A resample without a value (nothing to load) is at infinity."""
    found = [value(model) for model in fit.resampled]
    numbers = np.array([np.inf if entry is None else entry for entry in found], dtype="float64")
    low, high = (None, None)
    if len(numbers):
        tail = intervals.expanded_tail(fit.sessions)
        low, high = (float(end) for end in np.quantile(numbers, [tail, 1 - tail], method="nearest"))
    return {"name": name, "unit": unit, "value": value(fit.model), "low": low, "high": high}


def expected(fit: Fit, prompt: float) -> list[dict[str, Any]]:
    """TTFT to expect at the reference prompt length, by the share of it that is cached."""
    rows = []
    for rate in HIT_RATES:
        at = (np.array([prompt]), np.array([rate * prompt]))
        row = _row(fit, "ttft_ms", "ms", lambda model, at=at: float(model.predict_ms(*at)[0]))  # type: ignore[misc]
        rows.append({"hit_rate": rate, "ttft_ms": row["value"], "low": row["low"], "high": row["high"]})
    return rows


def _notes(fit: Fit, rows: list[dict[str, Any]]) -> list[str]:
    notes = []
    if not fit.model.form.load:
        notes.append("Prompt lengths vary too little, or nothing was cached: the cost of loading cannot be separated from the fixed "
                     "cost and "
                     "is included in it; the prefill rate is that of computing instead of loading.")  # fmt: skip
    elif not fit.model.load_ms_per_token:
        notes.append("Cached tokens have no measurable cost.")
    speed = next(row["value"] for row in rows if row["name"] == "load_gb_per_s")
    if speed and speed > PCIE5_X16_GB_PER_S:
        notes.append(f"The load rate is above what one PCIe 5 x16 link carries ({PCIE5_X16_GB_PER_S:.0f} GB/s): these hits were served on "
                     "the GPUs, over several links, or not all of the KV was moved.")  # fmt: skip
    return notes


def _points(fit: Fit, limit: int = 600) -> dict[str, list[Any]]:
    """What the chart and the residual plot need, as columns, evenly picked."""
    points = fit.points.iloc[np.unique(np.linspace(0, len(fit.points) - 1, limit).astype(int))]
    columns = ["prompt_tokens", "cached_tokens", "ttft_ms", "predicted_ms", "label"]
    return {name: points[name].round(3).tolist() if name != "label" else points[name].tolist() for name in columns}
