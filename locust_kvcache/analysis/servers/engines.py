"""Computes what each engine of a fleet did in each round, and how evenly the load was spread, from the engines' own counters.

An engine is one metrics page, or one value of vLLM's `engine` label on it (data-parallel replicas). Pages of routers and stores count
no prompt tokens and are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from locust_kvcache.analysis.basics.number_text import plural
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.servers.server_counters import delta_sum, label, prompt_sources

UNBALANCED = 1.5  # the busiest engine's prompt tokens over the mean of all
ROUND = ["scenario", "round"]
COLUMNS = [
    *ROUND, "role", "engine", "requests", "prompt_tokens", "gpu_tokens", "external_tokens", "computed_tokens", "hit_rate",
    "generation_tokens", "ttft_ms", "running_max", "waiting_max", "kv_usage_max",
]  # fmt: skip
BALANCE_COLUMNS = [
    *ROUND, "role", "engines", "idle", "idle_names", "requests", "busiest", "max_over_mean_requests", "max_over_mean_tokens",
    "gini_tokens",
]  # fmt: skip
_ANSWERED = ("vllm:request_success_total", "sglang:num_requests_total")
_GENERATED = ("vllm:generation_tokens_total", "sglang:generation_tokens_total")
_GAUGES = {
    "running_max": "vllm:num_requests_running",
    "waiting_max": "vllm:num_requests_waiting",
    "kv_usage_max": "vllm:kv_cache_usage_perc",
}


def engine_table(changed: pd.DataFrame, series: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """One row per scenario, round and engine: COLUMNS. `names`: the deployment file's name of each page; missing values are NaN.

    `requests` are those that the engine finished, `hit_rate` is (gpu + external) / prompt tokens.
    """
    pages = changed[changed["metric"].str.contains(r":prompt_tokens_(?:total|by_source_total)$")]
    if pages.empty:
        return pd.DataFrame(columns=COLUMNS)
    engine = changed["labels"].map(lambda text: label(text, "engine"))
    mine = changed.assign(engine=engine)[changed["url"].isin(pages["url"])]
    several = {url for url, found in mine.groupby("url")["engine"] if len({name for name in found if name}) > 1}
    named = _names(list(dict.fromkeys(mine["url"])), names)
    rows = []
    key: Any
    for key, group in mine.groupby(["scenario", "round", "role", "url", "engine"], sort=False):
        scenario, number, role, url, engine_label = key
        if engine_label or url not in several:
            name = f"{named[url]}/{engine_label}" if url in several else named[url]
            gauges = _gauges(series, scenario, number, url, engine_label if url in several else None)
            rows.append({"scenario": scenario, "round": number, "role": role, "engine": name, **_counts(group), **gauges})
    table = pd.DataFrame(rows, columns=COLUMNS)
    return _joined(table)


def _joined(table: pd.DataFrame) -> pd.DataFrame:
    """One row per engine, where a page without several engines has samples with and without the label."""
    if not table.duplicated([*ROUND, "engine"]).any():
        return table
    summed = ["requests", "prompt_tokens", "gpu_tokens", "external_tokens", "computed_tokens", "generation_tokens"]
    how: dict[str, Any] = {name: (lambda values: values.sum(min_count=1)) if name in summed else "max" for name in COLUMNS[4:]}
    joined = table.groupby([*ROUND, "role", "engine"], sort=False).agg(how).reset_index()
    cached = joined[["gpu_tokens", "external_tokens"]].sum(axis=1, min_count=1)
    return joined.assign(hit_rate=cached / joined["prompt_tokens"].where(joined["prompt_tokens"] > 0))[COLUMNS]


def _names(urls: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """The given name of each page, else its host and port."""
    return {url: names.get(url) or urlsplit(str(url)).netloc or str(url) for url in urls}


def _counts(group: pd.DataFrame) -> dict[str, float | None]:
    tokens = prompt_sources(group) or _sglang_sources(group)
    if not tokens and _first(group, ("vllm:prompt_tokens_total",)) == 0:
        tokens = {"gpu": 0.0, "external": 0.0, "computed": 0.0}  # it counts, and had nothing to count
    answered = _first(group, _ANSWERED)
    count = delta_sum(group, "vllm:time_to_first_token_seconds_count")
    prompt = sum(tokens.values()) if tokens else _first(group, ("vllm:prompt_tokens_total",))
    cached = tokens.get("gpu", 0.0) + tokens.get("external", 0.0)
    return {
        "requests": answered if answered is not None else count or None,
        "prompt_tokens": prompt,
        "gpu_tokens": tokens.get("gpu", 0.0) if tokens else None,
        "external_tokens": tokens.get("external", 0.0) if tokens else None,
        "computed_tokens": tokens.get("computed", 0.0) if tokens else None,
        "hit_rate": cached / prompt if tokens and prompt else None,
        "generation_tokens": _first(group, _GENERATED),
        "ttft_ms": 1000 * delta_sum(group, "vllm:time_to_first_token_seconds_sum") / count if count else None,
    }


def _sglang_sources(group: pd.DataFrame) -> dict[str, float]:
    prompt, cached = (_first(group, (f"sglang:{name}_tokens_total",)) for name in ("prompt", "cached"))
    return {"gpu": cached, "computed": max(0.0, prompt - cached)} if prompt is not None and cached is not None else {}


def _first(group: pd.DataFrame, metrics: Sequence[str]) -> float | None:
    return next((delta_sum(group, metric) for metric in metrics if group["metric"].eq(metric).any()), None)


def _gauges(series: pd.DataFrame, scenario: str, number: int, url: str, engine: str | None) -> dict[str, float | None]:
    """The largest value of each gauge while the round ran; between two scrapes it may have been larger."""
    mine = series[series["url"].eq(url) & series["scenario"].eq(scenario) & series["round"].eq(number)]
    if engine is not None:
        mine = mine[mine["labels"].map(lambda text: label(text, "engine")).eq(engine)]
    found = {column: mine.loc[mine["metric"].eq(metric), "value"] for column, metric in _GAUGES.items()}
    return {column: float(values.max()) if len(values) else None for column, values in found.items()}


def gini(values: Sequence[float]) -> float | None:
    """Mean absolute difference of all pairs / (2 x mean): 0 where all are equal, (n - 1) / n where one has all. None without a sum."""
    total, count = sum(values), len(values)
    if total <= 0:
        return None
    differences = sum(abs(one - other) for one, other in itertools.product(values, values))
    return differences / (2 * count * total)


def balance_table(engines: pd.DataFrame) -> pd.DataFrame:
    """How the load was spread over the engines of one role, per round; only where there are two or more, and some load."""
    rows = []
    key: Any
    for key, group in engines.groupby([*ROUND, "role"], sort=False):
        group = group[group["prompt_tokens"].notna()]  # of an engine that tells nothing it is not known whether it stood idle
        tokens, requests = group["prompt_tokens"], group["requests"].astype(float)
        if len(group) < 2 or tokens.sum() <= 0:
            continue
        known = bool(requests.notna().all() and requests.sum())
        idle = group.loc[tokens.eq(0), "engine"]
        rows.append(
            {
                **dict(zip([*ROUND, "role"], key, strict=True)),
                "engines": len(group),
                "idle": len(idle),
                "idle_names": ", ".join(idle),
                "requests": float(requests.sum()) if known else None,
                "busiest": group["engine"].iloc[int(tokens.to_numpy().argmax())],
                "max_over_mean_requests": float(requests.max() / requests.mean()) if known else None,
                "max_over_mean_tokens": float(tokens.max() / tokens.mean()),
                "gini_tokens": gini(list(tokens)),
            }
        )
    return pd.DataFrame(rows, columns=BALANCE_COLUMNS)


REMEDY = (
    "Check the router's policy. One that goes by session needs a header with the session, in the deployment file: "
    'headers: {x-session-id: "{session}"}. A balancer of connections keeps each user at one engine: use many more users than engines. '
    "Compare deployments by their TTFT and requests/s per GPU, not by the change from cold to hit."
)


def balance_problems(balance: pd.DataFrame) -> list[Problem]:
    """A warning per scenario and role where an engine stood idle, or the busiest computed far more than the mean."""
    problems = []
    key: Any
    for key, group in balance.groupby(["scenario", "role"], sort=False):
        worst = group.sort_values(["idle", "max_over_mean_tokens"]).iloc[-1]
        rounds = " and ".join(str(number) for number in group.loc[_uneven(group), "round"])
        if worst["idle"]:
            text = (
                f"{worst['idle']} of {worst['engines']} engines ({worst['idle_names']}) stood idle in round {rounds} of {key[0]}: "
                f"{worst['busiest']} computed {worst['max_over_mean_tokens']:.3g} times the mean of all."
            )
            problems.append(Problem("warning", "engine_idle", text, REMEDY))
        elif worst["max_over_mean_tokens"] > UNBALANCED:
            text = (
                f"The load was uneven in round {rounds} of {key[0]}: of {plural(int(worst['engines']), 'engine')}, {worst['busiest']} got "
                f"{worst['max_over_mean_tokens']:.3g} times the mean of the prompt tokens."
            )
            problems.append(Problem("warning", "engines_unbalanced", text, REMEDY))
    return problems


def _uneven(balance: pd.DataFrame) -> pd.Series:
    return balance["idle"].gt(0) | balance["max_over_mean_tokens"].gt(UNBALANCED)
