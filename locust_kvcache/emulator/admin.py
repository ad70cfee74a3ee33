"""Serves the pages beside the completions: models, tokenizer, metrics, resets, the truth, and switches for faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from locust_kvcache.emulator import gpu_pages, tokenizer
from locust_kvcache.emulator.faults import make_rule
from locust_kvcache.emulator.pages import Page
from locust_kvcache.emulator.recorder import OF_THE_JOB, OF_THE_PREFILLER
from locust_kvcache.emulator.wire import Connection, HttpRequest

if TYPE_CHECKING:
    from locust_kvcache.emulator.api import Api

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Route = Callable[[HttpRequest, Connection], None]


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


def json_body(request: HttpRequest, model: str) -> dict[str, Any]:
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise Refused(400, "BadRequestError", f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(400, "BadRequestError", "expected a JSON object")
    if body.get("model", model) != model:
        raise Refused(404, "NotFoundError", f"The model `{body['model']}` does not exist.")
    return body


class Admin:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> dict[tuple[str, str], Route]:
        routes: dict[tuple[str, str], Route] = {
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("GET", "/health"): lambda request, connection: connection.answer(request, 200, b""),
            ("GET", "/ping"): lambda request, connection: connection.answer(request, 200, b""),
            ("GET", "/version"): self._version,
            ("GET", "/load"): self._load,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/dcgm/metrics"): self._dcgm,
            ("POST", "/reset_prefix_cache"): self._reset,
            ("DELETE", "/cache/clear"): self._clear_local,
            ("GET", "/truth"): self._truth,
            ("DELETE", "/truth"): self._forget_truth,
            ("GET", "/faults"): lambda request, connection: connection.answer_json(request, self.api.faults.as_dict()),
            ("POST", "/faults"): self._set_faults,
            ("DELETE", "/faults"): self._no_faults,
        }
        for name in self.api.deployment.servers:
            routes[("GET", f"/metrics/{name}")] = self._metrics
        return routes

    def _models(self, request: HttpRequest, connection: Connection) -> None:
        limit = self.api.deployment.profile.max_model_len
        entry = {"id": self.api.model, "object": "model", "owned_by": "emulator", "max_model_len": limit}
        connection.answer_json(request, {"object": "list", "data": [entry]})

    def _version(self, request: HttpRequest, connection: Connection) -> None:
        d = self.api.deployment
        connection.answer_json(request, {"version": f"emulator ({d.profile.name}, {d.role}, time scale {d.time_scale:g})"})

    def _load(self, request: HttpRequest, connection: Connection) -> None:
        connection.answer_json(request, {"server_load": sum(one.outcome == "open" for one in self.api.log.passages)})

    def _tokenize(self, request: HttpRequest, connection: Connection) -> None:
        body = json_body(request, self.api.model)
        generation = body.get("add_generation_prompt", True)
        text = tokenizer.chat_text(body["messages"], generation) if "messages" in body else body.get("prompt")
        if not isinstance(text, str):
            raise Refused(400, "BadRequestError", "expected 'prompt' (text) or 'messages'")
        ids = tokenizer.encode(text)
        strings = tokenizer.tokens_of(text) if body.get("return_token_strs") else None
        limit = self.api.deployment.profile.max_model_len
        connection.answer_json(request, {"count": len(ids), "max_model_len": limit, "tokens": ids, "token_strs": strings})

    def _metrics(self, request: HttpRequest, connection: Connection) -> None:
        """/metrics of two servers in one process: prompts and caches as the prefiller has them, times as the client has them."""
        name = request.path.removeprefix("/metrics").lstrip("/")
        if not name and len(self.api.deployment.servers) > 2:
            pages = ", ".join(f"/metrics/{one}" for one in self.api.deployment.servers)
            raise Refused(404, "NotFoundError", f"several engines are here, each has a page of its own: {pages}")
        servers = [self.api.deployment.servers[name]] if name else list(self.api.deployment.servers.values())
        histograms = dict(self.api.recorders[servers[-1].name].histograms)
        if len(servers) > 1:
            histograms |= {key: self.api.recorders[servers[0].name].histograms[key] for key in OF_THE_PREFILLER}
            histograms |= {key: self.api.client_view.histograms[key] for key in OF_THE_JOB}
        page = Page(self.api.model, servers[0], servers[-1], histograms, self.api.deployment.started_s)
        connection.answer(request, 200, page.render(), METRICS_TYPE)

    def _dcgm(self, request: HttpRequest, connection: Connection) -> None:
        if self.api.gpu_watts is None:
            raise Refused(404, "NotFoundError", "no emulated GPUs: start the emulator with --gpu-watts")
        connection.answer(request, 200, gpu_pages.page(len(self.api.deployment.servers), self.api.gpu_watts), METRICS_TYPE)

    def _reset(self, request: HttpRequest, connection: Connection) -> None:
        external = request.query.get("reset_external", "").lower() in ("true", "1")
        connection.answer_json(request, {"success": self.api.deployment.reset_prefix_cache(external)})

    def _clear_local(self, request: HttpRequest, connection: Connection) -> None:
        """LMCache's: the local tier only, whatever lies in the store."""
        for server in self.api.deployment.servers.values():
            if server.connector.cpu is not None:
                server.connector.cpu.clear()
        if self.api.deployment.on_reset:
            self.api.deployment.on_reset()
        connection.answer_json(request, {"status": "success"})

    def _truth(self, request: HttpRequest, connection: Connection) -> None:
        query = request.query
        chosen = list(self.api.log.passages)
        if "id" in query:
            chosen = [one for one in chosen if one.request_id.endswith(query["id"])]
        if "last" in query and query["last"].isdigit():
            chosen = chosen[-int(query["last"]) :] if int(query["last"]) else []
        server = {
            **self.api.log.lateness(),
            "requests_kept": len(self.api.log.passages),
            "requests_dropped": self.api.log.dropped,
        }
        lines = [json.dumps(server), *(json.dumps(one.as_dict()) for one in chosen)]
        connection.answer(request, 200, ("\n".join(lines) + "\n").encode(), "application/x-ndjson")

    def _forget_truth(self, request: HttpRequest, connection: Connection) -> None:
        self.api.log.clear()
        connection.answer_json(request, {"success": True})

    def _set_faults(self, request: HttpRequest, connection: Connection) -> None:
        """{"faults": [{"name": ..., "value": ..., "share": ..., "seed": ..., "times": ...}]} replaces what is on."""
        try:
            wanted = json.loads(request.body)["faults"]
            rules = [make_rule(**({"name": one} if isinstance(one, str) else one)) for one in wanted]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(400, "BadRequestError", f'expected {{"faults": [{{"name": ...}}]}}: {error}') from error
        self.api.faults.replace(rules)
        connection.answer_json(request, self.api.faults.as_dict())
        for rule in rules:
            if rule.name == "refuse_connections":
                self.api.refuse_connections(rule.value or 0.0)

    def _no_faults(self, request: HttpRequest, connection: Connection) -> None:
        self.api.faults.replace([])
        connection.answer_json(request, self.api.faults.as_dict())
