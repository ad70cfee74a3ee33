"""Reads the cost of a request on one server from a run's folder, its stats.json, or a profile of the emulator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.advice.measured_tiers import MeasuredTiers, measured_tiers
from locust_kvcache.analysis.basics.number_text import percent, whole
from locust_kvcache.analysis.labelling import label_run
from locust_kvcache.analysis.model.engine_queue import EngineCosts
from locust_kvcache.analysis.model.run_points import split_of
from locust_kvcache.analysis.model.stage_costs import decode_curve, most_at_once
from locust_kvcache.analysis.model.stage_points import points_of
from locust_kvcache.analysis.model.ttft_model import Fit, Form, Model, fit_points, fit_ttft
from locust_kvcache.analysis.reading.runs import RecordedRun, load_run
from locust_kvcache.analysis.reading.stats_file import read_stats
from locust_kvcache.analysis.stats.intervals import Floats
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record_files import record_files
from locust_kvcache.contract.tier_capacity import tier_capacities

ARMS_BELOW = frozenset({"cpu_hit", "disk_hit", "store_hit"})
MISFIT = 0.08  # sum of |residual| over sum of TTFT, beyond which a fit predicts nothing
BEYOND, BEYOND_WITH_ATTENTION = 1.25, 2.0  # times the most computed tokens that were fitted: what lies further out is unknown


@dataclass(frozen=True)
class Link:
    """What loads KV from a tier below the GPU."""

    gb_per_s: float
    latency_s: float = 0.0


@dataclass(frozen=True)
class Source:
    """`front_end`: (prompt tokens, seconds) before the engine, of which what the first point has is nobody else's wait.
    `cached_s_per_token`: what a model has for a cached token, front end too. `longest_tokens`: most computed tokens that were fitted."""

    name: str
    costs: EngineCosts
    front_end: tuple[tuple[float, float], ...]
    cached_s_per_token: float = 0.0
    longest_tokens: float | None = None
    beyond: float = BEYOND
    kv_bytes_per_token: float | None = None
    capacities: Mapping[str, float] = field(default_factory=dict)  # tokens by tier
    links: Mapping[str, Link] = field(default_factory=dict)
    hand_off: Link | None = None  # from a prefiller to a decoder
    gpus: int | None = None
    block_tokens: int | None = None
    measured_decoding: float | None = (
        None  # requests that decoded at once where the time of a token was measured; None: a formula
    )
    price_per_gpu_hour: float | None = None
    price_per_gb_month: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def before_s(self) -> float:
        """Of each request, beside all others."""
        return self.front_end[0][1]

    def front_s(self, prompt: Floats, cached: Floats) -> Floats:
        """Of each request, one after another: tokenizing and hashing in the server's front end."""
        tokens, seconds = zip(*self.front_end, strict=True)
        taken = np.interp(prompt, tokens, seconds) - self.before_s + self.cached_s_per_token * cached
        return np.asarray(taken, dtype=np.float64)


def undisturbed(records: pd.DataFrame) -> pd.Series:
    """Requests that were sent while no other of their scenario and round waited for its first token."""
    began, first = records["started_at_s"].to_numpy(), (records["started_at_s"] + records["ttft_ms"] / 1000).to_numpy()
    order = np.argsort(began, kind="stable")
    latest = np.concatenate([[-np.inf], np.maximum.accumulate(np.nan_to_num(first[order], nan=-np.inf))[:-1]])
    quiet = np.empty(len(records), dtype=bool)
    quiet[order] = latest <= began[order]
    return pd.Series(quiet, index=records.index)


def weighted_error(fit: Fit) -> float:
    """Sum of |predicted - measured| over the sum of the measured."""
    points = fit.points
    return float((points["predicted_ms"] - points["ttft_ms"]).abs().sum() / points["ttft_ms"].sum())


def from_run(folder: Path) -> Source:
    """Fitted to the requests that met no other's prefill and hit nothing below the GPU; with the load rates of its arms."""
    run = load_run(folder)
    if split_of(run.info.deployment) is not None:
        raise BadInput(
            f"{folder} ran on a pair, whose decoder tells no cost of a prefill; give a run on one of its servers, or --profile"
        )
    labelled, _ = label_run(run)
    tiers = measured_tiers(folder) if set(run.info.arms) & ARMS_BELOW else MeasuredTiers(frozenset(), {})
    rounds = zip(labelled["scenario"].astype(str), labelled["round"], strict=True)
    on_gpu = np.array([one not in tiers.below for one in rounds], dtype=bool)
    points = fit_points(labelled[undisturbed(labelled) & on_gpu])
    fit = fit_ttft(points) if len(points) else None
    if fit is None:
        raise BadInput(
            f"{folder}: no TTFT model: {len(points)} requests met no other's prefill and have cached tokens; their uncached tokens must "
            "differ by a factor of 2; give a run of one user with cold prompts and hits, or --profile"
        )
    if (error := weighted_error(fit)) > MISFIT:
        raise BadInput(
            f"{folder}: its TTFT model misses by {error:.0%}; expected at most {MISFIT:.0%}: give a run of one user, or --profile"
        )
    computed = fit.points["prompt_tokens"] - fit.points["cached_tokens"]
    said = (
        f"TTFT model of {folder.resolve().name}: {len(fit.points)} requests without another request's prefill at the same time; error "
        f"{percent(error)}"
    )
    facts = {**_facts_of(run), "links": {tier: Link(rate) for tier, rate in tiers.gb_per_s.items()}}
    notes = (f"{said}.", *tiers.notes)
    return _of_model(fit.model, folder.resolve().name, _decoding(run), float(computed.max()), facts, notes)


