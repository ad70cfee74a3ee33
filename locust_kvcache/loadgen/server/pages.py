"""Reads a deployment's pages in the same way as the load: with its TLS, proxy, key and headers, in bounded time and size."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import gevent
import requests

from locust_kvcache.contract.deployment import Access, Transport
from locust_kvcache.contract.gateway import SESSION, TENANT, USER, filled, resolved, secrets_in

PAGE_BYTES = 16 * 1024 * 1024
PAGE_TIMEOUT_S = 10.0
MOST_REDIRECTS = 4


class PageRefused(requests.RequestException):
    """A page that takes too long, or is too large to be one."""


class Redirected(PageRefused):
    """A page that another server is said to have: our headers, and the key among them, are for this one only."""


@lru_cache(maxsize=16)
def _session(transport: Transport, api_key: str | None) -> requests.Session:
    return _new_session(transport, api_key)


def _new_session(transport: Transport, api_key: str | None) -> requests.Session:
    """No proxy, key or certificate of the environment, and no cookies: those that the load does not use would show another server."""
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = False
    session.verify = (transport.ca_file or True) if transport.verify else False
    if transport.client_cert:
        session.cert = (transport.client_cert, transport.client_key) if transport.client_key else transport.client_cert
    if transport.proxy:
        session.proxies = {"http": transport.proxy, "https": transport.proxy}
    if api_key:
        session.headers["Authorization"] = f"Bearer {api_key}"
    names = dict.fromkeys((SESSION, USER, TENANT), "pages")
    session.headers.update({name: filled(value, names) for name, value in resolved(transport.headers)})
    return session


def ask_page(access: Access, method: str, url: str, timeout_s: float = PAGE_TIMEOUT_S, **more: Any) -> requests.Response:
    """The whole answer within `timeout_s` and PAGE_BYTES; requests.RequestException says why there is none. Redirects are followed within
    the server only."""
    return ask_by(_session(access.transport, os.environ.get(access.api_key_env) or None), method, url, timeout_s, **more)


def open_session(access: Access) -> requests.Session:
    """For connections of their own, open until it is closed: a balancer may give each to another server."""
    return _new_session(access.transport, os.environ.get(access.api_key_env) or None)


def ask_by(session: requests.Session, method: str, url: str, timeout_s: float, **more: Any) -> requests.Response:
    limit = gevent.Timeout(timeout_s)  # of requests' own, each read has one of its own
    try:
        with limit:
            for _ in range(MOST_REDIRECTS):
                with session.request(method, url, timeout=timeout_s, stream=True, allow_redirects=False, **more) as answer:
                    if not answer.is_redirect:
                        answer._content = _read(answer, secrets_in(_texts(session.headers)))  # what .text and .json() read
                        return answer
                    url = _same_server(url, answer.headers["location"])
            raise Redirected(f"more than {MOST_REDIRECTS} redirects")
    except gevent.Timeout as caught:
        if caught is not limit:
            raise
        raise PageRefused(f"not complete within {timeout_s:g} s") from None


def read_json(answer: requests.Response) -> Any:
    """Its JSON value; ValueError where it is none, or nested too deeply to be one."""
    try:
        return answer.json()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _same_server(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(target)[:2] != urlsplit(url)[:2]:
        raise Redirected(f"it redirects to {target}")
    return target


def _texts(headers: Mapping[str, str | bytes]) -> list[tuple[str, str]]:
    return [(name, value if isinstance(value, str) else value.decode("latin-1")) for name, value in headers.items()]


def _read(answer: requests.Response, secrets: Sequence[str]) -> bytes:
    """The body. A server may quote the headers that it got: their secrets become ***, since parts of pages are written down."""
    parts, size = [], 0
    for part in answer.iter_content(65536):
        parts.append(part)
        size += len(part)
        if size > PAGE_BYTES:
            raise PageRefused(f"more than {PAGE_BYTES // 1024 // 1024} MB: no page of a server is so large")
    body = b"".join(parts)
    for secret in secrets:
        body = body.replace(secret.encode("latin-1"), b"***")
    return body
