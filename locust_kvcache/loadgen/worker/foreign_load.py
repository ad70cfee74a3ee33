"""Counts requests of other user classes in this process to the server under test during a round."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import gevent
from locust import User
from locust.env import Environment

from locust_kvcache.loadgen.typed_locust import listen

UNKNOWN = "unknown"  # a request that no user's own greenlet made


def _server(url: str | None) -> tuple[str | None, int | None]:
    """(host, port) as they are written, the scheme's port where none is."""
    parts = urlsplit(url or "")
    return parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _user() -> User | None:
    """The user in whose greenlet a request was made: Locust starts it with the user as its argument."""
    found = next(iter(getattr(gevent.getcurrent(), "args", None) or ()), None)
    return found if isinstance(found, User) else None


class ForeignLoad:
    def __init__(self, environment: Environment) -> None:
        self._counts: Counter[str] | None = None  # None: no round is under way
        self._server: tuple[str | None, int | None] = (None, None)
        listen(environment.events.request, self._on_request)

    def begin(self, endpoint: str) -> None:
        self._counts, self._server = Counter(), _server(endpoint)

    def end(self) -> dict[str, int]:
        """Requests by user class since `begin`."""
        counts, self._counts = self._counts or Counter(), None
        return dict(counts)

    def _on_request(self, context: Any = None, url: str | None = None, **_: Any) -> None:
        if self._counts is None or (isinstance(context, dict) and "record" in context):
            return
        user = _user()
        if _server(url or getattr(user, "host", None)) == self._server:
            self._counts[type(user).__name__ if user is not None else UNKNOWN] += 1
