"""Which tier of an lmcache server answered, by its counters and the engine's, by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.cache import tier_verdicts
from locust_kvcache.analysis.reading.run_json import parse_run_info
from locust_kvcache.analysis.servers import server_counters
from tests.analysis.cache.test_tier_verdicts import BLOCK, TRAFFIC, rounds

GPU, EXTERNAL, COMPUTED = (
    f'vllm:prompt_tokens_by_source_total{{source="{name}"}}'
    for name in ("local_cache_hit", "external_kv_transfer", "local_compute")
)
UNSPECIFIED = (
    'vllm:prompt_tokens_cached_by_source_total{source="external_unspecified"}'  # what vLLM 0.32 says of LMCacheMPConnector
)


def scrapes(gpu: float, external: float, first: float, second: float, adapter: str) -> list[dict[str, Any]]:
    """One round of 10 requests and 40,000 prompt tokens: the engine's page and the lmcache server's, before and after."""
    engine = {GPU: gpu, EXTERNAL: external, COMPUTED: 40_000 - gpu - external, UNSPECIFIED: external}
    cache = {
        "lmcache_mp_lookup_hit_l1_tokens_total": first,
        "lmcache_mp_lookup_hit_l2_tokens_total": second,
        f'lmcache_mp_l2_load_completed_requests_total{{l2_name="{adapter}"}}': 10.0 if second else 0.0,
    }
    head = {"at_s": 1.0, "scenario": "s", "round": 2}
    return [
        {**head, "when": when, "role": role, "url": f"http://{role}/metrics", "samples": {key: sign * value for key, value in page.items()}}
        for when, sign in (("before", 0.0), ("after", 1.0))
        for role, page in (("server", engine), ("lmcache", cache))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gpu", "external", "first", "second", "adapter", "verdict", "tier"),
    [
        (0.0, 38_400.0, 0.0, 38_400.0, "fs_native", "disk hit", "disk"),
        (0.0, 38_400.0, 38_400.0, 0.0, "fs_native", "CPU hit", "cpu"),
        (0.0, 38_400.0, 0.0, 38_400.0, "s3", "hit below the GPU", "below"),  # a second tier, and no disk of this host
        (0.0, 38_400.0, 19_200.0, 19_200.0, "fs_native", "hit below the GPU", "below"),  # both had half
        (36_000.0, 0.0, 38_400.0, 0.0, "fs_native", "GPU hit", "gpu"),  # LMCache counts what the GPU had as its own hits, too
    ],
)
def test_the_tiers_of_an_lmcache_server(
    gpu: float, external: float, first: float, second: float, adapter: str, verdict: str, tier: str
) -> None:
    changed = server_counters.deltas(server_counters.series(scrapes(gpu, external, first, second, adapter)))[0]
    judged = tier_verdicts.judge(
        rounds(2), parse_run_info({"rounds": [], "command": ["locust"]}), server_counters.tiers(changed), TRAFFIC, BLOCK
    )
    assert list(judged[["verdict", "tier"]].iloc[0]) == [verdict, tier]


def test_only_what_the_other_tier_cannot_have_had_is_certain() -> None:
    """Of 30,000 external tokens at least 20,000 are the disk's: host memory had 10,000 at most. 5,000 of the disk's hits were the GPU's."""
    changed = server_counters.deltas(server_counters.series(scrapes(5_000.0, 30_000.0, 10_000.0, 25_000.0, "raw_block")))[0]
    row: pd.Series[float] = server_counters.tiers(changed).iloc[0]
    assert (row["host"], row["disk"]) == (5_000.0, 20_000.0)
