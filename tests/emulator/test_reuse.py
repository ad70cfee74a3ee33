"""How much of each prompt a fleet could have found, and where it was lost: two engines on a virtual clock, blocks of 16 counted by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from locust_kvcache.emulator.deployment import Deployment, Job
from locust_kvcache.emulator.reuse import Ledger
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.spec import Profile, load_profile
from locust_kvcache.emulator.tiers import Tier


def document(number: int, tokens: int = 161) -> list[int]:
    """161 tokens: ten blocks and one token, so that a repeated prompt finds 160."""
    return [1000 * number + position for position in range(tokens)]


class Two:
    """Two engines; requests are sent by hand, one after another."""

    def __init__(self, profile: Profile) -> None:
        self.simulation = Simulation()
        spec = profile.server("single").store
        store = Tier("store", spec, profile.kv_bytes_per_token, 1.0) if spec else None
        self.engines = {name: Deployment(profile, "single", self.simulation, 1.0, store=store) for name in ("a", "b")}
        self.ledger = Ledger({name: one.entry for name, one in self.engines.items()}, store)
        for one in self.engines.values():
            one.on_reset = self.ledger.after_reset

    def send(self, engine: str, prompt: Sequence[int], output_tokens: int = 1) -> dict[str, Any]:
        job = Job(prompt, output_tokens, lambda job, due_s: None)
        self.engines[engine].submit(job)
        self.simulation.run_all()
        assert job.reuse
        return job.reuse

    def figures(self, engine: str, prompt: Sequence[int]) -> tuple[int, ...]:
        reuse = self.send(engine, prompt)
        return tuple(reuse[name] for name in ("reusable", "fits", "held", "captured", "delivered"))


def sized(blocks: int, **single: Any) -> Profile:
    profile = load_profile("cpu_tiny")
    server = dataclasses.replace(profile.server("single"), gpu_capacity_tokens=blocks * 16, **single)
    return dataclasses.replace(profile, servers={"single": server})


def test_a_prompt_sent_to_the_other_engine_is_lost_to_the_routing() -> None:
    two = Two(sized(1000))
    assert two.figures("a", document(1)) == (0, 0, 0, 0, 0)
    assert two.figures("a", document(1)) == (160, 160, 160, 160, 160)
    assert two.figures("b", document(1)) == (160, 160, 160, 0, 0)
    assert two.figures("b", document(1)[:81] + document(2)[:80]) == (80, 80, 80, 80, 80)
    assert two.ledger.summed() == {"prompt": 644, "reusable": 400, "fits": 400, "held": 400, "captured": 240, "delivered": 240}


def test_what_each_engine_held() -> None:
    two = Two(sized(1000))
    two.send("a", document(1))
    two.send("b", document(1)[:49])
    assert two.send("b", document(1))["held_by_engine"] == {"a": 160, "b": 48}


def test_a_working_set_beyond_one_engine_but_not_beyond_the_fleet() -> None:
    """11 blocks a prompt, 16 an engine: the second document evicts the first from a, while both fit into 32."""
    two = Two(sized(16))
    two.send("a", document(1))
    two.send("a", document(2))
    reusable, fits, held, captured, delivered = two.figures("a", document(1))
    assert (reusable, fits) == (160, 160)
    assert held == captured == delivered < 160


def test_a_working_set_beyond_the_fleet() -> None:
    """Four documents of ten whole blocks in 32: when the fourth came, eight blocks of the first's end had to go."""
    two = Two(sized(16))
    for number in range(1, 5):
        two.send("ab"[number % 2], document(number))
    reuse = two.send("a", document(1))
    assert (reuse["reusable"], reuse["fits"]) == (160, 32)


def test_answers_are_reusable_too() -> None:
    """17 tokens of prompt and 31 of answer: two whole blocks are computed, the last token never is."""
    two = Two(sized(1000))
    two.send("a", document(1, 17), output_tokens=31)
    answer = [two.engines["a"].entry.pool.held_hashes()]
    assert len(answer[0]) == 2
    assert {bytes.fromhex(one) for one in answer[0]} <= two.ledger.endless


def test_a_shared_store_is_in_reach_of_both_engines_in_whole_chunks() -> None:
    """600 tokens: two chunks of 256 lie in the store; b finds 512 there, though a's GPU holds 592 of 599."""
    profile = load_profile("cpu_tiny")
    single = dataclasses.replace(profile.server("single"), store=profile.server("prefiller").store)
    two = Two(dataclasses.replace(profile, servers={"single": single}))
    two.send("a", document(1, 600))
    assert two.figures("b", document(1, 600)) == (592, 592, 592, 512, 512)


def test_a_wholly_stored_prompt_loses_the_chunk_that_is_computed_again() -> None:
    """512 tokens lie in the store; of a wholly known prompt MooncakeStoreConnector computes the last chunk again."""
    profile = load_profile("cpu_tiny")
    store = profile.server("prefiller").store
    assert store
    single = dataclasses.replace(profile.server("single"), store=dataclasses.replace(store, whole_prompt_hit="chunk"))
    two = Two(dataclasses.replace(profile, servers={"single": single}))
    two.send("a", document(1, 512))
    assert two.figures("b", document(1, 512)) == (511, 511, 511, 511, 256)


def test_the_workload_starts_anew_only_when_everything_was_reset() -> None:
    two = Two(sized(1000))
    two.send("a", document(1))
    two.send("b", document(2))
    assert two.engines["a"].reset_prefix_cache(external=False)
    assert two.figures("a", document(1)) == (160, 160, 0, 0, 0)
    for one in two.engines.values():
        assert one.reset_prefix_cache(external=False)
    assert two.figures("a", document(1)) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("profile", ["cpu_tiny", "cpu_tiny_two_tiers"])
def test_each_figure_is_at_most_the_one_before(profile: str) -> None:
    two = Two(load_profile(profile))
    for number in range(120):
        one = document(number * 7 % 13, 500 + number * 37 % 1000)
        reuse = two.send("ab"[number * 5 % 3 % 2], one, output_tokens=1 + number % 40)
        chain = [reuse[name] for name in ("delivered", "captured", "held", "reusable")]
        assert chain == sorted(chain)
        assert reuse["fits"] <= reuse["reusable"] <= len(one) - 1
    totals = two.ledger.summed()
    counters = [one.entry.counters for one in two.engines.values()]
    assert totals["delivered"] == sum(one.hits_tokens + one.external_hits_tokens for one in counters) > 0
