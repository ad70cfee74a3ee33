"""Sends the preflight's small requests, token counts and page reads, over the same proxy and certificates as the load.

Nothing that is asked here contains a text that is measured later.
"""

from __future__ import annotations

import os
from typing import Any

import gevent
import requests

from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.usage import whole_count
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.framing import STREAMED
from locust_kvcache.loadgen.client.request_bodies import (
    HEADERS,
    PATHS,
    body_tail,
    completion_body,
    encode_ids,
    encode_message,
    ids_body,
    messages_body,
)
from locust_kvcache.loadgen.client.sse import EventReader
from locust_kvcache.loadgen.client.stream import StreamOutcome, StreamStopped, stream_request
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.loadgen.server.accepted_parameters import PARAMETERS
from locust_kvcache.loadgen.server.pages import ask_page, read_json
from locust_kvcache.workload.apis import CONVERSING, GENERATE
from locust_kvcache.workload.plan import Message
from locust_kvcache.workload.traces.block_text import text_ids

LOOK_S = 0.01


class Probe:
    """Asks one server; `model` and `parameters` are set as the preflight learns them."""

    def __init__(self, deployment: Deployment, timeout_s: float) -> None:
        self.endpoint = deployment.endpoint
        self.api_key = os.environ.get(deployment.api_key_env) or None
        self.model = ""
        self.extra_body = deployment.extra_body
        self.parameters: dict[str, Any] = {**PARAMETERS, **self.extra_body}
        self.impossible_count: str | None = None  # that /tokenize has answered
        self.fold_system = deployment.fold_system
        self.least_tokens = 1  # of an answer, for a server that takes no fewer or whose first ones are hidden
        self._timeout_s = timeout_s
        try:
            self.target = Target.from_url(deployment.endpoint, deployment.transport)
        except OSError as error:  # ssl.SSLError is one
            raise BadInput(
                f"tls of deployment {deployment.name!r}: {error}; check its ca_file, client_cert and client_key"
            ) from error
        self._connection = Connection(self.target)
        self._access = deployment.access

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> requests.Response:
        """A page of the server's; one of the API's is written with /v1 here."""
        host = self.endpoint.removesuffix(self.target.base_path)
        url = host + self.target.path(path) if path.startswith("/v1/") else self.endpoint + path
        return ask_page(self._access, "GET", url)

    def get_json(self, path: str) -> dict[str, Any]:
        """A page that need not be there: empty if it is not, or is not a JSON object."""
        try:
            answer = self.get(path)
            found = read_json(answer) if answer.ok else {}
        except (requests.RequestException, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def stream(self, messages: list[Message], api: str, max_tokens: int = 2) -> StreamOutcome:
        """One small request, as the measured ones will be."""
        max_tokens = max(max_tokens, self.least_tokens)
        parameters = {key: max_tokens if key.startswith("max_") else value for key, value in self.parameters.items()}
        body = self._body(messages, api, body_tail(parameters, api))
        head = self.target.request_head(PATHS[api], len(body), self.api_key, of_api=HEADERS.get(api, ()))
        return self.send(head + body, max_tokens)

    def _body(self, messages: list[Message], api: str, tail: bytes) -> bytes:
        if api in CONVERSING:
            encoded = [encode_message(m["role"], m["content"]) for m in self._as_sent(messages)]
            return messages_body(self.model, encoded, tail, api)
        text = "\n\n".join(m["content"] for m in messages)
        if api == GENERATE:
            return ids_body(self.model, [encode_ids(text_ids(text))], tail, api)
        return completion_body(self.model, text, tail)

    def _as_sent(self, messages: list[Message]) -> list[Message]:
        if not self.fold_system or messages[0]["role"] != "system":
            return messages
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        return [first, *messages[2:]]

    def send(self, request: bytes, asked_tokens: int | None) -> StreamOutcome:
        """A whole HTTP request that asks for so many tokens."""
        outcome = StreamOutcome(asked_tokens, reader=EventReader(counts_of=self.target.counts_of))
        stream_request(self._connection, request, self._timeout_s, outcome)
        return outcome

    def begin(self, request: bytes, asked_tokens: int | None) -> StreamOutcome:
        """The same, stopped when the server has said whether it takes the request: a refusal may come as an error in the stream."""
        outcome = StreamOutcome(asked_tokens, reader=EventReader(counts_of=self.target.counts_of))
        sending = gevent.spawn(stream_request, self._connection, request, self._timeout_s, outcome)
        while outcome.response.http_status in (None, *STREAMED) and not outcome.begun and not sending.dead:
            gevent.sleep(LOOK_S)
        if outcome.response.http_status in STREAMED:
            sending.kill(StreamStopped)
        sending.join()
        return outcome

    def tokenize(self, **question: Any) -> int | None:
        """Tokens of `prompt` or `messages` by the server's /tokenize; None where there is none that counts them."""
        if "messages" in question:
            question["messages"] = self._as_sent(question["messages"])
        try:
            answer = ask_page(self._access, "POST", self.endpoint + "/tokenize", json={"model": self.model, **question})
            count = read_json(answer).get("count") if answer.ok else None
        except (requests.RequestException, ValueError, AttributeError):
            return None
        if count is not None and not whole_count(count):
            self.impossible_count = repr(count)[:40]
        return whole_count(count) or None
