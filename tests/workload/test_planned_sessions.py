"""Sessions made on demand: the plans of before, word for word, in little memory, with pauses in between."""

from __future__ import annotations

import dataclasses
import hashlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.lengths import Lengths
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.planned_sessions import PlannedSessions
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.warm_up import window_sessions
from tests.samples import examples
from tests.workload.test_plan import ONE_EACH

CHANGES: dict[str, dict[str, object]] = {
    "": {},
    "r1": {"requests": 1},
    "r997": {"requests": 997},
    "grouped": {"order": "grouped", "requests": 203},
    "inter": {"order": "interleaved", "requests": 203},
    "shared0": {"prefix_shared_by": 0, "requests": 50},
    "zipf": {"documents": 17, "zipf": 1.1, "requests": 301},
    "uni": {"documents": 9, "requests": 100},
    "out": {"output_lengths": Lengths("normal", 1, 200, 60.0, 30.0), "requests": 120},
    "turnl": {"turn_lengths": Lengths("lognormal", 10, 400, 60.0, 1.0), "requests": 120},
    "server": {"reply": "server"},
}
FINGERPRINTS = {  # of plans that were made whole, before sessions were made on demand
    ("batch_processing", ""): "3fa6d3cb9d7a58e7",
    ("batch_processing", "r1"): "602bc2fe99b422ec",
    ("code_generation", ""): "d1e7035d84e22747",
    ("code_generation", "r1"): "7662071e4bb4ad1d",
    ("code_generation", "r997"): "85c3dd7ff1ab22ba",
    ("code_generation", "grouped"): "e8be2a68bf60297c",
    ("code_generation", "inter"): "daf17d0f76b96f86",
    ("code_generation", "shared0"): "af57c0b827c3f981",
    ("code_generation", "zipf"): "675c0a50d90cd805",
    ("code_generation", "uni"): "59af49991b019224",
    ("code_generation", "out"): "a5aab5024a0c702f",
    ("code_generation", "turnl"): "593c42563f954b82",
    ("code_generation", "server"): "d1e7035d84e22747",
    ("cold_start", ""): "c229e371695ad91e",
    ("cold_start", "r1"): "fc2f8ca4f80af779",
    ("dose_response", ""): "af58ef670fb9dbbe",
    ("dose_response", "r1"): "9cd145d86d0e169b",
    ("dose_response", "r997"): "af58ef670fb9dbbe",
    ("dose_response", "grouped"): "af58ef670fb9dbbe",
    ("dose_response", "inter"): "af58ef670fb9dbbe",
    ("dose_response", "shared0"): "3a0283699f6066ef",
    ("dose_response", "zipf"): "f9972ac38dfbc692",
    ("dose_response", "uni"): "f5e345a017324a31",
    ("dose_response", "out"): "73a63664369c73eb",
    ("dose_response", "turnl"): "af58ef670fb9dbbe",
    ("dose_response", "server"): "bf687559992e0b98",
    ("long_context_high_reuse", ""): "e2c30f18785feea4",
    ("long_context_high_reuse", "r1"): "f8df966781ba16aa",
    ("multi_turn_conversation", ""): "6c3d737c3acdae05",
    ("multi_turn_conversation", "r1"): "4b922a5ddd98d064",
    ("multi_turn_conversation", "r997"): "cc6b232ba34db670",
    ("multi_turn_conversation", "grouped"): "78019626500fa39c",
    ("multi_turn_conversation", "inter"): "78019626500fa39c",
    ("multi_turn_conversation", "shared0"): "d9c1202d1987f99b",
    ("multi_turn_conversation", "zipf"): "893e88b9a8364919",
    ("multi_turn_conversation", "uni"): "52ab3aeb2d0a8911",
    ("multi_turn_conversation", "out"): "52c94c414fb84933",
    ("multi_turn_conversation", "turnl"): "69ab932d703d7b6f",
    ("multi_turn_conversation", "server"): "1c6258eeb201f3da",
}


def scenario_of(name: str, change: str) -> Scenario:
    return dataclasses.replace(load_scenario(name), **CHANGES[change])  # type: ignore[arg-type]


# of turns, where they say nothing
LATER_FIELDS = (", wait_s=0.0", ", role='user', text='', carries=None, after=None, chunks=(), lane=0")


def fingerprint(plan: Plan) -> str:
    text = "\n".join(map(repr, plan.sessions))
    for later in LATER_FIELDS:
        text = text.replace(later, "")
    text += plan.prefix_message(plan.sessions[0])[:500] + plan.user_message(plan.sessions[-1].turns[-1])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(("name", "change"), FINGERPRINTS)
def test_a_seed_gives_the_plan_that_it_always_gave(name: str, change: str) -> None:
    plan = make_plan(scenario_of(name, change), ONE_EACH, "n0", 7)
    assert fingerprint(plan) == FINGERPRINTS[name, change]


@examples(60)
@given(st.sampled_from([key for key in FINGERPRINTS if key[1] != "r997"]))
def test_what_is_known_of_a_session_is_what_it_is(key: tuple[str, str]) -> None:
    plan = dry_plan(scenario_of(*key), 3)
    turns = [turn for session in plan.sessions for turn in session.turns]
    assert list(plan.turns) == turns == [plan.turns[index] for index in range(len(plan.turns))]
    assert plan.turns[-1] == turns[-1]
    assert [list(prompts) for prompts in plan.prompts()] == [[t.prompt_tokens for t in s.turns] for s in plan.sessions]
    assert plan.prompt_tokens == sum(turn.prompt_tokens for turn in turns)
    assert plan.prefixes == len({session.prefix_id for session in plan.sessions})
    assert all(list(plan.requests_of(s.session_id)) == [t.request_index for t in s.turns] for s in plan.sessions)


@examples(60)
@given(st.sampled_from([key for key in FINGERPRINTS if key[1] != "r997"]), st.integers(1, 40))
def test_a_warm_up_takes_the_sessions_that_sorting_all_would_take(key: tuple[str, str], users: int) -> None:
    plan = dry_plan(scenario_of(*key), 3)
    by_length = sorted(plan.sessions, key=lambda session: sum(turn.prompt_tokens for turn in session.turns))
    found = window_sessions(plan, users)
    last, count = len(by_length) - 1, len(found)
    at = [by_length[last]] if count == 1 else [by_length[round(k * last / (count - 1))] for k in range(count)]
    assert found == sorted(session.session_id for session in at)


@pytest.mark.slow
def test_many_requests_take_little_memory_and_let_the_loop_go_on() -> None:
    scenario, pauses = dataclasses.replace(load_scenario("cold_start"), requests=100_000), []
    tracemalloc.start()
    plan = make_plan(scenario, ONE_EACH, "n0", 991, lambda: pauses.append(1))
    assert plan.prompt_tokens > 100_000 * 4000
    assert tracemalloc.get_traced_memory()[1] < 100_000 * 12  # bytes; as objects they took 500 each
    tracemalloc.stop()
    assert len(pauses) >= 100


def test_more_than_can_be_planned_is_refused_with_what_it_would_take() -> None:
    with pytest.raises(
        BadInput, match=r"60,000,000 requests in a round would take about 2 GB in each process; plan at most 50,000,000"
    ):
        PlannedSessions(dataclasses.replace(load_scenario("cold_start"), requests=60_000_000), 1, 100)
