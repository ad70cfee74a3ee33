"""What a retention study sends: gaps in equal steps of their logarithm, and a background without a hole until the last return."""

from __future__ import annotations

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.retention import retention_scenario
from locust_kvcache.workload.returns import DEFAULT_GAPS_S, Returns, around, parse_gaps, parse_rates, return_rows
from locust_kvcache.workload.spec import Scenario

ONE_SECOND = Returns(gap_low_s=1.0, gap_high_s=1.0, sessions=4, prompt_tokens=512, tokens_per_s=1024.0)


def test_ranges_meet_at_geometric_middles() -> None:
    assert around((1, 4, 16)) == [(0.5, 2), (2, 8), (8, 32)]
    assert around((3.0,)) == [(3.0, 3.0)]


def test_gaps_are_the_middles_of_equal_parts_of_the_logarithm() -> None:
    assert Returns(1, 256, 4, 512, 1.0).gaps_s == pytest.approx((2, 8, 32, 128))


def test_prompts_take_every_second_slot_and_the_background_all_others() -> None:
    """1,024 tokens/s in prompts of 512: a slot each 0.5 s. Four prompts at 0, 1, 2 and 3 s return a second later."""
    rows = list(return_rows(ONE_SECOND, ""))
    known = [(row.due_s, row.input_tokens, row.blocks) for row in rows if row.blocks[0] < 1000]
    assert known == [
        (0, 512, (0, 1)),
        (1, 768, (0, 1, 2)), (1, 512, (3, 4)),
        (2, 768, (3, 4, 5)), (2, 512, (6, 7)),
        (3, 768, (6, 7, 8)), (3, 512, (9, 10)),
        (4, 768, (9, 10, 11)),
    ]  # fmt: skip
    assert [row.due_s for row in rows if row.blocks[0] >= 1000] == [0.5, 1.5, 2.5, 3.5]
    assert len({row.blocks for row in rows}) == len(rows)


def test_a_return_plans_the_whole_prompt_as_cached_and_the_background_nothing() -> None:
    scenario = retention_scenario(ONE_SECOND)
    assert Scenario.from_dict(scenario.to_dict()) == scenario
    turns = dry_plan(scenario, 1).turns
    assert [turn.shared_tokens for turn in turns if turn.shares_prefix_with is not None] == [512] * 4
    assert sum(turn.shared_tokens for turn in turns) == 4 * 512


def test_the_order_of_gaps_is_drawn_and_the_same_each_time() -> None:
    spread = Returns(1, 64, 12, 512, 1024.0)
    first, again = return_rows(spread, ""), return_rows(spread, "")
    assert list(first) == list(again)
    back = [row.due_s - stored for stored, row in zip(range(12), _returns(list(first)), strict=True)]
    assert sorted(back) == pytest.approx(spread.gaps_s)
    assert back != sorted(back)


def _returns(rows: list) -> list:  # type: ignore[type-arg]
    return sorted((row for row in rows if row.input_tokens == 768), key=lambda row: row.blocks[0])


@pytest.mark.parametrize("words", [["1", "1"], ["0"], ["soon"], ["-1"], ["auto", "2"], ["inf"]])
def test_gaps_that_are_none(words: list[str]) -> None:
    with pytest.raises(BadInput, match="--gaps is"):
        parse_gaps(words)


def test_gaps_and_rates_are_put_in_order() -> None:
    assert parse_gaps(["auto"]) == DEFAULT_GAPS_S
    assert parse_gaps(["8", "2"]) == (2, 8)
    assert parse_rates(["20000", "5e3"]) == (5000, 20_000)
    with pytest.raises(BadInput, match="--background is 'fast'"):
        parse_rates(["fast"])