def _decoding(run: RecordedRun) -> tuple[Floats, Floats, float] | None:
    """(batch, seconds per token, most at once) of the rounds that compute least; None where all answers have one token."""
    points = [point for point in points_of(run.folder.name, run.records) if len(point.tpot_s)]
    if not points:
        return None
    least = {point.scenario: point for point in sorted(points, key=lambda point: -point.computed_tokens)}
    return (*decode_curve(list(least.values())), most_at_once(list(least.values())))


def _facts_of(run: RecordedRun) -> dict[str, Any]:
    """Of one of its servers."""
    info = run.info
    kv_bytes = info.model_facts.kv_bytes_per_token
    servers = max(1, (info.deployment.engine_roles or info.deployment.roles).count("server"))
    held = tier_capacities(run.server_metrics, kv_bytes, dict(info.deployment.capacity))
    return {
        "kv_bytes_per_token": kv_bytes,
        "capacities": {tier: tokens / servers if tier == "gpu" else tokens for tier, tokens in held.items()},
        "gpus": None if info.deployment.gpus is None else max(1, info.deployment.gpus // servers),
        "block_tokens": info.block_size_tokens,
        "price_per_gpu_hour": info.deployment.price_per_gpu_hour,
        "price_per_gb_month": info.deployment.price_per_gb_month,
    }


def _of_model(
    model: Model,
    name: str,
    decoding: tuple[Floats, Floats, float] | None,
    longest: float,
    facts: Mapping[str, Any],
    notes: tuple[str, ...],
) -> Source:
    step_s = model.form.step_ms / 1000
    batch, token_s, most = decoding or (np.ones(1), np.array([step_s]), 1.0)
    costs = EngineCosts(model.prefill_ms_per_token / 1000, model.attention_ms_per_token2 / 1000, step_s, batch, token_s)
    return Source(
        name,
        costs,
        ((0.0, model.fixed_ms / 1000),),
        (model.load_ms_per_token or 0.0) / 1000,
        longest,
        BEYOND_WITH_ATTENTION if model.form.attention else BEYOND,
        measured_decoding=most,
        notes=notes,
        **facts,
    )


def from_stats(path: Path) -> Source:
    """From the fitted parameters alone: no counts of the tiers, and one time of a token."""
    stats = read_stats(path)
    model = stats.get("ttft_model") or {}
    if not model.get("parameters"):
        raise BadInput(
            f"{path}: has no TTFT model ({model.get('why_not') or 'none was fitted'}); give the folder of the run with its records, a run "
            "of one user, or --profile"
        )
    values = {row["name"]: row["value"] for row in model["parameters"]}
    prompt, step_ms = model["reference_prompt_tokens"], model["terms"]["step_ms"]
    attention = (values.get("attention_ms_per_million_token2") or 0.0) / 1e6
    per_token = max(0.0, 1000 / values["prefill_tokens_per_s"] - attention * prompt / 2)
    points = pd.DataFrame(model["points"])
    longest = float((points["prompt_tokens"] - points["cached_tokens"]).max())
    load = values.get("load_tokens_per_s")
    info, facts = stats["run"], stats["run"].get("model_info") or {}
    said = f"TTFT model of {path}: median error {percent(model['median_error'])} over {whole(model['requests'])} requests."
    found = _of_model(
        _model(values["fixed_ms"], per_token, attention, step_ms, load),
        str(info.get("run_id") or path),
        None,
        longest,
        {
            "kv_bytes_per_token": facts.get("kv_bytes_per_token"),
            "gpus": (info.get("deployment") or {}).get("gpus"),
            "block_tokens": (info.get("server") or {}).get("block_size_tokens"),
        },
        (said,),
    )
    return found


def _model(fixed: float, per_token: float, attention: float, step_ms: float, load_rate: float | None) -> Model:
    return Model(Form(True, attention > 0, step_ms), fixed, per_token, 1000 / load_rate if load_rate else None, attention)


def load_source(path: Path) -> Source:
    """A run's folder with records is fitted anew; of a stats.json, or a folder without records, the parameters are taken."""
    folder = path if path.is_dir() else path.parent
    if record_files(folder) and (folder / "run.json").is_file():
        return from_run(folder)
    return from_stats(path)


def with_given(source: Source, **given: Any) -> Source:
    """What options say, in place of what the source says."""
    return dataclasses.replace(source, **{name: value for name, value in given.items() if value is not None})
