"""Computes where a fleet loses cached tokens: reusable, held by an engine, captured by the routing, delivered by the engines.

The engine of each request comes from a header of its response (`engine` in the record). What each engine holds is simulated: an LRU
cache of its size, or one without limit where sizes are unknown, filled by the requests that it got, in the order in which they were
sent. For each request, in whole blocks:

- reusable: the longest prefix that any earlier request has sent, wherever it went
- held: the longest prefix that one engine holds, the best of all engines
- captured: what the engine that got the request holds
- delivered: cached tokens that the engine reported

Where an engine delivers more than it holds by this account (from a store that all engines share, say), the steps above count as much
for that request, and `beyond_tokens` says how much it was.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.cache.ideal_caches import MAX_TOUCHES, chains, touches

STEPS = ("reusable", "held", "captured", "delivered")
PAID = ["round_1_ttft_ms", "ttft_ms", "ttft_cut", "compute_cut"]
COLUMNS = ["scenario", "round", "engines", "requests", "prompt_tokens", *STEPS, "beyond_tokens", "engine_tokens", *PAID]
NEEDED = ["engine", "prompt_tokens", "planned_cached_tokens", "reported_cached_tokens", "started_at_s"]


@dataclass
class _Cache:
    """LRU over blocks; of a prompt its end goes first. `capacity_blocks` None: without limit."""

    capacity_blocks: int | None
    blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)

    def match(self, wanted: Sequence[int]) -> int:
        return next((number for number, block in enumerate(wanted) if block not in self.blocks), len(wanted))

    def keep(self, sent: Sequence[int]) -> None:
        for block in reversed(sent):
            self.blocks[block] = None
            self.blocks.move_to_end(block)
        while self.capacity_blocks is not None and len(self.blocks) > self.capacity_blocks:
            self.blocks.popitem(last=False)


def waterfall(records: pd.DataFrame, block: int, gpu_tokens: float | None, engines: int) -> tuple[pd.DataFrame, str | None]:
    """COLUMNS, a row per scenario and round; and why there is none, None where no router names engines.

    `gpu_tokens`: what the caches of all engines hold together, `engines` how many there are; each is taken to hold an equal part.
    """
    usable = records["ok"] & records["prompt_tokens"].notna() & records["started_at_s"].notna()
    if not (usable & records["engine"].notna()).any():
        return pd.DataFrame(columns=COLUMNS), None
    answered = chosen(records, usable, ["scenario", "round", "request_index", "ttft_ms", *NEEDED])
    named = answered["engine"].notna() & answered["engine"].ne("")
    if not named.any():
        return pd.DataFrame(columns=COLUMNS), None
    if not named.all():
        why = f"{int((~named).sum())} of {len(named)} responses do not name the engine that answered"
        return pd.DataFrame(columns=COLUMNS), why
    count = max(engines, answered["engine"].nunique())
    if (followed := touches(records, block) * count) > MAX_TOUCHES:
        return pd.DataFrame(columns=COLUMNS), f"{followed:,} blocks would have to be followed; at most {MAX_TOUCHES:,} are"
    blocks = chains(records, block)
    each = None if gpu_tokens is None else int(gpu_tokens / count)
    steps = _simulated(answered, blocks, block, None if each is None else each // block)
    told = answered[answered[NEEDED].notna().all(axis=1)]
    delivered = told["reported_cached_tokens"]
    at_least = steps.reindex(told.index).apply(lambda column: column.where(column >= delivered, delivered))
    beyond = (delivered - steps["captured"].reindex(told.index)).clip(lower=0)
    table = told[["scenario", "round", "prompt_tokens"]].join(at_least)
    table = table.assign(delivered=delivered, beyond_tokens=beyond, requests=1)
    columns = ["requests", "prompt_tokens", *STEPS, "beyond_tokens"]
    summed = table.groupby(["scenario", "round"], observed=True, sort=False)[columns].sum().reset_index()
    summed = summed.assign(engines=count, engine_tokens=each).merge(paid_out(told), on=["scenario", "round"], how="left")
    return summed[COLUMNS], None


def paid_out(told: pd.DataFrame) -> pd.DataFrame:
    """PAID per scenario and later round, over the requests that succeeded there and in round 1.

    `ttft_cut` = 1 - mean TTFT / round 1's. `compute_cut` = 1 - prompt tokens to compute / round 1's: what the TTFT would be cut by if it
    were all computing. In round 1 nothing is paid out yet: its row is left out.
    """
    key: Any
    rows = []
    shown = told[told["ttft_ms"].notna()].assign(left=told["prompt_tokens"] - told["reported_cached_tokens"])
    first = shown[shown["round"].eq(1)].set_index(["scenario", "request_index"])[["ttft_ms", "left"]].add_suffix("_1")
    for key, group in shown[shown["round"].ne(1)].groupby(["scenario", "round"], observed=True, sort=False):
        both = group.join(first, on=["scenario", "request_index"], how="inner")
        before_ms, left = float(both["ttft_ms_1"].mean()), float(both["left_1"].sum())
        if len(both) and before_ms > 0 and left > 0:
            after_ms = float(both["ttft_ms"].mean())
            rows.append((*key, before_ms, after_ms, 1 - after_ms / before_ms, 1 - float(both["left"].sum()) / left))
    return pd.DataFrame(rows, columns=["scenario", "round", *PAID]).astype({"scenario": object})


def _simulated(
    records: pd.DataFrame, blocks: dict[tuple[str, int], list[int]], block: int, capacity_blocks: int | None
) -> pd.DataFrame:
    """reusable, held and captured of each request, in tokens; a prompt's last token is never served."""
    ordered = records.sort_values("started_at_s", kind="stable")
    endless, caches = _Cache(None), {str(name): _Cache(capacity_blocks) for name in ordered["engine"].unique()}
    found = []
    columns = ordered[["scenario", "request_index", "prompt_tokens", "engine"]]
    for scenario, index, prompt, engine in columns.itertuples(index=False):
        mine = blocks.get((str(scenario), int(index)), [])
        wanted = mine[: int(prompt - 1) // block]
        by_engine = {name: cache.match(wanted) for name, cache in caches.items()}
        found.append(tuple(count * block for count in (endless.match(wanted), max(by_engine.values()), by_engine[str(engine)])))
        endless.keep(mine)
        caches[str(engine)].keep(mine)
    return pd.DataFrame(found, index=ordered.index, columns=["reusable", "held", "captured"])
