"""Token counts that a server cannot mean are missing and named; those that it can are taken as they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.finish_reasons import was_given_up
from locust_kvcache.contract.usage import Counts, checked_counts, whole_count


def test_possible_counts_are_taken_also_as_integral_floats() -> None:
    assert checked_counts(50, 2, 32, output_chunks=2) == Counts(50, 2, 32)
    assert checked_counts(50.0, 8.0, 50, output_chunks=2) == Counts(50, 8, 50)
    assert checked_counts(None, None, None, output_chunks=3) == Counts()  # not reported is nothing to complain of


@pytest.mark.parametrize("value", [-1, 1e40, math.nan, math.inf, -math.inf, True, False, "50", "", [50], {"n": 1}, 2.5, 10**30])
def test_what_is_no_number_of_tokens_is_rejected_with_what_it_was(value: Any) -> None:
    found = checked_counts(value, 2, None, output_chunks=2)
    assert found.prompt_tokens is None
    assert found.output_tokens == 2  # one bad count does not take the others away
    assert found.rejected is not None
    assert found.rejected.startswith(f"prompt_tokens is {value!r}"[:40])
    assert whole_count(value) is None


@pytest.mark.parametrize(
    ("counts", "chunks", "kept", "why"),
    [
        ((1000, 40, 1001), 40, (1000, 40, None), "cached_tokens is 1001, but the prompt has 1000 tokens"),
        ((1000, 3, 0), 40, (1000, None, 0), "completion_tokens is 3, but 40 chunks carried output"),
        ((1000, 0, 0), 1, (1000, None, 0), "completion_tokens is 0, but 1 chunks carried output"),
        ((0, 40, 0), 40, (None, 40, None), "prompt_tokens is 0"),
    ],
)
def test_counts_that_contradict_each_other(counts: tuple[int, ...], chunks: int, kept: tuple[int | None, ...], why: str) -> None:
    found = checked_counts(*counts, output_chunks=chunks)
    assert (found.prompt_tokens, found.output_tokens, found.cached_tokens) == kept
    assert found.rejected == why


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(anything, anything, anything, st.integers(0, 100))
def test_whatever_is_reported_what_is_kept_is_possible(prompt: Any, output: Any, cached: Any, chunks: int) -> None:
    found = checked_counts(prompt, output, cached, chunks)
    assert found.prompt_tokens is None or found.prompt_tokens > 0
    assert found.output_tokens is None or found.output_tokens >= chunks
    assert found.cached_tokens is None or found.cached_tokens >= 0
    if found.cached_tokens is not None and found.prompt_tokens is not None:
        assert found.cached_tokens <= found.prompt_tokens


@pytest.mark.parametrize(
    "reason", ["stop", "length", "tool_calls", "function_call", "content_filter", "eos_token", "STOP", "end_turn"]
)
def test_a_model_that_finished(reason: str) -> None:
    assert not was_given_up(reason, 3, 40)  # it may well finish early


@pytest.mark.parametrize("reason", ["abort", "error", "cancelled", "Timeout"])
def test_a_server_that_gave_up(reason: str) -> None:
    assert was_given_up(reason, 3, 40)
    assert was_given_up(reason, 40, 40)


def test_an_unknown_reason_is_judged_by_what_came() -> None:
    assert was_given_up("preempted_by_operator", 3, 40)
    assert not was_given_up("token_budget_reached", 40, 40)
    assert was_given_up("token_budget_reached", 40, None)
