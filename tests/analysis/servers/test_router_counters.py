"""What a router's own page says beyond the requests that it passed on."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.servers.router_counters import router_problems


def changed(*rows: tuple[int, str, float]) -> pd.DataFrame:
    found = [("s", number, "router", "http://r/metrics", metric, "", delta) for number, metric, delta in rows]
    return pd.DataFrame(found, columns=["scenario", "round", "role", "url", "metric", "labels", "delta"])


def test_tries_at_another_engine_are_said_by_round() -> None:
    retries, others = "vllm_router_retries_total", "vllm_router_requests_total"
    found = router_problems(
        changed((1, retries, 14.0), (1, others, 60.0), (2, retries, 0.0), (3, "smg_worker_retries_total", 2.0))
    )
    assert [problem.code for problem in found] == ["router_retries"] * 2
    assert "requests of round 1 of s again, 14 in all" in found[0].text
    assert "requests of round 3 of s again, 2 in all" in found[1].text


def test_without_a_routers_page_nothing_is_said() -> None:
    assert router_problems(changed((1, "vllm:prompt_tokens_total", 14.0))) == []
