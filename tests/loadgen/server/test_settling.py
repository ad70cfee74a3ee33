"""The wait for a store's puts: its end, its limit, and what a run says of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.loadgen.server import arms, settling
from tests.ports import free_port

STORE = "http://127.0.0.1:1/metrics"


def with_page(role: str, url: str = STORE) -> Deployment:
    return Deployment("d", "non_disagg", "http://127.0.0.1:1", metrics=((role, url),))


def pages(monkeypatch: pytest.MonkeyPatch, values: Iterator[float], name: str) -> list[float]:
    asked: list[float] = []

    def page(*_: object) -> list[dict[str, Any]]:
        asked.append(next(values))
        return [{"ok": True, "samples": {name: asked[-1]}}]

    monkeypatch.setattr(settling, "scrape", page)
    return asked


def test_a_master_that_cannot_be_read_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "QUIET_S", 0.3)
    assert settling.settle(with_page("mooncake_master", f"http://127.0.0.1:{free_port()}/metrics"), 60) == settling.Settled(None)
    assert "could not be read" in arms.warnings_of({"cache_actions": [], "settled_s": None})[0]
    assert settling.settle(Deployment("d", "non_disagg", "http://127.0.0.1:1"), 60) == settling.Settled(0.0)


def test_an_lmcache_server_that_still_writes_to_its_disk_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pages whose counter of stored objects still grows, then the same page: settled only after the last growth."""
    monkeypatch.setattr(settling, "QUIET_S", 0.5)
    asked = pages(monkeypatch, itertools.chain((1.0, 2.0), itertools.repeat(3.0)), "lmcache_mp_l2_store_completed_chunks_total")
    settled = settling.settle(with_page("lmcache"), 60)
    assert (settled.waited_s or 0.0) >= 0.5
    assert not settled.growing
    assert asked[:3] == [1.0, 2.0, 3.0]
    assert len(asked) > 3


def test_a_store_that_grows_until_the_limit_is_said_to_grow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settling, "PROGRESS_S", 0.3)
    pages(monkeypatch, itertools.count(1.0), "master_allocated_bytes")
    with caplog.at_level("INFO"):
        settled = settling.settle(with_page("mooncake_master"), 0.8)
    assert settled.growing
    assert (settled.waited_s or 0.0) >= 0.8
    assert "waiting for the store to take its puts" in caplog.text
    (text,) = arms.warnings_of({"cache_actions": [], "settled_s": settled.waited_s, "still_storing": True})
    assert "still taking puts after 1 s" in text
    assert "--settle-timeout" in text
