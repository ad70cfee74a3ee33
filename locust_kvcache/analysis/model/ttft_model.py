"""Fits a model of the TTFT to prompt and cached tokens, with intervals and residuals.

    ttft = fixed + prefill + cached * load_cost,  prefill = uncached * prefill_cost + attention_cost * (n^2 - p^2) / 2

n prompt, p cached, n - p uncached tokens. The quadratic term is the attention of the new tokens to all before them. Where it explains
more, prefill is at least one decode step (the median TPOT): a forward pass has to read the weights, however few tokens it computes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.stats import intervals
from locust_kvcache.analysis.stats.intervals import Floats

MODEL_RESAMPLES = 300
MAX_FITTED = 1500  # requests, whole sessions: more only narrow what is narrow already
MIN_FITTED = 8
HUBER = 1.345
CLEARLY_BETTER = 6.0  # BIC points that a longer form must win by
LENGTHS_VARY = 1.3  # longest over shortest prompt, below which fixed and load cost cannot be told apart


@dataclass(frozen=True)
class Form:
    """Which terms a fit has."""

    load: bool
    attention: bool
    step_ms: float  # 0: prefill may take no time at all


@dataclass(frozen=True)
class Model:
    """Costs in ms, per token where they say so; `load_ms_per_token` is None where prompt lengths don't vary enough to find it."""

    form: Form
    fixed_ms: float
    prefill_ms_per_token: float
    load_ms_per_token: float | None
    attention_ms_per_token2: float

    def prefill_ms(self, prompt: Floats, cached: Floats) -> Floats:
        work = self.prefill_ms_per_token * (prompt - cached) + self.attention_ms_per_token2 * (prompt**2 - cached**2) / 2
        return np.maximum(work, self.form.step_ms)

    def predict_ms(self, prompt: Floats, cached: Floats) -> Floats:
        return self.fixed_ms + self.prefill_ms(prompt, cached) + (self.load_ms_per_token or 0.0) * cached


@dataclass(frozen=True)
class Fit:
    """A model, the models of the resampled sessions, and the requests that it was fitted to with their predictions."""

    model: Model
    resampled: tuple[Model, ...]
    points: pd.DataFrame  # prompt_tokens, cached_tokens, ttft_ms, predicted_ms, session, label
    sessions: int


def fit_points(records: pd.DataFrame) -> pd.DataFrame:
    """The requests that a fit may use: successful, with both token counts, neither racing nor warm-up; whole sessions if there are many."""
    usable = records["window"].isin(["cold", "partial", "hit"]) & records["ttft_ms"].gt(0) & records["prompt_tokens"].gt(0)
    usable &= records["reported_cached_tokens"].notna()
    shared = "prefix_root" if "prefix_root" in records else "session_id"  # who shares a prefix is resampled as a whole
    kept, count = usable.to_numpy(), int(usable.sum())
    if count > MAX_FITTED:
        kept = _some_sessions(chosen(records, usable, ["scenario", shared]), shared, kept)
    columns = {
        "prompt_tokens": "prompt_tokens",
        "reported_cached_tokens": "cached_tokens",
        "ttft_ms": "ttft_ms",
        "window": "label",
    }
    rows = chosen(records, pd.Series(kept, index=records.index), [*columns, "tpot_ms", "scenario", shared])
    sessions = rows["scenario"].astype(str) + "/" + rows[shared].astype(str)
    points = rows[list(columns)].rename(columns=columns).assign(session=sessions, tpot_ms=rows["tpot_ms"])
    return points.assign(label=points["label"].astype(str)).reset_index(drop=True)


