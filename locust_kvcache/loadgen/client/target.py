"""Holds where requests go (address, TLS, proxy, path, headers), parsed once per deployment."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from locust_kvcache.contract.deployment import Transport
from locust_kvcache.contract.dialects import CountsOf, counts_of
from locust_kvcache.contract.gateway import SESSION, TENANT, USER, Headers, filled, resolved

NOBODY = dict.fromkeys((SESSION, USER, TENANT), "")  # a request that belongs to no session


def tls_context(transport: Transport) -> ssl.SSLContext:
    """Verification on unless the deployment says otherwise; OSError or ssl.SSLError if a file cannot be used."""
    context = ssl.create_default_context(cafile=transport.ca_file)
    if transport.client_cert:
        context.load_cert_chain(transport.client_cert, transport.client_key)
    if not transport.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Target:
    """Where requests go: parsed once, so that nothing is parsed per request."""

    host: str
    port: int
    base_path: str
    tls: ssl.SSLContext | None
    proxy: tuple[str, int] | None = None
    headers: Headers = ()
    query: str = ""
    api_path: str = "/v1"
    counts_of: CountsOf | None = None  # of the server's dialect

    @classmethod
    def from_url(cls, url: str, transport: Transport | None = None) -> Target:
        transport = transport or Transport()
        parts = urlsplit(url)
        tls = tls_context(transport) if parts.scheme == "https" else None
        via = urlsplit(transport.proxy) if transport.proxy else None
        proxy = (via.hostname or "", via.port or 80) if via else None
        port = parts.port or (443 if tls else 80)
        headers = resolved(transport.headers)
        base, counts = parts.path.rstrip("/"), counts_of(transport.dialect)
        return cls(parts.hostname or "", port, base, tls, proxy, headers, transport.query, transport.api_path, counts)

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def path(self, path: str) -> str:
        """The whole path of one of the API's, which are written with /v1 here; one that stands beside /v1 stays as it is."""
        query = f"?{self.query}" if self.query else ""
        own = f"{self.api_path}{path.removeprefix('/v1')}" if path.startswith("/v1/") else path
        return f"{self.base_path}{own}{query}"

    def own_headers(self, names: Mapping[str, str], more: Headers = ()) -> Headers:
        """The deployment's headers with `names` in place of {session}, {user}, {tenant}; those of `more` take the place of equal ones."""
        others = {name.lower() for name, _ in more}
        kept = ((name, filled(value, names)) for name, value in self.headers if name.lower() not in others)
        return (*kept, *more)

    def request_head(
        self, path: str, body_bytes: int, api_key: str | None, headers: Headers | None = None, of_api: Headers = ()
    ) -> bytes:
        """The head of a POST of JSON; gzip is refused, since compressed events cannot be stamped one by one. `headers`: own_headers() of
        the request; None: those of nobody. `of_api`: what the API wants, unless the deployment says it."""
        headers = self.own_headers(NOBODY) if headers is None else headers
        origin = f"http://{self.host_header}" if self.proxy and not self.tls else ""  # a plain proxy wants the whole address
        lines = [
            f"POST {origin}{self.path(path)} HTTP/1.1",
            f"Host: {self.host_header}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            "Accept-Encoding: identity",
            f"Content-Length: {body_bytes}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        own = {name.lower() for name, _ in headers}
        lines += [f"{name}: {value}" for name, value in of_api if name.lower() not in own]
        if "user-agent" not in own:
            lines.append("User-Agent: locust-kvcache")
        if api_key and "authorization" not in own:
            lines.append(f"Authorization: Bearer {api_key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
