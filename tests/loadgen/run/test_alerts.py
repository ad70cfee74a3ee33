"""--abort-if: rules are read, judged over a full window with enough requests, and a hit rate only where prompts are repeated."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.alert_rules import AlertRule, parse_rules
from locust_kvcache.loadgen.run.alerts import Alerts


def record(status: str = "ok", ttft_ms: float = 100.0, cached: int = 900) -> dict[str, Any]:
    return {
        "status": status,
        "ttft_ms": ttft_ms,
        "tpot_ms": 5.0,
        "e2e_ms": 300.0,
        "reported_cached_tokens": cached,
        "prompt_tokens": 1000,
    }


@pytest.mark.parametrize(
    ("text", "figure", "above", "limit", "window_s"),
    [
        ("error_rate>5%/60s", "error_rate", True, 0.05, 60),
        (" hit_rate < 0.2 / 2m", "hit_rate", False, 0.2, 120),
        ("ttft_p90_ms>8000", "ttft_p90_ms", True, 8000, 60),
        ("requests_per_s<0.5/10", "requests_per_s", False, 0.5, 10),
    ],
)
def test_a_rule(text: str, figure: str, above: bool, limit: float, window_s: float) -> None:
    assert parse_rules([text]) == (AlertRule(text.strip(), figure, above, limit, window_s),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("error_rate=5%", "expected FIGURE>LIMIT/WINDOW"),
        ("errors>5%", "'errors' is not a figure; allowed: error_rate"),
        ("error_rate>5", "is a share; give 5% or 0.05"),
        ("ttft_p90_ms>8%", "not a share"),
        ("ttft_p90_ms>1.2.3", "is not a number"),
        ("error_rate>5%/2h", "expected 1s to 1h"),
        ("error_rate>5%/0", "expected 1s to 1h"),
    ],
)
def test_what_is_no_rule(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        parse_rules([text])


def watched(rule: str, repeats: bool = True) -> Alerts:
    alerts = Alerts(parse_rules([rule]))
    alerts.begin(repeats)
    return alerts


def test_the_last_seconds_count_and_a_window_must_be_full() -> None:
    alerts = watched("error_rate>50%/10s")
    for second in range(10):
        alerts.add(second, [record("refused")] * 2)
    assert alerts.broken(9.9) is None
    found = alerts.broken(10.0)
    assert found is not None
    assert found.value == 1.0
    for second in range(10, 20):
        alerts.add(second, [record()] * 2)
    found = alerts.broken(14.0)
    assert found is None or found.value < 0.7
    assert alerts.broken(20.0) is None


def test_too_few_requests_say_nothing_but_of_the_rate() -> None:
    alerts = watched("error_rate>5%/10s")
    alerts.add(1, [record("refused")] * 9)
    assert alerts.broken(10.0) is None
    stopped = watched("requests_per_s<1/10s")
    stopped.add(1, [record()] * 9)
    found = stopped.broken(10.0)
    assert found is not None
    assert found.value == 0.9


@pytest.mark.parametrize(("figure", "value"), [("ttft_p90_ms", 190.0), ("ttft_mean_ms", 110.0), ("ttft_p50_ms", 100.0)])
def test_times(figure: str, value: float) -> None:
    alerts = watched(f"{figure}>1/10s")
    alerts.add(2, [record(ttft_ms=100.0)] * 89 + [record(ttft_ms=190.0)] * 11)
    found = alerts.broken(10.0)
    assert found is not None
    assert found.value == pytest.approx(value, rel=0.02)


def test_hits_are_judged_in_rounds_that_repeat() -> None:
    for repeats in (True, False):
        alerts = watched("hit_rate<50%/10s", repeats)
        alerts.add(1, [record(cached=100)] * 20)
        found = alerts.broken(10.0)
        assert (found is not None) == repeats
        if found is not None:
            assert found.text() == "--abort-if hit_rate<50%/10s: hit_rate was 10.0% over the last 10 s"


def test_requests_that_were_stopped_are_no_failures() -> None:
    alerts = watched("error_rate>5%/10s")
    alerts.add(1, [record("stopped"), record("lost")] * 10 + [record()] * 10)
    assert alerts.broken(10.0) is None


def test_a_hit_rate_needs_ten_requests_that_report_one() -> None:
    alerts = watched("hit_rate<50%/10s")
    silent = {**record(), "reported_cached_tokens": None}
    alerts.add(1, [silent] * 20 + [record(cached=0)] * 9)
    assert alerts.broken(10.0) is None
    alerts.add(2, [record(cached=0)])
    assert alerts.broken(10.0) is not None


def test_a_percentile_needs_times_and_not_failures() -> None:
    alerts = watched("ttft_p90_ms>1/10s")
    alerts.add(1, [record("refused")] * 30 + [record()] * 5)
    assert alerts.broken(10.0) is None
