"""A limit on failures is a number or a share."""

from __future__ import annotations

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.failure_limit import parse_failure_limit


@pytest.mark.parametrize(
    ("given", "failed", "planned", "allowed"),
    [
        (None, 0, 10, True),
        (None, 1, 10, False),
        ("3", 3, 10, True),
        (3, 4, 10, False),
        ("1%", 1, 100, True),
        ("1%", 1, 99, False),
    ],
)
def test_limits(given: object, failed: int, planned: int, allowed: bool) -> None:
    assert parse_failure_limit(given).allows(failed, planned) is allowed


@pytest.mark.parametrize("given", ["a few", "-1", "101%", "%", "1.5"])
def test_what_is_no_limit(given: str) -> None:
    with pytest.raises(BadInput, match="--max-failures"):
        parse_failure_limit(given)


def test_it_is_written_as_it_is_given() -> None:
    assert [str(parse_failure_limit(given)) for given in ("3", "1%", "0.5%", None)] == ["3", "1%", "0.5%", "0"]
