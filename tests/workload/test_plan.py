"""Plans: sizes add up, prefixes are shared word for word, everybody computes the same, and nothing repeats between runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration, Plan, Turn, planned_cached_tokens
from locust_kvcache.workload.scenario_file import available_scenarios, load_scenario, parse_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.text import KINDS, make_text, piece_cost, sample_text, vocabulary

ONE_EACH = Calibration({**dict.fromkeys(KINDS, 1.0), "code": 10.0}, {}, 0.0, 10.0, 5.0, "tokenize")
BY_PIECE = piece_cost(1.0, {}, 0.0)


def plan_of(name: str, nonce: str = "n0", seed: int = 1, **changes: int) -> Plan:
    scenario = load_scenario(name)
    return make_plan(Scenario.from_dict({**scenario.to_dict(), **changes}), ONE_EACH, nonce, seed)


def test_the_five_scenarios_are_there() -> None:
    five = {"long_context_high_reuse", "code_generation", "multi_turn_conversation", "batch_processing", "cold_start"}
    assert five <= set(available_scenarios())


@pytest.mark.parametrize("name", available_scenarios())
def test_every_request_has_one_index(name: str) -> None:
    plan = plan_of(name)
    assert [turn.request_index for turn in plan.turns] == list(range(plan.requests))


@given(st.integers(1, 200))
def test_requests_that_do_not_fill_the_last_conversation(requests: int) -> None:
    plan = plan_of("multi_turn_conversation", requests=requests)
    assert [turn.request_index for turn in plan.turns] == list(range(requests))


def test_a_document_is_shared_word_for_word_and_by_five() -> None:
    plan = plan_of("long_context_high_reuse")
    by_prefix: dict[int, set[str]] = {}
    for session in plan.sessions:
        by_prefix.setdefault(session.prefix_id, set()).add(plan.prefix_message(session))
    assert len(by_prefix) == 6
    assert all(len(texts) == 1 for texts in by_prefix.values())
    assert len({text for texts in by_prefix.values() for text in texts}) == 6
    assert len({plan.user_message(turn) for turn in plan.turns}) == 30


def test_what_round_one_shares() -> None:
    plan = plan_of("long_context_high_reuse")
    first, later = plan.turns[:6], plan.turns[6:]
    assert all(turn.shared_tokens == 0 and turn.shares_prefix_with is None for turn in first)
    assert all(turn.shared_tokens == 4000 for turn in later)
    assert plan.turns[7].shares_prefix_with == 1  # interleaved: 6 documents, so request 7 is question 2 on document 1


def test_a_conversation_grows_and_shares_its_last_prompt() -> None:
    one, two, three = plan_of("multi_turn_conversation").sessions[0].turns[:3]
    assert two.prompt_tokens == one.prompt_tokens + 64 + two.user_tokens
    assert (two.shared_tokens, two.shares_prefix_with) == (one.prompt_tokens, one.request_index)
    assert three.shared_tokens == two.prompt_tokens


def test_the_nonce_stands_first_and_prefixes_differ_at_once() -> None:
    plan = plan_of("cold_start", nonce="abcd1234")
    starts = {plan.prefix_message(session)[:14] for session in plan.sessions}
    assert len(starts) == len(plan.sessions)
    assert all(start.startswith("abcd1234 ") for start in starts)


def test_another_nonce_or_seed_gives_other_texts() -> None:
    base, other_nonce, other_seed = plan_of("cold_start"), plan_of("cold_start", nonce="n1"), plan_of("cold_start", seed=2)
    texts = {plan.prefix_message(plan.sessions[0])[20:200] for plan in (base, other_nonce, other_seed)}
    assert len(texts) == 3


def test_every_process_makes_the_same_text() -> None:
    code = "from locust_kvcache.workload.text import sample_text; print(sample_text('code', 40, 'key')[0])"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "random")
    }
    assert outputs == {sample_text("code", 40, "key")[0].encode() + b"\n"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "code"])
def test_pieces_are_words_and_sensible(kind: str) -> None:
    words = make_text(kind, 300, BY_PIECE, "k").split()
    assert len(words) == 300
    assert len(set(words)) > 60
    assert make_text(kind, 100, BY_PIECE, "k") == " ".join(words[:100])  # a longer text begins with the shorter one


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_of_a_text_is_in_the_vocabulary(kind: str) -> None:
    known = set(vocabulary())
    assert {word.lower() for word in re.findall("[A-Za-z]+", sample_text(kind, 3000, "k")[0])} <= known


@given(st.sampled_from(KINDS), st.floats(50, 5000), st.integers(0, 99))
def test_a_text_costs_what_was_asked(kind: str, tokens: float, seed: int) -> None:
    """With words of one to three tokens and a constant per piece, the sum comes out within half a piece, the next one included: it was
    left out because more than half of it would have been too much."""
    cost = piece_cost(0.2, {word: 1.0 + len(word) % 3 for word in vocabulary()}, 1.0)
    text = make_text(kind, tokens, cost, str(seed))
    pieces = text.split() if kind != "code" else [line for line in text.split("\n") if line]
    spent = sum(map(cost, pieces))
    with_the_next = sample_text(kind, len(pieces) + 1, str(seed))[1]
    assert abs(spent - tokens) <= max(map(cost, with_the_next)) / 2 + 1e-6


@pytest.mark.parametrize(
    ("shared", "round_number", "prompt", "expected"),
    [
        (0, 1, None, 0),  # nothing sent before
        (4000, 1, None, 4000),  # 250 whole blocks of 16
        (4001, 1, None, 4000),
        (0, 2, None, 4048),  # floor((4050 - 1) / 16) * 16
        (4000, 1, 4131, 4080),  # the server counted 2 % more: 4000 * 4131 / 4050 = 4080.0
        (0, 2, 33, 32),
        (0, 2, 32, 16),  # a 100 % hit does not exist: the last token is always computed
    ],
)
def test_planned_cached_tokens(shared: int, round_number: int, prompt: int | None, expected: int) -> None:
    turn = Turn(0, 0, 1, 50, 4050, shared, None)
    assert planned_cached_tokens(turn, round_number > 1, prompt, 16) == expected


def test_from_dict_is_the_inverse_of_to_dict() -> None:
    scenario = load_scenario("code_generation")
    assert Scenario.from_dict({**scenario.to_dict(), "turn_tokens": list(scenario.turn_tokens)}) == scenario


GOOD = {
    "name": "x", "summary": "s", "requests": 4,
    "prefix": {"text": "document", "tokens": 100}, "turns": {"text": "question", "tokens": 10}, "output": {"tokens": 5},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reqests": 3}, "key 'reqests' is unknown; did you mean 'requests'?"),
        ({"requests": 0}, "key 'requests' is 0; expected at least 1"),
        ({"requests": "3"}, "key 'requests' is '3'; expected a whole number"),
        ({"requests": True}, "key 'requests' is True; expected a whole number"),
        ({"prefix": {"text": "poem", "tokens": 100}}, "key 'prefix.text' is 'poem'; allowed: document"),
        ({"prefix": {"text": "document"}}, "key 'prefix.tokens' is missing"),
        ({"prefix": {"text": "document", "tokens": 100, "shared_by": 0}}, "key 'prefix.shared_by' is 0"),
        ({"turns": {"text": "question", "tokens": [9, 3]}}, "key 'turns.tokens' is [9, 3]"),
        ({"turns": []}, "key 'turns.text' is missing"),
        ({"api": "completions", "turns": {"count": 2, "text": "question", "tokens": 9}}, "conversations need one of chat"),
        ({"output": "long"}, "key 'output' is 'long'; expected a mapping"),
    ],
    ids=str,
)
def test_a_wrong_key_is_named(changes: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=r"file\.yaml") as caught:
        parse_scenario({**GOOD, **changes}, "file.yaml")
    assert says in str(caught.value)