def _some_sessions(rows: pd.DataFrame, shared: str, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of the usable requests those of sessions that are drawn until there are MAX_FITTED of them."""
    scenario, session = pd.factorize(rows["scenario"])[0], pd.factorize(rows[shared])[0]
    codes = pd.factorize(scenario * (int(session.max()) + 1) + session)[0]
    drawn = pd.Series(np.arange(int(codes.max()) + 1)).sample(frac=1, random_state=intervals.SEED).to_numpy()
    sizes = np.bincount(codes)
    few = np.zeros(len(sizes), dtype=bool)
    few[drawn[np.cumsum(sizes[drawn]) <= MAX_FITTED]] = True
    kept = usable.copy()
    kept[usable] = few[codes]
    return kept


def fit_ttft(points: pd.DataFrame) -> Fit | None:
    """The best form by BIC with its intervals' resamples; None where uncached tokens don't vary enough to fit anything."""
    prompt, cached, ttft = (points[name].to_numpy(dtype="float64") for name in ("prompt_tokens", "cached_tokens", "ttft_ms"))
    uncached = prompt - cached
    if len(points) < MIN_FITTED or uncached.max() < 2 * max(1.0, uncached.min()):
        return None
    models = [fit_forms(form, prompt, cached, ttft, np.ones((1, len(ttft))))[0] for form in _forms(points)]
    model = models[0]
    for other in models[1:]:  # a longer form must earn its place
        if _bic(other, prompt, cached, ttft) < _bic(model, prompt, cached, ttft) - CLEARLY_BETTER:
            model = other
    resampled = _resample(model, prompt, cached, ttft, pd.factorize(points["session"])[0])
    predicted = model.predict_ms(prompt, cached)
    return Fit(model, resampled, points.assign(predicted_ms=predicted), points["session"].nunique())


def _forms(points: pd.DataFrame) -> list[Form]:
    prompt, cached = points["prompt_tokens"], points["cached_tokens"]
    load = bool(cached.gt(0).any() and prompt.max() >= LENGTHS_VARY * prompt.min())
    step = float(points["tpot_ms"].median()) if points["tpot_ms"].notna().any() else 0.0
    long = prompt.max() >= 4 * max(1.0, (prompt - cached).min()) and load
    steps = [0.0, step] if step > 0 else [0.0]
    return [Form(load, attention, step_ms) for attention in ([False, True] if long else [False]) for step_ms in steps]


def fit_forms(form: Form, prompt: Floats, cached: Floats, ttft: Floats, repeats: Floats, rounds: int = 25) -> list[Model]:
    """Non-negative least squares on relative residuals, reweighted (Huber, 1.345 * MAD), so that a few stragglers don't bend the line.

    One model per row of `repeats`, which counts how often each request was drawn. Requests whose prefill is below the step have the step
    in its place.
    """
    from scipy.optimize import nnls  # only where a model is fitted

    columns = [np.ones_like(prompt), prompt - cached]
    columns += [cached] if form.load else []
    columns += [(prompt**2 - cached**2) / 2] if form.attention else []
    design = np.stack(columns, axis=1)
    scale = np.maximum(design.max(axis=0), 1.0)
    computes = np.zeros(len(columns), dtype=bool)
    computes[[1, *([-1] if form.attention else [])]] = True
    huber, at_step = np.ones_like(repeats), np.zeros(repeats.shape, dtype=bool)
    solved, going = np.zeros((len(repeats), len(columns))), np.arange(len(repeats))  # going: fits that still move
    for _ in range(rounds):
        roots = np.sqrt(repeats[going] * huber) / ttft
        terms = np.where(at_step[:, :, None] & computes, 0.0, design / scale) * roots[:, :, None]
        targets = (ttft - form.step_ms * at_step) * roots
        now = np.array([nnls(term, target)[0] for term, target in zip(terms, targets, strict=True)]) / scale
        moves = ~_close(solved[going], now)
        solved[going] = now
        going, now = going[moves], now[moves]
        if not len(going):
            break
        at_step = now[:, computes] @ design[:, computes].T < form.step_ms
        relative = np.abs(ttft - _predicted_ms(form, now, design, computes)) / ttft
        bound = HUBER * np.maximum(1.4826 * np.median(relative, axis=1), 1e-6)
        huber = np.minimum(1.0, bound[:, None] / np.maximum(relative, 1e-12))
    return [_model(form, costs) for costs in solved]


def _predicted_ms(form: Form, solved: Floats, design: Floats, computes: NDArray[np.bool_]) -> Floats:
    """Model.predict_ms of many models at once."""
    prefill = np.maximum(solved[:, computes] @ design[:, computes].T, form.step_ms)
    return np.asarray(prefill + solved[:, ~computes] @ design[:, ~computes].T, dtype=np.float64)


def _close(before: Floats, now: Floats) -> NDArray[np.bool_]:
    return np.asarray((np.abs(now - before) <= np.maximum(1e-6 * np.maximum(before, now), 1e-12)).all(axis=1), dtype=bool)


def _model(form: Form, solved: Floats) -> Model:
    load = float(solved[2]) if form.load else None
    return Model(form, float(solved[0]), float(solved[1]), load, float(solved[-1]) if form.attention else 0.0)


def _bic(model: Model, prompt: Floats, cached: Floats, ttft: Floats) -> float:
    """n ln(scale^2) + terms ln(n), with the mean Huber-clipped relative residual as scale (0.2 % at least: clocks are no finer)."""
    relative = np.abs(ttft - model.predict_ms(prompt, cached)) / ttft
    clipped = np.minimum(relative, 3 * max(1.4826 * float(np.median(relative)), 1e-6))
    terms = 2 + model.form.load + model.form.attention
    return float(len(ttft) * math.log(max(float((clipped**2).mean()), 0.002**2)) + terms * math.log(len(ttft)))


def _resample(model: Model, prompt: Floats, cached: Floats, ttft: Floats, clusters: np.ndarray) -> tuple[Model, ...]:
    count = int(clusters.max()) + 1
    if count < intervals.MIN_CLUSTERS:
        return ()
    weights = intervals.cluster_weights(count, MODEL_RESAMPLES)[:, clusters].astype(np.float64)
    return tuple(fit_forms(model.form, prompt, cached, ttft, weights, rounds=6))


def residual_summary(fit: Fit) -> dict[str, float]:
    """How well the model tells what it was fitted to: relative residuals |predicted - measured| / measured."""
    relative = (fit.points["predicted_ms"] / fit.points["ttft_ms"] - 1).abs()
    return {
        "requests": len(relative),
        "sessions": fit.sessions,
        "median_error": float(relative.median()),
        "p90_error": float(relative.quantile(0.9)),
    }


def without_load(model: Model) -> Model:
    """The same deployment if cached tokens cost nothing to fetch: the ceiling of what a faster store could give."""
    return replace(model, load_ms_per_token=0.0 if model.load_ms_per_token is not None else None)
