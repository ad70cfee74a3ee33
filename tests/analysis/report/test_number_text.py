"""How numbers read: three digits, factors above 3, plurals."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.analysis.basics.number_text import change, higher, listed, number, percent, plural, slower


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (21246, "21,200"), (99.96, "100"), (16.83, "16.8"), (0.24944, "0.249"), (-3.2, "-3.20"), (None, "–")],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_shares() -> None:
    assert [percent(share) for share in (0.665, 1.0, 14.975, None)] == ["66.5 %", "100 %", "1,498 %", "–"]
    assert percent(-0.0001, signed=True) == "0.0 %"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ((0.335, 0.3, 0.388), "−66.5 % [−70.0, −61.2]"),
        ((15.97, 10.0, 20.0), "16.0 x [10.0, 20.0]"),
        ((0.3, 0.002, 29.5), "−70.0 % [too wide]"),
        ((2.9, 1.2, 4.0), "2.90 x [1.20, 4.00]"),
        ((1.0, 0.999, 1.0001), "0.0 % [−0.1, 0.0]"),
        ((1.5, None, None), "+50.0 % [no interval]"),
        ((None, None, None), "–"),
    ],
)
def test_changes_are_factors_above_three(row: tuple[Any, ...], text: str) -> None:
    assert change(dict(zip(("ratio", "ratio_low", "ratio_high"), row, strict=True))) == text


def test_comparisons_in_words() -> None:
    assert [slower(15.97), slower(1.234), slower(0.9), slower(1.0)] == [
        "16.0 x slower",
        "23.4 % slower",
        "10.0 % faster",
        "as fast",
    ]
    assert [higher(4.0), higher(0.5)] == ["4.00 x higher", "50.0 % lower"]


def test_plurals_and_lists() -> None:
    assert [plural(1, "user"), plural(3, "warning")] == ["1 user", "3 warnings"]
    assert [listed([5]), listed([1, 5, 10])] == ["5", "1, 5 and 10"]
