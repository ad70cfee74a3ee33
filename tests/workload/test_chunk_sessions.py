"""Chunks in changing order: what a prefix cache can find of them, and what a cache that reuses chunks anywhere could."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.chunk_sessions import Chunks, chunk_reuse, chunk_sessions
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration
from locust_kvcache.workload.scenario_file import load_scenario, parse_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.text import KINDS

WORDS = Calibration(dict.fromkeys(KINDS, 0.0), {}, 1.0, 0.0, 0.0, "-")  # a token is a word


def sessions_of(*orders: tuple[int, ...]) -> Any:
    chunks, left = Chunks(9, 100, len(orders[0])), list(orders)
    object.__setattr__(chunks, "draw", lambda _: left.pop(0))
    return chunks, chunk_sessions(chunks, 50, [10] * len(orders), None, 4, "seed")


def test_a_prompt_shares_the_chunks_that_begin_alike() -> None:
    chunks, found = sessions_of((1, 2), (2, 1), (1, 3), (1, 2))
    turns = [session.turns[0] for session in found]
    assert [turn.prompt_tokens for turn in turns] == [260] * 4  # 50 + 2 x 100 + 10
    assert [(turn.shared_tokens, turn.shares_prefix_with) for turn in turns] == [(0, None), (46, 0), (146, 0), (246, 0)]
    reuse = chunk_reuse(found, chunks)
    assert (reuse.prompt_tokens, reuse.prefix_tokens) == (1040, 46 + 146 + 246)
    assert reuse.anywhere_tokens == (46 + 200) + (46 + 100) + (46 + 200)


def test_draws_are_different_chunks_of_the_seed_and_follow_popularity() -> None:
    plan = dry_plan(load_scenario("rag_chunks"), 1)
    drawn = [turn.chunks for turn in plan.turns]
    assert all(len(set(chunks)) == 6 for chunks in drawn)
    assert drawn == [turn.chunks for turn in dry_plan(load_scenario("rag_chunks"), 1).turns]
    assert sum(0 in chunks for chunks in drawn) > 3 * sum(59 in chunks for chunks in drawn)


def test_the_text_holds_the_chunks_word_for_word_in_their_order() -> None:
    plan = make_plan(load_scenario("rag_chunks"), WORDS, "n", 1)
    by_number: dict[int, str] = {}
    for turn in plan.turns[:20]:
        words = plan.user_message(turn).split(" ")
        assert len(words) == turn.user_tokens
        for place, number in enumerate(turn.chunks):
            text = " ".join(words[400 * place : 400 * (place + 1)])
            assert text.startswith(f"{number} ")
            assert by_number.setdefault(number, text) == text


def test_a_scenario_travels() -> None:
    one = load_scenario("rag_chunks")
    assert Scenario.from_dict(one.to_dict()) == one


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chunks": {"count": 3, "tokens": 100, "per_prompt": 4}}, "per_prompt' is 4; expected at most count, 3"),
        ({"turns": {"count": 2, "text": "question", "tokens": 9}}, "turns.count stands beside `chunks`"),
        ({"prefix": {"text": "document", "tokens": 100}}, "with `chunks` expected all"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "name": "rag", "summary": "-", "requests": 4, "prefix": {"text": "document", "tokens": 100, "shared_by": "all"},
        "chunks": {"count": 9, "tokens": 100, "per_prompt": 4}, "turns": {"text": "question", "tokens": 9}, "output": {"tokens": 4},
    }  # fmt: skip
    with pytest.raises(BadInput) as error:
        parse_scenario({**given, **change}, "rag.yaml")
    assert said in str(error.value)
