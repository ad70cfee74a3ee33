"""Tenants of a run: sums, shares and Jain's index by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from locust_kvcache.analysis.stats.tenants import fairness_table, jain, tenant_table

ROWS = [  # tenant, ok, prompt, output, cached, planned cached, TTFT, E2E
    ("a", True, 100, 10, 64, 96, 10.0, 100.0),
    ("a", True, 100, 10, 32, 96, 30.0, 100.0),
    ("b", True, 700, 80, 0, 0, 50.0, 1000.0),
    ("b", False, 700, 80, 0, 0, 50.0, 1000.0),
]


def records() -> pd.DataFrame:
    names = "tenant ok prompt_tokens output_tokens reported_cached_tokens planned_cached_tokens ttft_ms e2e_ms".split()
    frame = pd.DataFrame(ROWS, columns=names).assign(scenario="s", round=1.0)
    return frame.assign(planned_prompt_tokens=frame["prompt_tokens"], planned_output_tokens=frame["output_tokens"])


@pytest.mark.parametrize(
    ("values", "index"), [([5, 5, 5], 1.0), ([1, 0, 0, 0], 0.25), ([1, 3], 16 / 20), ([4], None), ([0, 0], None)]
)
def test_jain(values: list[float], index: float | None) -> None:
    assert jain(values) == index


def test_each_tenant_by_hand() -> None:
    a, b = tenant_table(records()).to_dict("records")
    assert (a["requests"], a["failed"], b["requests"], b["failed"]) == (2, 0, 2, 1)
    assert (a["hit_rate"], a["planned_hit_rate"], b["hit_rate"]) == (96 / 200, 192 / 200, 0.0)
    assert (a["ttft_p50_ms"], a["ttft_p90_ms"]) == (20.0, None)  # P90 from 20 on
    assert a["share_of_tokens"] == 220 / (220 + 780)
    assert a["planned_share"] == 220 / (220 + 1560)
    assert (a["tokens_per_request_s"], b["tokens_per_request_s"]) == (220 / 0.2, 780.0)
    (fair,) = fairness_table(tenant_table(records())).to_dict("records")
    assert fair["jain_tokens_per_request_s"] == pytest.approx((1100 + 780) ** 2 / (2 * (1100**2 + 780**2)))


def test_no_tenants_no_table() -> None:
    assert tenant_table(records().assign(tenant=None)).empty
    assert fairness_table(tenant_table(records().assign(tenant=None))).empty
