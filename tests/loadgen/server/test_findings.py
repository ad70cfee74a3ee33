"""Findings by hand-made pages: what a canary's answer means where no metrics page of a store is named."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.contract.deployment import host_deployment
from locust_kvcache.loadgen.server.deployment_check import passive_findings
from locust_kvcache.loadgen.server.findings import after_reset, looks_below, no_hit

QUERIES = 'vllm:external_prefix_cache_queries_total{engine="0"}'


def canary(gpu: float, below: float, ttft_ms: float = 400.0) -> dict[str, Any]:
    return {"prompt_tokens": 800, "cached_tokens": gpu + below, "gpu_tokens": gpu, "external_tokens": below,
            "computed_tokens": 800 - gpu - below, "ttft_ms": ttft_ms}  # fmt: skip


@pytest.mark.parametrize(("asked", "looks"), [(0.0, False), (47_757.0, True)])
def test_a_connector_that_was_asked_is_meant_to_be_there(asked: float, looks: bool) -> None:
    rows = [{"role": "decoder", "samples": {QUERIES: 9.0}}, {"role": "server", "samples": {QUERIES: asked}}]
    assert looks_below(rows) is looks
    assert not looks_below(rows[:1])  # a decoder is handed its KV: that is no look for a store


def test_a_dead_cache_that_the_deployment_file_does_not_name() -> None:
    """As LMCacheConnectorV1 with Mooncake's old keys: healthy, asked, never knows anything, 3 s more per lookup."""
    (finding,) = after_reset(canary(0, 0, ttft_ms=3500.0), "gpu", has_lower_tier=False, looks_lower=True)
    assert finding.severity == "warning"
    assert "the engine looks for KV below gpu, and no lower tier had the canary: that cache does not work" in finding.text
    assert "over 3 s, as in LMCache's degraded mode" in finding.text
    (finding,) = after_reset(canary(0, 0), "gpu", has_lower_tier=True)
    assert finding.severity == "error"
    (finding,) = after_reset(canary(0, 0), "disk", has_lower_tier=False, looks_lower=True, answered_below=True)
    assert finding.code == "can_be_emptied"  # the engine asks its connector, which is alive, and the lowest tier is empty
    (finding,) = after_reset(canary(0, 0), "gpu", has_lower_tier=False)
    assert finding.severity == "ok"


def test_a_tier_below_that_answers_is_fine_whether_named_or_only_seen() -> None:
    for named, seen in ((True, False), (False, True)):
        (finding,) = after_reset(canary(0, 784), "gpu", named, seen)
        assert finding.severity == "ok"
        assert "a tier below it answers: 784 of 800 tokens" in finding.text


@pytest.mark.parametrize(
    ("engines", "caching", "why"),
    [
        (2, "True", "2 engines share the requests"),
        (2, "False", "prefix caching seems to be off"),
        (1, "True", "prefix caching seems to be off"),
    ],
)
def test_a_prompt_that_hit_nothing_the_second_time(engines: int, caching: str, why: str) -> None:
    """Two data-parallel replicas of vLLM write two cache_config_info; a decoder's page is of no matter."""
    info = 'vllm:cache_config_info{{block_size="16",enable_prefix_caching="{}",engine="{}"}}'
    rows = [{"role": "server", "samples": {info.format(caching, engine): 1.0 for engine in range(engines)}},
            {"role": "decoder", "samples": {info.format("True", 7): 1.0}}]  # fmt: skip
    assert why in no_hit(rows)


def test_a_study_that_overflows_the_caches_is_not_warned_of_its_working_set() -> None:
    """It has none; "0 tokens" would fit every GPU, and the warning be that the store is never asked."""
    gpu = {'vllm:cache_config_info{block_size="32",num_gpu_blocks="64"}': 1.0}
    store = {"master_key_count": 0.0, "master_total_capacity_bytes": 32 << 20}
    pages = (("server", gpu), ("mooncake_master", store))
    rows = [{"role": role, "url": "http://h", "ok": True, "samples": samples} for role, samples in pages]
    names = [
        [found.code for found in passive_findings(host_deployment("http://h"), rows, tokens, 4096, False)] for tokens in (0, None)
    ]
    assert len(names[0]) > len(names[1])
    assert not any("gpu" in name for name in names[1])
