"""Runs against the emulator's model, whose truth is known: the analysis must find what was put in, within its own intervals.

The model runs on its virtual clock, one user at a time, with 3 % of noise on every time, as a network would add.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.contract.record import Record
from locust_kvcache.emulator.deployment import Deployment, Job
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.spec import HandOff, Profile, ServerSpec, Timing
from locust_kvcache.emulator.tiers import TierSpec
from tests.analysis.synthetic import Truth as RunTruth
from tests.analysis.synthetic import write_run

pytestmark = pytest.mark.slow
BLOCK, OUTPUT, KV_BYTES = 16, 12, 100_000.0
PREFIXES, QUESTIONS = 12, 2
FRONTEND_S, STEP_S = 0.03, 0.02


@dataclass(frozen=True)
class Truth:
    """What is put in. `store_gb_per_s`: hits come from a store at that speed, None: from the GPU's own cache."""

    prefill_tokens_per_s: float
    store_gb_per_s: float | None = None
    caching: bool = True
    capacity_tokens: int = 10_000_000
    lies: bool = False


TRUTHS = {
    "gpu_cache": Truth(6000),
    "fast_store": Truth(4000, store_gb_per_s=2.0),
    "store_near_break_even": Truth(8000, store_gb_per_s=1.0),
    "store_slower_than_computing": Truth(12_000, store_gb_per_s=0.6),
    "no_cache": Truth(6000, caching=False),
    "too_small": Truth(6000, capacity_tokens=24_000),
    "decoder_that_lies": Truth(4000, store_gb_per_s=2.0, lies=True),
}


def deployment(truth: Truth) -> Deployment:
    store = None
    if truth.store_gb_per_s:
        store = TierSpec(chunk_tokens=BLOCK, capacity_bytes=1e15, read_bytes_per_s=truth.store_gb_per_s * 1e9, write_bytes_per_s=1e12,
                         latency_s=0.0, load="sync")  # fmt: skip
    timing = Timing(((0.0, FRONTEND_S),), STEP_S, 1 / truth.prefill_tokens_per_s, 0.0, 0.0)
    server = ServerSpec(timing, truth.capacity_tokens, 8, 1_000_000, prefix_caching=truth.caching and store is None, store=store)
    profile = Profile("truth", "truth", 1_000_000, BLOCK, KV_BYTES, {"single": server}, HandOff())
    return Deployment(profile, "single", Simulation(), 1.0)


def prompts() -> list[tuple[int, int, list[int]]]:
    """(prefix, shared tokens, token ids): each prefix of its own length with three questions, question 1 on every prefix first."""
    found = []
    for question in range(QUESTIONS):
        for prefix in range(PREFIXES):
            shared = 1000 + 500 * prefix
            ids = [1_000_000 * (prefix + 1) + i for i in range(shared)]
            found.append((prefix, shared, [*ids, *(500_000_000 + 1000 * len(found) + i for i in range(64 + 32 * question))]))
    return found


def run(truth: Truth, folder: Path) -> Analysis:
    target, rng, records = deployment(truth), random.Random(3), []
    for number in (1, 2):
        for index, (prefix, shared, ids) in enumerate(prompts()):
            sent_s, tokens_s = target.simulation.now_s, []
            job = Job(ids, OUTPUT, lambda _, due_s, stamps=tokens_s: stamps.append(due_s))
            target.submit(job)
            target.simulation.run_all()
            assert len(tokens_s) == OUTPUT
            times = [(at_s - sent_s) * 1000 * rng.gauss(1, 0.03) for at_s in (tokens_s[0], tokens_s[-1])]
            first = index >= PREFIXES
            planned = (len(ids) - 1 if number > 1 else shared * first) // BLOCK * BLOCK
            records.append(
                Record(run_id="synthetic", deployment="emulator", model="truth", scenario="long_context_high_reuse", round=number,
                       request_index=index, session_id=index, turn=1, worker="w", started_at_s=1e9 + sent_s, prompt_tokens=len(ids),
                       output_tokens=OUTPUT, planned_cached_tokens=planned,
                       reported_cached_tokens=len(ids) - 1 if truth.lies else job.cached_tokens,
                       shares_prefix_with=prefix if first else None, ttft_ms=times[0], e2e_ms=max(times),
                       tpot_ms=STEP_S * 1000, clock="kernel")
            )  # fmt: skip
    shape = RunTruth(sessions=len(prompts()), turns=1, block=BLOCK)
    return analyse_folder(write_run(folder, records, shape, model_info={"kv_bytes_per_token": KV_BYTES}))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Analysis]:
    return {name: run(truth, tmp_path_factory.mktemp(name)) for name, truth in TRUTHS.items()}


def true_ttft_ms(truth: Truth, prompt: int, cached: int) -> float:
    load_s = cached * KV_BYTES / (truth.store_gb_per_s * 1e9) if truth.store_gb_per_s else 0.0
    return 1000 * (FRONTEND_S + max(STEP_S, (prompt - cached) / truth.prefill_tokens_per_s) + load_s)


