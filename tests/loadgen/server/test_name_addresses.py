"""A name that stands for several addresses, as a headless Service does."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import dataclasses
from typing import Any

import pytest
from gevent import socket

from locust_kvcache.contract.deployment import Transport, host_deployment
from locust_kvcache.loadgen.server import name_addresses

V4, V6 = socket.AF_INET, socket.AF_INET6


def answers(*found: tuple[int, str]) -> Any:
    return lambda host, port, type: [(family, type, 6, "", (at, 0)) for family, at in found]


@pytest.mark.parametrize(
    ("host", "found", "said"),
    [
        (
            "http://engines.ns:8000",
            [(V4, "10.0.0.1"), (V4, "10.0.0.2"), (V4, "10.0.0.1")],
            "ns has 2 addresses (10.0.0.1, 10.0.0.2)",
        ),
        (
            "http://many:8000",
            [(V4, f"10.0.0.{n}") for n in range(6)],
            "6 addresses (10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, ...)",
        ),
        ("http://both:8000", [(V4, "10.0.0.1"), (V6, "fd00::1")], ""),  # one host by two families
        ("http://10.0.0.1:8000", [(V4, "10.0.0.1"), (V4, "10.0.0.2")], ""),
        ("http://none:8000", [], ""),
    ],
)
def test_what_is_said_of_a_name(host: str, found: list[tuple[int, str]], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_addresses.socket, "getaddrinfo", answers(*found))
    deployment = host_deployment(host)
    texts = name_addresses.several_addresses(deployment)
    assert [said in text for text in texts] == ([True] if said else [])
    behind = dataclasses.replace(deployment, transport=Transport(proxy="http://p:1"))
    assert name_addresses.several_addresses(behind) == []


def test_a_name_that_nothing_resolves_is_left_to_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(name_addresses.socket, "getaddrinfo", fails)
    assert name_addresses.several_addresses(host_deployment("http://nowhere:1")) == []
