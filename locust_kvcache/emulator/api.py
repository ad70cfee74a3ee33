"""Answers HTTP requests as vLLM's OpenAI-compatible server does."""

from __future__ import annotations

import asyncio
import secrets
import sys
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.emulator.admin import Admin, Refused, json_body
from locust_kvcache.emulator.answer import Answer
from locust_kvcache.emulator.blocks import block_hashes
from locust_kvcache.emulator.bodies import CHAT, PATHS, asked_tokens, error_body, prompt_ids
from locust_kvcache.emulator.deployment import Deployment, Job
from locust_kvcache.emulator.faults import Faults
from locust_kvcache.emulator.realtime import RealTime
from locust_kvcache.emulator.recorder import Recorder
from locust_kvcache.emulator.remote import RemoteStore
from locust_kvcache.emulator.truth import Passage, TruthLog
from locust_kvcache.emulator.wire import Connection, HttpRequest
from locust_kvcache.emulator.wording import Shape, request_id

KNOWN_STATUS = {429: "RateLimitError", 500: "InternalServerError", 503: "ServiceUnavailableError"}


@dataclass
class Api:
    deployment: Deployment
    clock: RealTime
    model: str
    api_key: str | None
    faults: Faults
    refuse_connections: Callable[[float], None]
    log: TruthLog = field(default_factory=TruthLog)
    gpu_watts: float | None = None  # of each server's one GPU, for the page of a dcgm-exporter

    def __post_init__(self) -> None:
        self.recorders: dict[str, Recorder] = {}
        for name, server in self.deployment.servers.items():
            self.recorders[name] = Recorder()
            server.observers.append(self.recorders[name])
        self.client_view = Recorder()
        self._tasks: set[asyncio.Task[None]] = set()
        self.routes = {
            **{("POST", path): self._complete for path in PATHS},
            **Admin(self).routes(),
        }

    # -- one request

    def handle(self, request: HttpRequest, connection: Connection) -> None:
        self.clock.sync()
        try:
            self._route(request, connection)
        except Refused as error:
            body = error_body(PATHS.get(request.path, CHAT), error.status, error.kind, str(error))
            connection.answer_json(request, body, error.status)
        except Exception as error:  # a bug here must not look like a server that hangs
            traceback.print_exc()
            connection.answer_json(request, error_body(CHAT, 500, "InternalServerError", repr(error)), 500)

    def _route(self, request: HttpRequest, connection: Connection) -> None:
        path = request.path
        if self.api_key and path.startswith(("/v1", "/inference")):  # vLLM's --api-key guards only these
            sent = request.headers.get("authorization", "")
            if not secrets.compare_digest(sent.encode(), f"Bearer {self.api_key}".encode()):
                connection.answer_json(request, {"error": "Unauthorized"}, 401)
                return
        method = "GET" if request.method == "HEAD" else request.method
        handler = self.routes.get((method, path))
        if handler is None:
            known = any(path == other for _, other in self.routes)
            raise Refused(405 if known else 404, "NotFoundError", "Method Not Allowed" if known else "Not Found")
        handler(request, connection)

    # -- completions

    def _complete(self, request: HttpRequest, connection: Connection) -> None:
        api = PATHS[request.path]
        try:
            faults = self.faults.strike(request.headers.get("x-fault"))
        except ValueError as error:
            raise Refused(400, "BadRequestError", str(error)) from error
        if status := int(faults.get("status") or 0):
            answer = error_body(api, status, KNOWN_STATUS.get(status, "Error"), f"asked for by the fault status={status}")
            connection.answer_json(request, answer, status, **({"retry-after": "1"} if status in (429, 503) else {}))
            return
        body = json_body(request, self.model)
        ids, wanted = prompt_ids(body, api), asked_tokens(body, api)
        limit = self.deployment.largest_request_tokens()
        if len(ids) + wanted > limit:
            raise Refused(400, "BadRequestError", f"maximum context length is {limit} tokens, got {len(ids)} + {wanted}")
        priority = body.get("priority") or 0
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise Refused(400, "BadRequestError", f"priority must be a whole number, got {priority!r}")
        if priority and not self.deployment.entry.spec.by_priority:
            raise Refused(400, "BadRequestError", f"Got priority {priority} but Priority scheduling is not enabled.")
        salt = body.get("cache_salt")
        if salt is not None and (not isinstance(salt, str) or not salt):
            raise Refused(400, "BadRequestError", "Parameter 'cache_salt' must be a non-empty string if provided.")
        shape = self._shape(body, api, request.headers.get("x-truth") == "1")
        job = Job(ids, wanted, lambda job, due_s: None, (salt or "").encode(), priority)
        passage = Passage(request_id(api, request.headers.get("x-request-id")), request.arrived_ns, job, faults, shape.stream)
        transfer = body.get("kv_transfer_params")
        if isinstance(transfer, dict):
            job.remote_tokens = int(transfer.get("remote_num_tokens") or 0)
            job.remote_cached_tokens = transfer.get("remote_prefill_cached_tokens")
        self._start(Answer(request, connection, shape, passage, job, self.log, self.clock, self.deployment.cancel))

    def _shape(self, body: dict[str, Any], api: str, truth: bool) -> Shape:
        options = body.get("stream_options") or {}
        interval = body.get("stream_interval")
        return Shape(
            model=self.model,
            api=api,
            stream=bool(body.get("stream")),
            include_usage=bool(options.get("include_usage")),
            continuous_usage=bool(options.get("continuous_usage_stats")),
            stream_interval=interval if isinstance(interval, int) and interval > 0 else 1,
            truth=truth,
            token_ids=bool(body.get("return_token_ids")),
        )

    def _start(self, answer: Answer) -> None:
        job, started_s = answer.job, self.clock.simulation.now_s
        histograms = self.client_view.histograms

        def token(job: Job, due_s: float) -> None:
            if job.emitted == 1:
                histograms["time_to_first_token_seconds"].observe(due_s - started_s)
            if job.emitted == job.output_tokens:
                histograms["e2e_request_latency_seconds"].observe(due_s - started_s)
            answer.token(job, due_s)

        job.on_token = token
        answer.connection.on_lost = lambda: self._lost(answer)
        self.log.add(answer.passage)
        answer.begin()
        if isinstance(self.deployment.store, RemoteStore):
            self._in_background(self._ask_store_and_submit(answer, self.deployment.store))
        elif not answer.over:
            self.deployment.submit(job)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_store_and_submit(self, answer: Answer, store: RemoteStore) -> None:
        job, size = answer.job, self.deployment.profile.block_size
        ratio = store.spec.chunk_tokens // size
        try:
            job.external_hint = await store.lookup_tokens(block_hashes(job.prompt_ids, size, job.salt)[ratio - 1 :: ratio])
        except (OSError, ValueError, TimeoutError) as error:
            print(f"emulator: the store at {store.url} does not answer ({error}); taken as empty", file=sys.stderr)
            job.external_hint = 0
        self.clock.sync()
        if not answer.over:
            self.deployment.submit(job)

    def _lost(self, answer: Answer) -> None:
        self.clock.sync()
        answer.lost()