def true_ratio(truth: Truth) -> float:
    """Mean TTFT of a whole hit over that of a cold request, for the requests that are cold in round 1: the first on each prefix."""
    sizes = [len(ids) for _, _, ids in prompts()[:PREFIXES]]
    hits = sum(true_ttft_ms(truth, size, (size - 1) // BLOCK * BLOCK) for size in sizes)
    return hits / sum(true_ttft_ms(truth, size, 0) for size in sizes)


def effect(analysis: Analysis, split: str) -> dict[str, Any]:
    [row] = [r for r in analysis.stats["effects"] if (r["split"], r["metric"], r["statistic"]) == (split, "ttft_ms", "mean")]
    return row


@pytest.mark.parametrize("name", ["gpu_cache", "fast_store", "store_near_break_even", "store_slower_than_computing"])
def test_the_speed_up_and_the_rates_that_were_put_in(runs: dict[str, Analysis], name: str) -> None:
    truth, analysis = TRUTHS[name], runs[name]
    row = effect(analysis, "evidence")
    assert row["pairs"] == PREFIXES
    assert row["ratio_low"] <= true_ratio(truth) <= row["ratio_high"]
    found = {parameter["name"]: parameter for parameter in analysis.stats["ttft_model"]["parameters"]}
    prefill = found["prefill_tokens_per_s"]
    assert prefill["low"] <= truth.prefill_tokens_per_s <= prefill["high"]
    if truth.store_gb_per_s:
        speed = found["load_gb_per_s"]
        assert speed["low"] <= truth.store_gb_per_s <= (speed["high"] or float("inf"))
        assert speed["value"] == pytest.approx(truth.store_gb_per_s, rel=0.15)
    for entry in analysis.stats["rounds"]:  # a store may hold a prompt's last, broken block too: a little more than planned
        assert entry["cache_efficiency"] == pytest.approx(1.0, abs=0.005)


def test_verdicts(runs: dict[str, Analysis]) -> None:
    """20,000 tokens/s from the store against 4,000 computed is better; 6,000 against 12,000 is worse; no cache: undecided."""
    verdicts = {
        name: effect(runs[name], "evidence")["verdict"] for name in ("gpu_cache", "fast_store", "store_slower_than_computing")
    }
    assert verdicts == {"gpu_cache": "better", "fast_store": "better", "store_slower_than_computing": "worse"}
    [even] = [
        r
        for r in runs["store_slower_than_computing"].stats["ttft_model"]["parameters"]
        if r["name"] == "break_even_prefix_tokens"
    ]
    assert even["value"] is None


def test_no_effect_is_undecided(runs: dict[str, Analysis]) -> None:
    analysis = runs["no_cache"]
    assert {row["verdict"] for row in analysis.stats["effects"] if row["verdict"]} == {"undecided"}
    row = effect(analysis, "round")
    assert row["ratio_low"] < 1 < row["ratio_high"]
    assert row["smallest_effect"] < 0.05
    lost = next(entry for entry in analysis.stats["cache"] if entry["round"] == 2)
    assert lost["lost_not_stored"] == lost["planned"] > 0
    assert [(target["verdict"], target["why"]) for target in analysis.stats["targets"]] == [("not judged", "nothing hit")] * 2


def test_a_cache_that_is_too_small(runs: dict[str, Analysis]) -> None:
    """A working set of 46,000 tokens in turn through 24,000: LRU keeps nothing of use."""
    rows = {row["round"]: row for row in runs["too_small"].stats["rounds"]}
    cached = runs["too_small"].requests["reported_cached_tokens"]
    assert rows[2]["cache_efficiency"] < 0.5
    assert rows[2]["hit_rate"] == pytest.approx(
        cached[runs["too_small"].requests["round"].eq(2)].sum() / rows[2]["prompt_tokens"]
    )
    lost = next(entry for entry in runs["too_small"].stats["cache"] if entry["round"] == 2)
    causes = {name: lost[f"lost_{name}"] for name in ("racing", "granularity", "evicted", "not_stored", "other")}
    assert sum(causes.values()) == pytest.approx(lost["planned"] - lost["reported"] + lost["beyond_plan"])
    assert causes["evicted"] + causes["not_stored"] > 0.9 * sum(causes.values())


def test_a_decoder_that_lies_is_not_believed(runs: dict[str, Analysis]) -> None:
    analysis = runs["decoder_that_lies"]
    assert "cached_tokens_lie" in {problem["code"] for problem in analysis.stats["problems"]}
    assert {row["window"] for row in analysis.stats["windows"]} == {"unknown"}
    row = effect(analysis, "round")
    assert row["ratio"] < 1  # the rounds still show that later ones are faster
    (claim,) = analysis.stats["claims"]
    assert (claim["credited"], claim["verdict"]) == (False, "no sign of a hit")  # and nothing that the cache did it
    assert row["verdict"] not in ("better", "worse")
    assert analysis.stats["ttft_model"]["why_not"]
