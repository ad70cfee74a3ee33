"""The client's metrics: their figures checked by hand, the page read back by Prometheus' own parser, served with a page and without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.run.live_statistics import Live
from locust_kvcache.loadgen.web.login import WRONG_PASSWORD_DELAY_S
from locust_kvcache.loadgen.web.prometheus import ClientMetrics, metrics_address
from tests.conftest import LocustProcesses, Stub, start_stub, wait_for
from tests.loadgen.master.test_coordinator import swarm
from tests.loadgen.run.test_live_statistics import line
from tests.ports import free_port


def samples(page: str) -> dict[tuple[Any, ...], float]:
    """(name, round, further label) -> value."""
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            extra = sample.labels.get("le") or sample.labels.get("status")
            found[sample.name, sample.labels.get("round"), extra] = sample.value
    return found


def page_of(metrics: ClientMetrics, *lines: str) -> str:
    metrics.add([orjson.loads(text) for text in lines])
    return metrics.page().decode()


def test_figures_by_hand() -> None:
    page = page_of(
        ClientMetrics(lambda: 7),
        line(1, 0, ttft_ms=900.0, tpot_ms=20.0, e2e_ms=2000.0, prompt_tokens=100, output_tokens=50, reported_cached_tokens=0),
        line(1, 1, ttft_ms=1100.0, prompt_tokens=70, output_tokens=9),  # no cached tokens: not in the hit rate
        line(
            2,
            0,
            ttft_ms=90.0,
            loop_lag_ms=3.0,
            client_limited=True,
            prompt_tokens=100,
            output_tokens=50,
            reported_cached_tokens=96,
        ),
        line(2, 1, status="timeout", ttft_ms=5.0, prompt_tokens=100),
    )
    found = samples(page)
    assert found["kvcache_ttft_seconds_count", "1", None] == 2
    assert found["kvcache_ttft_seconds_sum", "1", None] == pytest.approx(2.0)
    assert found["kvcache_ttft_seconds_bucket", "1", "1.0"] == 1
    assert found["kvcache_ttft_seconds_bucket", "1", "1.5"] == 2
    assert found["kvcache_ttft_seconds_count", "2", None] == 1  # a failed request has no part in the times
    assert found["kvcache_tpot_seconds_count", "1", None] == 1
    assert found["kvcache_e2e_seconds_sum", "1", None] == pytest.approx(2.0)
    assert found["kvcache_loop_lag_seconds_sum", "2", None] == pytest.approx(0.003)
    assert found["kvcache_prompt_tokens_total", "1", None] == 170
    assert found["kvcache_reported_prompt_tokens_total", "1", None] == 100
    assert found["kvcache_reported_cached_tokens_total", "2", None] == 96
    assert found["kvcache_requests_total", "2", "ok"] == 1
    assert found["kvcache_requests_total", "2", "timeout"] == 1
    assert found["kvcache_failures_total", "2", "timeout"] == 1
    assert found["kvcache_client_limited_requests_total", "2", None] == 1
    assert "_created" not in page


def run_of(live: Live, name: str = "r1", finished: bool = False) -> Any:
    config = SimpleNamespace(deployment="d", model="m")
    return SimpleNamespace(config=config, folder=SimpleNamespace(name=name), finished=finished), live


def test_rounds_end_when_every_request_has() -> None:
    metrics, live = ClientMetrics(lambda: 7), Live({("chat", 1): 2, ("chat", 2): 2})
    metrics.begin(*run_of(live), ())
    records = live.add([line(1, 0, ttft_ms=1.0), line(1, 1, status="cut"), line(2, 0, ttft_ms=1.0)])
    metrics.add(records)
    found = samples(metrics.page().decode())
    assert found["kvcache_rounds_ended", None, None] == 1
    assert found["kvcache_planned_requests", "2", None] == 2
    assert found["kvcache_users", None, None] == 7
    assert found["kvcache_run_active", None, None] == 1


def test_a_window_is_named_for_what_is_known_of_it() -> None:
    plain, with_arms, live = ClientMetrics(lambda: 7), ClientMetrics(lambda: 7), Live()
    with_arms.begin(*run_of(live), ("cold", "store_hit"))
    lines = [line(number, ttft_ms=1.0) for number in (1, 2)]
    assert set(re.findall('window="(.*?)"', page_of(plain, *lines))) == {"first_round", "later_round"}
    assert set(re.findall('window="(.*?)"', page_of(with_arms, *lines))) == {"cold", "store_hit"}


def test_counters_go_on_from_run_to_run() -> None:
    metrics = ClientMetrics(lambda: 7)
    for name in ("r1", "r2"):
        metrics.begin(*run_of(Live(), name), ())
        page = page_of(metrics, line(1, 0, ttft_ms=1.0))
    assert samples(page)["kvcache_requests_total", "1", "ok"] == 2


def test_hostile_names_stay_labels() -> None:
    metrics = ClientMetrics(lambda: 7)
    record = orjson.loads(line(1, 0, ttft_ms=1.0))
    metrics.add([record | {"scenario": 'x"} 1\nkvcache_requests_total{a="b\\'}])
    assert samples(metrics.page().decode())["kvcache_requests_total", "1", "ok"] == 1


@pytest.mark.parametrize("text", ["x", "0", "70000", "localhost:", "-1"])
def test_a_bad_port_is_named(text: str) -> None:
    with pytest.raises(BadInput, match=re.escape(f"--metrics-port is {text!r}; expected PORT or HOST:PORT")):
        metrics_address(text)
    assert metrics_address("9646") == ("127.0.0.1", 9646)
    assert metrics_address("0.0.0.0:9646") == ("0.0.0.0", 9646)
    assert metrics_address("[::1]:9646") == ("::1", 9646)


@pytest.fixture
def steady_stub(tmp_path: Path) -> Iterator[Stub]:
    """0.4 s for each answer: a round can be looked at, and a preflight of many probes is soon over."""
    server = start_stub(tmp_path, "0.1", "0.03")
    yield server
    server.process.kill()
    server.process.wait()


def test_headless_runs_serve_them_on_a_port(locust: LocustProcesses, steady_stub: Stub) -> None:
    port = str(free_port())
    process = locust.start(
        "-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "2", "--requests", "6", "--host", steady_stub.url,
        "--processes", "2", "--metrics-port", port,
    )  # fmt: skip

    def first_round() -> str | None:
        page = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=1).text
        return page if samples(page).get(("kvcache_requests_total", "1", "ok")) == 6 else None

    page = wait_for(first_round, 60, what="the first round's six requests")
    assert samples(page)["kvcache_users", None, None] == 2
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 404
    assert process.wait(60) == 0


def test_a_port_that_is_taken_ends_the_start(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(
        "-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--host", stub.url, "--metrics-port", str(stub.port)
    )
    assert code == 3
    assert f"--metrics-port 127.0.0.1:{stub.port} cannot be listened on" in output
    assert not locust.runs()


def test_locusts_page_serves_them_and_asks_for_a_login_where_one_is_on(locust: LocustProcesses, stub: Stub) -> None:
    open_port, closed_port = str(free_port()), str(free_port())
    base = ("-f", "locustfiles/cold_start.py", "--host", stub.url, "--requests", "4", "--web-host", "127.0.0.1", "--web-port")
    locust.start(*base, open_port)
    locust.start(*base, closed_port, "--web-login", KV_WEB_PASSWORD="opensesame")
    page = f"http://127.0.0.1:{open_port}/metrics"
    wait_for(lambda: requests.get(page, timeout=1).ok, what="the metrics")
    assert swarm(open_port, host=stub.url, scenarios="", arrival="closed", deployment="")["success"]
    wait_for(
        lambda: samples(requests.get(page, timeout=5).text).get(("kvcache_rounds_ended", None, None)) == 2, what="two rounds"
    )
    closed = f"http://127.0.0.1:{closed_port}/metrics"
    wait_for(lambda: requests.get(closed, timeout=1).status_code == 401, what="the refusal")
    guess = requests.get(closed, auth=("locust", "sesame"), timeout=5)
    assert guess.status_code == 401
    assert guess.elapsed.total_seconds() >= WRONG_PASSWORD_DELAY_S  # as slow as a guess at the login page
    assert "kvcache_users" in requests.get(closed, auth=("locust", "opensesame"), timeout=5).text
