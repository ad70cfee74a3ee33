"""Cached tokens per tier as recorded on an H200 with LMCache in host memory and with a Mooncake store (docs/emulator-validation.md)."""

from __future__ import annotations

import dataclasses

import pytest

from locust_kvcache.emulator.deployment import Deployment
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.spec import load_profile
from locust_kvcache.emulator.tiers import TierSpec
from tests.emulator.virtual import drive, prompt

LMCACHE = TierSpec(256, 64e9, 60e9, 20e9, load="sync", whole_prompt_hit="token")
MOONCAKE = TierSpec(16, 64e9, 3e9, 0.8e9, load="async", whole_prompt_hit="chunk")

# tier, prompt, was the GPU cache emptied, tokens from the GPU, tokens from below
RECORDED = [
    ("cpu", 4096, False, 4080, 15),
    ("cpu", 4096, True, 0, 4095),
    ("cpu", 16384, False, 16368, 15),
    ("cpu", 16384, True, 0, 16383),
    ("cpu", 30000, False, 29984, 0),
    ("cpu", 30000, True, 0, 29952),
    ("store", 4096, False, 4080, 0),
    ("store", 4096, True, 0, 4080),
    ("store", 16384, False, 16368, 0),
    ("store", 16384, True, 0, 16368),
    ("store", 30000, False, 29984, 0),
    ("store", 30000, True, 0, 29984),
]


@pytest.mark.parametrize(("tier", "tokens", "emptied", "gpu", "below"), RECORDED)
def test_cached_tokens_as_recorded(tier: str, tokens: int, emptied: bool, gpu: int, below: int) -> None:
    profile = load_profile("h200_qwen_72b_fp8")
    spec = dataclasses.replace(profile.server("single"), **{tier: {"cpu": LMCACHE, "store": MOONCAKE}[tier]})
    target = Deployment(dataclasses.replace(profile, servers={"single": spec}), "single", Simulation(), 1.0)
    drive(target, [prompt(0, tokens)], 1, 2)
    if emptied:
        assert target.reset_prefix_cache(external=False)
    job = drive(target, [prompt(0, tokens)], 1, 2).requests[0].job
    assert job is not None
    work = job.works["single"]
    assert (work.gpu_tokens, work.external_tokens) == (gpu, below)


def test_a_mooncake_hit_loads_at_the_measured_rate() -> None:
    """16,384 and 30,000 tokens at 3 GB/s: 2,137 and 3,394 ms measured."""
    profile = load_profile("h200_qwen_72b_fp8")
    spec = dataclasses.replace(profile.server("single"), store=MOONCAKE)
    for tokens, measured_s in ((16384, 2.137), (30000, 3.394)):
        target = Deployment(dataclasses.replace(profile, servers={"single": spec}), "single", Simulation(), 1.0)
        drive(target, [prompt(0, tokens)], 1, 2)
        target.reset_prefix_cache(external=False)
        assert drive(target, [prompt(0, tokens)], 1, 2).requests[0].ttft_s == pytest.approx(measured_s, rel=0.15)
