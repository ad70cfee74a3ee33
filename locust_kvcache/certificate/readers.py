"""Holds the ways to read a stream that the certificate compares."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from locust import FastHttpUser
from locust.env import Environment

from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.stream import StreamOutcome, stream_request
from locust_kvcache.loadgen.client.target import Target


@dataclass(frozen=True)
class Read:
    """One stream as a reader saw it; monotonic seconds."""

    sent_at_s: float
    stamps_s: list[float]
    text: str
    ok: bool


Reader = Callable[[], Read]


def our_reader(url: str) -> Reader:
    """The product's client: kernel stamps, parsed after the end."""
    target = Target.from_url(url)
    request = target.request_head("/v1/chat/completions", 2, None) + b"{}"
    connection = Connection(target)

    def read() -> Read:
        outcome = StreamOutcome()
        stream_request(connection, request, 120.0, outcome)
        stamps = [chunk.received_at_s for chunk in outcome.chunks]
        return Read(outcome.response.sent_at_s, stamps, outcome.reply, outcome.status == "ok")

    return read


def locust_reader(url: str) -> Reader:
    """What Locust users write: FastHttpUser's session, readline, stamp, json.loads per event."""

    class Usual(FastHttpUser):
        host = url
        network_timeout = 120.0

    session: Any = Usual(Environment(host=url)).client

    def read() -> Read:
        stamps: list[float] = []
        texts: list[str] = []
        sent = time.monotonic()
        with session.post(
            "/v1/chat/completions", data=b"{}", stream=True, catch_response=True, headers={"Accept-Encoding": "identity"}
        ) as r:
            while line := r.stream.readline(b"\n"):
                if line.startswith(b"data: {"):
                    stamp = time.monotonic()
                    for choice in json.loads(line[6:])["choices"]:
                        if content := choice["delta"].get("content"):
                            stamps.append(stamp)
                            texts.append(content)
        return Read(sent, stamps, "".join(texts), bool(stamps))

    return read


READERS: dict[str, Callable[[str], Reader]] = {"this client": our_reader, "FastHttpUser readline": locust_reader}
