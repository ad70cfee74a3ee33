"""What lies in which tier, on a virtual clock: hits per tier, resets and their lies, puts, PD hand-offs, sharing in flight."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from locust_kvcache.emulator.deployment import Deployment
from locust_kvcache.emulator.mooncake import TEMPLATE, metrics_page
from locust_kvcache.emulator.work import Work
from tests.emulator.virtual import Timed, deployment, drive, prompt

PROFILE = "cpu_tiny_two_tiers"


def one(target: Deployment, ids: Sequence[int], output_tokens: int = 2) -> Timed:
    return drive(target, [ids], 1, output_tokens).requests[0]


def work(timed: Timed, server: str = "single") -> Work:
    assert timed.job is not None
    return timed.job.works[server]


def by_tier(timed: Timed, server: str = "single") -> dict[str, int]:
    done = work(timed, server)
    return {"gpu": done.gpu_tokens} | {load.tier: load.tokens for load in done.loads}


def test_each_tier_serves_what_the_one_above_lost() -> None:
    target, ids = deployment(PROFILE, "single"), prompt(0, 1510)
    cold = one(target, ids)
    gpu = one(target, ids)
    assert target.reset_prefix_cache(external=False)
    cpu = one(target, ids)
    cpu_tier = target.entry.connector.cpu
    assert cpu_tier is not None
    cpu_tier.clear()
    target.reset_prefix_cache(external=False)
    store = one(target, ids)
    assert [by_tier(timed) for timed in (cold, gpu, cpu, store)] == [
        {"gpu": 0},
        {"gpu": 1504},
        {"gpu": 0, "cpu": 1280},
        {"gpu": 0, "store": 1280},
    ]
    assert gpu.ttft_s < cpu.ttft_s < store.ttft_s < cold.ttft_s
    counters = target.entry.counters
    assert counters.prompt_tokens == counters.computed_tokens + counters.external_tokens + counters.hits_tokens
    assert target.reset_prefix_cache(external=True)
    assert by_tier(one(target, ids)) == {"gpu": 0}


def test_a_tier_below_extends_what_the_gpu_holds() -> None:
    target = deployment(PROFILE, "single")
    one(target, prompt(0, 1510))
    one(target, prompt(1, 1510 * 6))  # takes all blocks but a few, from the end of the first prompt
    again = by_tier(one(target, prompt(0, 1510)))
    assert again["gpu"] % 32 == 0
    assert again["gpu"] + again.get("cpu", 0) + again.get("store", 0) == max(again["gpu"], 1280)


def test_of_a_wholly_known_prompt_the_last_token_is_computed_or_the_last_chunk() -> None:
    lmcache = deployment(PROFILE, "single")
    one(lmcache, prompt(0, 1024))
    lmcache.reset_prefix_cache(external=False)
    assert by_tier(one(lmcache, prompt(0, 1024)))["cpu"] == 1023
    mooncake = deployment("h200_qwen_72b_fp8", "prefiller")
    one(mooncake, prompt(0, 4096))
    mooncake.reset_prefix_cache(external=False)
    assert by_tier(one(mooncake, prompt(0, 4096)), "prefiller") == {"gpu": 0, "store": 4080}  # as measured on the H200


def test_prompts_shorter_than_a_chunk_never_hit_below_the_gpu() -> None:
    target = deployment(PROFILE, "single")
    one(target, prompt(0, 255))
    target.reset_prefix_cache(external=False)
    assert by_tier(one(target, prompt(0, 255))) == {"gpu": 0}


def test_five_prompts_fit_and_eight_lose_all() -> None:
    """As real vLLM with a pool of 320 blocks of 32: five prompts of 1,510 tokens stay, eight in a row evict one another."""
    for count, kept in ((5, True), (8, False)):
        target = deployment("cpu_tiny_two_tiers", "single")
        target.entry.connector.cpu = target.entry.connector.store = None
        prompts = [prompt(number, 1510) for number in range(count)]
        drive(target, prompts, 1, 2)
        second = drive(target, prompts, 1, 2)
        assert [by_tier(timed)["gpu"] for timed in second.requests] == [1504 if kept else 0] * count


def test_generated_tokens_are_cached_on_the_gpu_and_not_below() -> None:
    target = deployment(PROFILE, "single")
    first = one(target, prompt(0, 500), output_tokens=300)
    done = work(first)
    longer = [done.token_at(position) for position in range(800)] + [7] * 100
    assert by_tier(one(target, longer))["gpu"] == 799 // 32 * 32  # the last generated token's KV was never computed
    target.reset_prefix_cache(external=False)
    target2 = deployment(PROFILE, "single")
    one(target2, prompt(0, 500), output_tokens=300)
    target2.reset_prefix_cache(external=False)
    assert by_tier(one(target2, longer))["cpu"] == 256


def test_equal_prompts_in_flight_share_what_one_of_them_computes() -> None:
    """A reported hit is no proof of a fast one: one computes, the others say hit, and all have the same TTFT."""
    target = deployment("cpu_tiny", "single")
    four = drive(target, [prompt(0, 1510)] * 4, 4, 2).requests
    assert sorted(by_tier(timed)["gpu"] for timed in four) == [0, 1504, 1504, 1504]
    assert max(timed.ttft_s for timed in four) < 1.1 * min(timed.ttft_s for timed in four)


def test_degraded_lmcache_is_slow_and_never_hits() -> None:
    target = deployment(PROFILE, "single")
    healthy = one(target, prompt(0, 600))
    target.lies.degraded_s = 3.0
    target.reset_prefix_cache(external=False)
    degraded = one(target, prompt(0, 600))
    assert degraded.ttft_s == pytest.approx(healthy.ttft_s + 3.0, abs=0.05)
    assert by_tier(degraded) == {"gpu": 0}


def test_puts_that_fail_leave_nothing_and_are_counted() -> None:
    target = deployment("cpu_tiny", "prefiller")
    target.lies.puts_fail = True
    one(target, prompt(0, 1510))
    assert target.store is not None
    assert (target.store.held_chunks, target.store.counts["failed_chunks"]) == (0, 5)
    assert target.entry.connector.store_metrics.operations[("save_put", "partial_failure")][4] == 5


def test_puts_that_slow_the_prefill() -> None:
    fast, slow = deployment("cpu_tiny", "prefiller"), deployment("cpu_tiny", "prefiller")
    slow.lies.put_slows_prefill = 0.8
    assert one(slow, prompt(0, 2000)).ttft_s == pytest.approx(1.8 * one(fast, prompt(0, 2000)).ttft_s, rel=0.03)


def test_a_reset_is_refused_while_puts_are_under_way() -> None:
    target = deployment("cpu_tiny", "prefiller")
    target.lies.put_slowness, target.lies.reset_refused_while_puts = 100.0, True
    answers: list[bool] = []
    target.simulation.at(2.0, lambda _: answers.append(target.reset_prefix_cache(external=False)))
    one(target, prompt(0, 1510))
    assert answers == [False]
    assert target.reset_prefix_cache(external=False)


@pytest.mark.parametrize(
    ("proxy", "slow", "recomputed"), [("wait_store", 1, 230), ("wait_store", 50, 230), ("sequential", 50, 1510)]
)
def test_a_decoder_recomputes_what_the_store_has_not_got_yet(proxy: str, slow: float, recomputed: int) -> None:
    target = deployment("cpu_tiny", "pd", proxy=proxy)
    target.lies.put_slowness = slow
    timed = one(target, prompt(0, 1510))
    decoder = work(timed, "decoder")
    assert decoder.prompt_tokens - decoder.cached_tokens == recomputed
    assert timed.job is not None
    assert timed.job.cached_tokens == 0  # the client is told the prefiller's truth


def test_what_ttft_means_depends_on_the_proxy() -> None:
    cold = {
        proxy: one(deployment("cpu_tiny", "pd", proxy=proxy), prompt(0, 2048), 5)
        for proxy in ("wait_store", "sequential", "prefill_token")
    }
    assert cold["prefill_token"].ttft_s < cold["wait_store"].ttft_s
    first_gap = cold["prefill_token"].tokens_s[1] - cold["prefill_token"].tokens_s[0]
    assert first_gap > 2 * (cold["prefill_token"].tokens_s[2] - cold["prefill_token"].tokens_s[1])
    direct = one(deployment("qwen_72b", "pd", proxy="concurrent"), prompt(0, 2048), 5)
    assert by_tier(direct, "decoder")["prefiller"] == 2047


def test_the_masters_page_has_every_real_name_and_counts_the_store() -> None:
    target = deployment(PROFILE, "single")
    one(target, prompt(0, 1510))
    assert target.store is not None
    page = metrics_page(target.store)
    families = {family.name: family for family in text_string_to_metric_families(page)}
    names = [line.split("\t")[0] for line in TEMPLATE.read_text().splitlines()]
    assert {name.removesuffix("_total") for name in names} <= {name.removesuffix("_total") for name in families}
    assert families["master_key_count"].samples[0].value == 5
    assert families["master_allocated_bytes"].samples[0].value == 5 * 256 * 1024
