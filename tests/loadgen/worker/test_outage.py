"""A server that cannot be reached: requests wait for it, for as long as the limit says."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import gevent
import pytest

from locust_kvcache.contract.deployment import Transport
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.loadgen.protocol.messages import AWAY, BACK, TOO_LONG
from locust_kvcache.loadgen.worker import outage
from locust_kvcache.loadgen.worker.outage import Outage, why_unreachable
from tests.ports import free_port

Told = list[tuple[float, str, str]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PROBE_INTERVAL_S", 0.01)
    monkeypatch.setattr(outage, "TELL_AGAIN_S", 0.01)


@pytest.fixture
def port() -> Iterator[int]:
    return free_port()  # nobody listens there


def target(port: int) -> Target:
    return Target.from_url(f"http://127.0.0.1:{port}", Transport())


def begun(port: int, limit_s: float) -> tuple[Outage, Told]:
    told: Told = []
    found = Outage()
    found.begin(target(port), limit_s, "refused", lambda *what: told.append(what))
    return found, told


def test_requests_wait_until_the_server_is_back(port: int) -> None:
    found, told = begun(port, 30.0)
    waiting = gevent.spawn(found.wait)
    gevent.sleep(0.1)
    assert not waiting.dead
    with socket.create_server(("127.0.0.1", port)):
        waiting.get(timeout=20)
        gevent.sleep(0)
    *before, (seconds, state, error) = told
    assert state == BACK
    assert before
    assert all(earlier == AWAY and why.startswith("ConnectionRefusedError") for _, earlier, why in before)
    lasted = [lasted_s for lasted_s, _, _ in told]
    assert lasted == sorted(lasted)
    assert seconds >= 0.05  # half of what was slept: the loop counts a sleep from when it last looked at the clock
    assert error.startswith("ConnectionRefusedError")


def test_the_limit_is_told_until_the_run_ends_and_nobody_goes_on(port: int) -> None:
    found, told = begun(port, 0.05)
    waiting = gevent.spawn(found.wait)
    found.begin(target(port), 0.05, "refused", lambda *what: told.append(what))  # the second user's failure is the same outage
    with gevent.Timeout(20):
        while len([told for _, state, _ in told if state == TOO_LONG]) < 3:
            gevent.sleep(0.01)
    assert {state for _, state, _ in told} <= {AWAY, TOO_LONG}
    assert not waiting.dead
    found.end()  # as the run ends
    waiting.get(timeout=5)
    before = len(told)
    gevent.sleep(0.1)  # another word would come now
    assert len(told) == before


def test_a_stopped_test_ends_it_silently(port: int) -> None:
    found, told = begun(port, 0.2)
    found.end()
    found.wait()
    gevent.sleep(0.5)
    assert told == []  # neither that it is away nor that it is back


def test_without_a_limit_nothing_waits(port: int) -> None:
    found, told = begun(port, 0.0)
    found.wait()
    assert told == []


def test_why_a_server_cannot_be_reached(port: int) -> None:
    assert "refused" in (why_unreachable(target(port)) or "")
    with socket.create_server(("127.0.0.1", port)):
        assert why_unreachable(target(port)) is None
