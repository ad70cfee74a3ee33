"""Serves the client's own metrics for Prometheus, from the records that reach the master.

Counted over the life of the process, as Prometheus wants it; served as /metrics of Locust's page, or apart with `--metrics-port`.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gevent
from flask import Response, request
from gevent.pywsgi import WSGIServer
from locust.env import Environment
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record import OK
from locust_kvcache.loadgen.master.coordinator import Coordinator
from locust_kvcache.loadgen.run.live_statistics import Live
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.loadgen.typed_locust import flask_app
from locust_kvcache.loadgen.web.login import DEFAULT_USER, PASSWORD_VARIABLE, USER_VARIABLE, WRONG_PASSWORD_DELAY_S

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LABELS = ("deployment", "scenario", "round", "window")
TIME_BUCKETS_S = (
    0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7,
    1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300,
)  # fmt: skip
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
FIRST_ROUND, LATER_ROUND = "first_round", "later_round"

log = logging.getLogger(__name__)


class _RoundSeries:
    """The children of one round's labels, looked up once."""

    def __init__(self, metrics: ClientMetrics, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.times = [
            (field, metrics.histograms[name].labels(*labels))
            for field, name in (("ttft_ms", "ttft"), ("tpot_ms", "tpot"), ("e2e_ms", "e2e"), ("loop_lag_ms", "lag"))
        ]
        self.tokens = {name: counter.labels(*labels) for name, counter in metrics.tokens.items()}
        self.client_limited = metrics.client_limited.labels(*labels)

    def add(self, record: Mapping[str, Any]) -> None:
        """A whole stream."""
        for field, histogram in self.times:
            if record[field] is not None:
                histogram.observe(record[field] / 1000)
        prompt, cached = record["prompt_tokens"], record["reported_cached_tokens"]
        self.tokens["prompt"].inc(prompt or 0)
        self.tokens["output"].inc(record["output_tokens"] or 0)
        if cached is not None and prompt:
            self.tokens["cached"].inc(cached)
            self.tokens["hit_base"].inc(prompt)
        if record["client_limited"]:
            self.client_limited.inc()


class ClientMetrics(Collector):
    def __init__(self, users: Callable[[], int]) -> None:
        """`users`: how many Locust runs."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # they would double the page; Prometheus itself sees when a series begins
        self.registry = CollectorRegistry()
        self._rounds: dict[tuple[str, int], _RoundSeries] = {}
        self._arms: tuple[str, ...] = ()
        self._run: Run | None = None
        self._live: Live | None = None
        self._users = users
        histogram, counter = self._histogram, self._counter
        self.histograms = {
            "ttft": histogram("ttft", "Time to first token of whole streams"),
            "tpot": histogram("tpot", "Time per output token after the first, of whole streams"),
            "e2e": histogram("e2e", "Time to the end of whole streams"),
            "lag": histogram("loop_lag", "Worst delay of the worker's event loop while a request was open", LAG_BUCKETS_S),
        }
        self.tokens = {
            "prompt": counter("prompt_tokens", "Prompt tokens of whole streams, as the server counts them"),
            "output": counter("output_tokens", "Output tokens of whole streams"),
            "cached": counter("reported_cached_tokens", "Prompt tokens that the server says it had in a cache"),
            "hit_base": counter("reported_prompt_tokens", "Prompt tokens of the requests whose cached tokens are reported"),
        }
        self.requests = counter("requests", "Requests that ended, by status (docs/metrics.md)", "status")
        self.failures = counter("failures", "Requests that ended other than ok, by status", "status")
        self.client_limited = counter("client_limited_requests", "Whole streams whose times the load generator may have moved")
        self.registry.register(self)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = TIME_BUCKETS_S) -> Histogram:
        return Histogram(f"kvcache_{name}_seconds", text, LABELS, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, text: str, *more: str) -> Counter:
        return Counter(f"kvcache_{name}", text, (*LABELS, *more), registry=self.registry)

    def begin(self, run: Run, live: Live, arms: tuple[str, ...]) -> None:
        self._run, self._live, self._arms = run, live, arms
        self._rounds = {}

    def _window(self, number: int) -> str:
        """By the round's number alone: whether a request was really cold, or a hit, only the analysis knows."""
        if number <= len(self._arms):
            return self._arms[number - 1]
        return FIRST_ROUND if number == 1 else LATER_ROUND

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            key = record["scenario"], record["round"]
            if key not in self._rounds:
                self._rounds[key] = _RoundSeries(self, (record["deployment"], key[0], str(key[1]), self._window(key[1])))
            known = self._rounds[key]
            self.requests.labels(*known.labels, record["status"]).inc()
            if record["status"] == OK:
                known.add(record)
            else:
                self.failures.labels(*known.labels, record["status"]).inc()

    def collect(self) -> Iterator[Metric]:
        """What is known only when somebody asks: the run, its rounds, its users."""
        planned = GaugeMetricFamily("kvcache_planned_requests", "Requests that a round of this run has", labels=LABELS)
        ended = GaugeMetricFamily(
            "kvcache_rounds_ended", "Rounds of this run whose every request has ended", labels=("deployment", "scenario")
        )
        active = GaugeMetricFamily("kvcache_run_active", "1 while a run is measured")
        users = GaugeMetricFamily("kvcache_users", "Users that Locust runs")
        info = InfoMetricFamily("kvcache_run", "The run under way, or the last one", labels=("deployment",))
        if self._run is not None and self._live is not None:
            deployment, rounds = self._run.config.deployment, self._live.rounds.items()
            for (scenario, number), state in rounds:
                planned.add_metric((deployment, scenario, str(number), self._window(number)), state.planned)
            for scenario in dict.fromkeys(scenario for (scenario, _), _ in rounds):
                states = [state for (name, _), state in rounds if name == scenario]
                ended.add_metric((deployment, scenario), sum(0 < s.planned <= s.done + s.failed for s in states))
            info.add_metric((deployment,), {"run": self._run.folder.name, "model": self._run.config.model})
        active.add_metric((), int(self._run is not None and not self._run.finished))
        users.add_metric((), self._users())
        yield from (planned, ended, active, users, info)

    def page(self) -> bytes:
        return generate_latest(self.registry)


def _refused() -> Response | None:
    """With `--web-login` Prometheus gives the same user and password as HTTP basic auth; None: let it in."""
    given, password = request.authorization, os.environ.get(PASSWORD_VARIABLE, "")
    user = os.environ.get(USER_VARIABLE, DEFAULT_USER)
    pairs = ((given.username or "", user), (given.password or "", password)) if given and password else ()
    if pairs and all(hmac.compare_digest(a.encode(), b.encode()) for a, b in pairs):
        return None
    if given:
        gevent.sleep(WRONG_PASSWORD_DELAY_S)  # a guess is as slow as at the login page
    return Response("log in by HTTP basic auth\n", 401, {"WWW-Authenticate": 'Basic realm="metrics"'}, mimetype="text/plain")


def _serve(metrics: ClientMetrics, host: str, port: int) -> None:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"the metrics are at /metrics\n"]
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [metrics.page()]

    server = WSGIServer((host, port), answer, log=None)
    try:
        server.start()
    except OSError as error:
        raise BadInput(f"--metrics-port {host}:{port} cannot be listened on ({error}); choose another") from error
    log.info("metrics for Prometheus at http://%s:%d/metrics", host, port)


def metrics_address(text: str) -> tuple[str, int] | None:
    """--metrics-port as (host, port); None where it is not given."""
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadInput(f"--metrics-port is {text!r}; expected PORT or HOST:PORT, a port from 1 to 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


def attach(environment: Environment, coordinator: Coordinator) -> None:
    """Serve /metrics where a page or a port for it is; else nothing is counted. BadInput where the port cannot be had."""
    options, web_ui = environment.parsed_options, environment.web_ui
    address = metrics_address(options.metrics_port) if options is not None else None
    if web_ui is None and address is None:
        return
    runner = environment.runner
    metrics = ClientMetrics(lambda: runner.user_count if runner is not None else 0)
    coordinator.listener = metrics
    if address is not None:
        _serve(metrics, *address)
    if web_ui is None:
        return
    base = (getattr(options, "web_base_path", None) or "").rstrip("/")

    @flask_app(web_ui).route(f"{base}/metrics")
    def client_metrics() -> Response:
        return (_refused() if web_ui.web_login else None) or Response(metrics.page(), content_type=CONTENT_TYPE_LATEST)
