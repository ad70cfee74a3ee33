"""What a metric of another package may return, and that it changes no other figure."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.stats import added_metrics
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.extensions import RequestMetric

RECORDS = pd.DataFrame({"ttft_ms": [10.0, 20.0, 40.0]}, index=[7, 8, 9])


def with_metric(monkeypatch: pytest.MonkeyPatch, compute: Callable[[pd.DataFrame], Any]) -> pd.DataFrame:
    monkeypatch.setattr(added_metrics, "ADDED", {"mine": RequestMetric("Mine", "ms", "half of TTFT", compute)})
    return added_metrics.with_added_metrics(RECORDS)


def overwritten(records: pd.DataFrame) -> Any:
    records["ttft_ms"] = 1.0
    return records["ttft_ms"]


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda records: records["ttft_ms"] / 2, [5.0, 10.0, 20.0]),
        (lambda records: records["ttft_ms"].iloc[::-1], [10.0, 20.0, 40.0]),  # by the index, not by the place
        (lambda records: records["ttft_ms"].to_numpy(), [10.0, 20.0, 40.0]),
        (lambda records: 10 / (records["ttft_ms"] - 20), [-1.0, None, 0.5]),  # a division by 0 is missing
        (overwritten, [1.0, 1.0, 1.0]),
    ],
)
def test_one_value_for_each_record(monkeypatch: pytest.MonkeyPatch, compute: Any, expected: list[float | None]) -> None:
    found = with_metric(monkeypatch, compute)
    assert [None if pd.isna(value) else value for value in found["mine"]] == expected
    assert found["ttft_ms"].tolist() == [10.0, 20.0, 40.0]


@pytest.mark.parametrize(
    ("compute", "says"),
    [
        (lambda records: 5.0, "compute returned float; expected a Series of 3 values, one for each record"),
        (lambda records: records["ttft_ms"].head(2), "compute returned 2 values; expected a Series of 3"),
        (lambda records: pd.Series(["a", "b", "c"], index=records.index), "Unable to parse string"),
        (lambda records: records["no_such_column"], "KeyError: 'no_such_column'"),
        (lambda records: exit(), "SystemExit"),
    ],
)
def test_a_metric_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, compute: Any, says: str) -> None:
    with pytest.raises(BadInput, match="the metric 'mine' of a package failed: ") as refused:
        with_metric(monkeypatch, compute)
    assert says in str(refused.value)
