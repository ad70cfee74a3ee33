"""Implements role fleet: a router address and N engines behind it, each with its own caches, scheduler and pages.

Everything is in one process and on one clock: the front hands a request to its engine without a hop, and knows the truth about all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from locust_kvcache.emulator.admin import METRICS_TYPE
from locust_kvcache.emulator.api import Api
from locust_kvcache.emulator.bodies import PATHS
from locust_kvcache.emulator.deployment import Deployment
from locust_kvcache.emulator.faults import Faults, make_rule
from locust_kvcache.emulator.realtime import RealTime
from locust_kvcache.emulator.reuse import Ledger
from locust_kvcache.emulator.router_page import RouterCounts, RouterPage
from locust_kvcache.emulator.routing import Guard, make_policy, text_of
from locust_kvcache.emulator.spec import Profile
from locust_kvcache.emulator.tiers import Tier
from locust_kvcache.emulator.wire import Connection, HttpRequest

EVERY_ENGINE = {("POST", "/reset_prefix_cache"), ("DELETE", "/cache/clear"), ("POST", "/faults"), ("DELETE", "/faults")}
SESSION_HEADER, TOKEN_HEADER = "x-session-id", "x-session-token"


def make_engines(
    options: argparse.Namespace,
    profile: Profile,
    clock: RealTime,
    key: str | None,
    refuse: Callable[[int], Callable[[float], None]],
) -> dict[str, Api]:
    """Servers of role single under the names engine-1 to engine-N; those below the GPU share one store."""
    spec = profile.server("single").store
    store = Tier("store", spec, profile.kv_bytes_per_token, options.time_scale) if spec else None
    model = options.model or profile.served_name
    engines = {}
    for number in range(options.engines):
        deployment = Deployment(profile, "single", clock.simulation, options.time_scale, store=store)
        deployment.started_s -= options.engines - number  # an engine is a process of its own, with a start of its own
        rules = [make_rule(rule.name, rule.value, rule.share, number, rule.times) for rule in options.rules]
        faults = Faults(rules, deployment.lies)
        engines[f"engine-{number + 1}"] = Api(deployment, clock, model, key, faults, refuse(number))
    return engines


class Fleet:
    def __init__(self, engines: dict[str, Api], urls: dict[str, str], routing: str, guard: Guard, max_open: int | None) -> None:
        self.engines, self.urls, self.routing, self.max_open = engines, urls, routing, max_open
        self.names = list(engines)
        self.policy = make_policy(routing, guard)
        self.open = dict.fromkeys(self.names, 0)
        self.counts = RouterCounts({urls[name]: 0 for name in self.names})
        first = self.first.deployment
        self.ledger = Ledger({name: api.deployment.entry for name, api in engines.items()}, first.store)
        for api in engines.values():
            api.deployment.on_reset = self.ledger.after_reset

    @property
    def first(self) -> Api:
        return self.engines[self.names[0]]

    # -- in

    def handle(self, request: HttpRequest, connection: Connection) -> None:
        route = (request.method, request.path)
        if request.method == "POST" and request.path in PATHS:
            self._forward(request, connection)
        elif route in EVERY_ENGINE:
            self._tell_all(request, connection)
        elif route == ("GET", "/metrics"):
            page = RouterPage(self.counts, self.routing, {self.urls[name]: count for name, count in self.open.items()})
            connection.answer(request, 200, page.render(), METRICS_TYPE)
        elif route == ("GET", "/workers"):
            workers = [self._worker(name) for name in self.names]
            connection.answer_json(request, {"workers": workers, "total": len(workers)})
        elif route == ("GET", "/list_workers"):
            connection.answer_json(request, {"urls": list(self.urls.values())})
        elif route == ("GET", "/truth"):
            connection.answer(request, 200, self._truth(request.query), "application/x-ndjson")
        elif route == ("DELETE", "/truth"):
            self.ledger.clear_totals()
            self._tell_all(request, connection)
        elif route == ("GET", "/version"):
            of = self.first.deployment
            words = f"{of.profile.name}, fleet of {len(self.names)}, routing {self.routing}, time scale {of.time_scale:g}"
            connection.answer_json(request, {"version": f"emulator ({words})"})
        elif route == ("GET", "/load"):
            connection.answer_json(request, {"server_load": sum(self.open.values())})
        else:  # models, health, tokenizer and the rest are the same everywhere
            self.first.handle(request, connection)

    def _worker(self, name: str) -> dict[str, Any]:
        return {"url": self.urls[name], "worker_type": "regular", "is_healthy": True, "load": self.open[name]}

    def _tell_all(self, request: HttpRequest, connection: Connection) -> None:
        """All engines do it; the client gets the answer of the first that did not succeed, or of the last."""
        answers = []
        for api in self.engines.values():
            kept = _Kept()
            api.handle(request, kept)  # type: ignore[arg-type]
            answers.append(kept)
        chosen = next((one for one in answers if one.failed), answers[-1])
        connection.answer(request, chosen.status, chosen.body)

    # -- one request

    def _forward(self, request: HttpRequest, connection: Connection) -> None:
        self.counts.add_request(request.path)
        if self.max_open is not None and sum(self.open.values()) >= self.max_open:
            self.counts.add_error(request.path, "shed")
            error = {"message": f"{self.max_open} requests are open; try later", "type": "ServiceUnavailableError", "code": 503}
            connection.answer_json(request, {"error": error}, 503, **{"retry-after": "1"})
            return
        text = text_of(_parsed(request.body)) if self.routing == "prefix" else ""
        session = request.headers.get(TOKEN_HEADER if self.routing == "token" else SESSION_HEADER, "")
        name = self.names[self.policy.choose(text, session, list(self.open.values()))]
        self.open[name] += 1
        self.counts.workers[self.urls[name]] += 1
        request.answer_headers["x-engine"] = name
        if self.routing == "token":
            request.answer_headers[TOKEN_HEADER] = str(self.names.index(name))
        connection.on_done = lambda status: self._done(name, request.path, status)
        self.engines[name].handle(request, connection)

    def _done(self, name: str, path: str, status: int | None) -> None:
        self.open[name] -= 1
        if status is None or status >= 400:
            self.counts.add_error(path, "connection" if status is None else f"http_{status}")

    # -- the truth

    def _truth(self, query: dict[str, str]) -> bytes:
        lines = [self._summary()]
        if query.get("blocks") in ("1", "true"):
            lines += self._blocks()
        passages = [(one.arrived_ns, name, one) for name, api in self.engines.items() for one in api.log.passages]
        passages.sort(key=lambda entry: entry[:2])
        if "id" in query:
            passages = [entry for entry in passages if entry[2].request_id.endswith(query["id"])]
        if query.get("last", "").isdigit():
            passages = passages[len(passages) - min(int(query["last"]), len(passages)) :]
        lines += [{**one.as_dict(), "engine": name} for _, name, one in passages]
        return ("\n".join(map(json.dumps, lines)) + "\n").encode()

    def _summary(self) -> dict[str, Any]:
        engines = {}
        for name, api in self.engines.items():
            pool = api.deployment.entry.pool
            engines[name] = {
                "url": self.urls[name],
                "requests_routed": self.counts.workers[self.urls[name]],
                "requests_open": self.open[name],
                "tokens": self.ledger.totals[name],
                "gpu_blocks": pool.blocks,
                "gpu_blocks_cached": len(pool.held_hashes()),
                "late_us": api.log.lateness()["late_us"],
                "requests_dropped": api.log.dropped,
            }
        tokens = self.ledger.summed()
        shed = self.counts.errors_of("shed")
        return {"kind": "fleet", "routing": self.routing, "tokens": tokens, "requests_shed": shed, "engines": engines}

    def _blocks(self) -> list[dict[str, Any]]:
        size = self.ledger.block_size
        lines: list[dict[str, Any]] = []
        for name, api in self.engines.items():
            cpu = api.deployment.entry.connector.cpu
            held = {"gpu": api.deployment.entry.pool.held_hashes(), "cpu": cpu.chunk_keys() if cpu else []}
            lines.append({"kind": "blocks", "engine": name, "block_size": size, **held})
        if self.ledger.store:
            lines.append({"kind": "blocks", "engine": None, "block_size": size, "store": self.ledger.store.chunk_keys()})
        return lines


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None  # the engine will say so


class _Kept:
    """Stands for a connection where an engine's answer is read here instead of sent."""

    def __init__(self) -> None:
        self.status, self.body = 0, b""

    @property
    def failed(self) -> bool:
        return self.status != 200 or json.loads(self.body or b"{}").get("success") is False

    def answer(self, request: HttpRequest, status: int, body: bytes, media_type: str = "", **headers: str) -> None:
        self.status, self.body = status, body

    def answer_json(self, request: HttpRequest, value: Any, status: int = 200, **headers: str) -> None:
        self.status, self.body = status, json.dumps(value).encode()
