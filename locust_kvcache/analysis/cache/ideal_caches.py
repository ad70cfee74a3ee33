"""Simulates ideal caches of given sizes over a run, and compares them with what was served.

cache_efficiency = tokens served from the cache / tokens that the ideal cache would have served. Ideal caches: one without limit (the
plan's `planned_cached_tokens`), and least-recently-used ones of the size that each tier reported, in whole blocks.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen, group_masks

BINS = 24
MAX_TOUCHES = 4_000_000  # blocks over all requests; beyond it a simulation would take longer than the rest of the analysis
ENDLESS = "endless"
COLUMNS = [
    "scenario",
    "round",
    "at_s",
    "cache",
    "capacity_tokens",
    "prompt_tokens",
    "ideal_tokens",
    "evicted_tokens",
    "served_tokens",
]
Key = tuple[str, int]  # scenario, request_index


def chains(records: pd.DataFrame, block: int) -> dict[Key, list[int]]:
    """Each planned request's blocks, prompt and answer, as numbers: equal where the plan says that two prompts share them.

    `shares_prefix_with` names the earlier request that shares most, so these links hold the whole tree of prefixes.
    """
    found: dict[Key, list[int]] = {}
    fresh = 0
    columns = ["scenario", "request_index", "shares_prefix_with", "planned_cached_tokens", "prompt_tokens", "output_tokens"]
    for scenario, index, source, shared, prompt, output in _first_sent(records, columns).itertuples(index=False):
        length = int(prompt + (output if output == output else 0) - 1) // block
        parent = found.get((str(scenario), int(source)), []) if source == source else []
        same = parent[: int(shared) // block if shared == shared else 0][:length]
        found[str(scenario), int(index)] = [*same, *range(fresh, fresh + length - len(same))]
        fresh += length - len(same)
    return found


def touches(records: pd.DataFrame, block: int) -> int:
    """Blocks that a simulation has to follow: those of `chains`, in each round."""
    first = _first_sent(records, ["scenario", "request_index", "prompt_tokens", "output_tokens"])
    lengths = (first["prompt_tokens"] + first["output_tokens"].fillna(0.0) - 1) // block
    return int(lengths.sum()) * records["round"].nunique()


def _first_sent(records: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Of each planned request its record of round 1, in the order of the plan."""
    known = chosen(records, records["prompt_tokens"].notna() & records["round"].eq(1), columns)
    return known.sort_values(["scenario", "request_index"]).drop_duplicates(["scenario", "request_index"])


def lru_tokens(records: pd.DataFrame, blocks: dict[Key, list[int]], capacity_tokens: int, block: int) -> pd.DataFrame:
    """Columns ideal_tokens, what an LRU cache of this size holds of each prompt when it is sent, and evicted_tokens, what it drops for it.

    In the order of `started_at_s`, as the index says. A prompt's last blocks go first, as in vLLM; its last token is never served.
    """
    cache: OrderedDict[int, None] = OrderedDict()
    columns = ["scenario", "request_index", "prompt_tokens"]
    ordered = chosen(records, records["prompt_tokens"].notna(), [*columns, "started_at_s"]).sort_values(
        "started_at_s", kind="stable"
    )
    found = []
    for scenario, index, prompt in ordered[columns].itertuples(index=False):
        mine = blocks.get((str(scenario), int(index)), [])
        hit, most = 0, int(prompt - 1) // block
        while hit < min(most, len(mine)) and mine[hit] in cache:
            hit += 1
        for number in reversed(mine):
            cache[number] = None
            cache.move_to_end(number)
        evicted = max(0, len(cache) - capacity_tokens // block)
        for _ in range(evicted):
            cache.popitem(last=False)
        found.append((float(hit * block), float(evicted * block)))
    return pd.DataFrame(found, index=ordered.index, columns=["ideal_tokens", "evicted_tokens"])


def over_time(records: pd.DataFrame, block: int, sizes: dict[str, int], arms: bool) -> tuple[pd.DataFrame, str | None]:
    """COLUMNS: a row per scenario, round, time bin and ideal cache, over requests whose cached tokens were reported and believed.

    Empty where nothing was reported. With it why there is no tier's cache, only the one without limit; None where tiers are there.
    """
    believed = ["reported_cached_tokens", "planned_cached_tokens", "prompt_tokens"]
    known = records["ok"].copy()
    for name in believed:
        known &= records[name].notna()
    told = chosen(records, known, ["scenario", "round", "started_at_s", *believed])
    if told.empty:
        return pd.DataFrame(columns=COLUMNS), "no cached tokens were reported, or they were rejected"
    endless = pd.DataFrame({"ideal_tokens": told["planned_cached_tokens"], "evicted_tokens": 0.0})
    tables = [_binned(told, ENDLESS, None, endless)]
    if arms:
        return tables[0], "--arms empties tiers on purpose, which no simulation follows"
    if not sizes:
        return tables[0], "no tier's size is known (`metrics` of the deployment file, or its `capacity`)"
    if (count := touches(records, block)) > MAX_TOUCHES:
        return tables[0], f"{count:,} blocks would have to be followed; at most {MAX_TOUCHES:,} are"
    blocks = chains(records, block)
    tables += [_binned(told, tier, tokens, lru_tokens(records, blocks, tokens, block)) for tier, tokens in sizes.items()]
    return pd.concat(tables, ignore_index=True), None


def _binned(told: pd.DataFrame, name: str, capacity_tokens: int | None, ideal: pd.DataFrame) -> pd.DataFrame:
    """Sums per bin; bins of equal length over each scenario, `at_s` from its first request to the bin's middle."""
    tokens = {
        "prompt_tokens": told["prompt_tokens"],
        **ideal.reindex(told.index),
        "served_tokens": told["reported_cached_tokens"],
    }
    tables = []
    for (scenario,), places in group_masks(told, ["scenario"]):
        mine = places & told["started_at_s"].notna()
        if not mine.any():
            continue
        started_at_s = told["started_at_s"][mine].to_numpy()
        since = started_at_s - started_at_s.min()
        length = max(float(since.max()), 1e-9) / BINS
        number, numbers = pd.factorize(told["round"][mine])
        code = (number * BINS + np.minimum(since // length, BINS - 1)).astype(np.int32)
        del started_at_s, since, number
        table = pd.DataFrame({column: values[mine].groupby(code, sort=False).sum() for column, values in tokens.items()})
        at = table.index.to_numpy()
        tables.append(table.assign(scenario=str(scenario), round=numbers[at // BINS], at_s=(at % BINS + 0.5) * length))
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    whole = pd.concat(tables, ignore_index=True).sort_values(["scenario", "at_s"])
    return whole.assign(cache=name, capacity_tokens=float("nan") if capacity_tokens is None else float(capacity_tokens))[COLUMNS]
