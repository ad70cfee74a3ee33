"""Seeded text of a wanted length."""

from __future__ import annotations

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.text import KINDS, make_text


@pytest.mark.parametrize("kind", KINDS)
def test_text_ends_where_its_cost_is_reached(kind: str) -> None:
    assert len(make_text(kind, 50, lambda piece: 2.0, "k").replace("\n", " ").split(" ")) >= 25


@pytest.mark.parametrize("price", [0.0, -1.0, 0.01])
def test_costs_that_no_tokenizer_has_do_not_make_text_without_end(price: float) -> None:
    with pytest.raises(BadInput, match=r"of 1,000 tokens by the server's counts, which cannot be"):
        make_text("document", 1000, lambda piece: price, "k")


def test_half_a_token_for_each_word_is_the_least_that_is_believed() -> None:
    assert len(make_text("document", 1000, lambda piece: 0.5, "k").split()) == 2000
