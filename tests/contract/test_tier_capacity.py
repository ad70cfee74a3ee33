"""What each tier holds, by hand-made pages and the deployment file."""

from __future__ import annotations

from locust_kvcache.contract.tier_capacity import gpu_tokens, tier_capacities


def test_sizes_come_from_the_servers_before_the_file() -> None:
    config = 'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="100"}'
    scrapes = [
        {"role": "prefiller", "samples": {config: 1.0}},
        {"role": "decoder", "samples": {config.replace("100", "7"): 1.0}},
        {"role": "store", "samples": {"master_total_capacity_bytes": 5e6}},
    ]
    assert tier_capacities(scrapes, 1000.0, {"gpu_tokens": 9, "cpu_gb": 0.002, "store_gb": 1}) == {
        "gpu": 1600,
        "cpu": 2000,
        "store": 5000,
    }
    off = config.replace("engine", 'enable_prefix_caching="False",engine')
    assert (
        tier_capacities([{"role": "server", "samples": {off: 1.0}}], None, {"gpu_tokens": 9}) == {}
    )  # it keeps nothing between requests
    info = 'vllm:cache_config_info{{block_size="16",engine="{}",num_gpu_blocks="10"}}'
    two = {"role": "server", "url": "u", "samples": {info.format(engine): 1.0 for engine in (0, 1)}}
    assert tier_capacities([two, two], None, {}) == {
        "gpu": 320
    }  # replicas hold together what they hold; a page seen twice is one page
    assert tier_capacities([], None, {"gpu_tokens": 9, "store_gb": 1}) == {
        "gpu": 9
    }  # without KV bytes per token GB are no tokens


def test_all_engines_of_the_roles_that_prefill_count() -> None:
    """A page of its own for each of two prefillers, a decoder, and one without a cache to name."""
    info = 'vllm:cache_config_info{{block_size="16",engine="0",num_gpu_blocks="{}"}}'
    rows = [{"role": "prefiller", "url": str(blocks), "samples": {info.format(blocks): 1.0}} for blocks in (100, 200)]
    assert gpu_tokens([*rows, {"role": "decoder", "url": "d", "samples": {info.format(7): 1.0, "x": 1.0}}]) == 4800
    assert gpu_tokens([{"role": "server", "url": "s", "samples": {"x": 1.0}}]) is None
