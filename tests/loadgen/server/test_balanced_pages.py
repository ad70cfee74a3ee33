"""A balancer's address: its page shows now one engine and now another, and a reset there reaches one of them."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import dataclasses
import itertools
from typing import ClassVar

import pytest

from locust_kvcache.contract.cache_tiers import CacheAction
from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.contract.fleet import Engine
from locust_kvcache.contract.outage_words import BALANCED
from locust_kvcache.contract.several_servers import COUNTS, STARTED, STARTS
from locust_kvcache.loadgen.server.balanced_pages import LOOKS, find_balanced
from locust_kvcache.loadgen.server.discovery import discovered
from locust_kvcache.loadgen.server.findings import no_hit
from tests.scripted_server import Scripted, served

COOKIE = "engine"


class Balancer(Scripted):
    """Each connection to the next of `engines`: (start time or none, prompt tokens). A cookie would keep a client at one engine."""

    engines: ClassVar[tuple[tuple[float | None, float], ...]] = ((1000.0, 500.0), (1007.5, 400.0), (1009.0, 900.0))
    workers: ClassVar[list[str]] = []
    turns: ClassVar[itertools.cycle[int]]
    looked: ClassVar[list[str]]

    def setup(self) -> None:
        super().setup()
        self.mine = self.engines[next(self.turns)]

    def do_GET(self) -> None:
        if self.path == "/list_workers" and self.workers:
            self.send_json({"urls": self.workers})
        elif self.path == "/metrics":
            self.looked.append(self.headers.get("Cookie") or "")
            started, tokens = self.mine
            lines = [f'vllm:prompt_tokens_total{{engine="0"}} {tokens}', *([f"{STARTED} {started}"] if started else [])]
            self.send_json("\n".join([*lines, ""]).encode(), Content_Type="text/plain", Set_Cookie=f"{COOKIE}=1")
        else:
            super().do_GET()


def balancer(*engines: tuple[float | None, float], workers: tuple[str, ...] = ()) -> type[Balancer]:
    more = {"engines": engines, "workers": list(workers), "turns": itertools.cycle(range(len(engines))), "looked": []}
    return type("Front", (Balancer,), more)


def at(address: str, **more: object) -> Deployment:
    page = ("server", f"{address}/metrics")
    return dataclasses.replace(Deployment("d", "other", address, metrics=(page,)), **more)  # type: ignore[arg-type]


class LeastConnections(Balancer):
    """Each new connection to the engine with the fewest open ones: looks that close theirs would all see the first."""

    open_at: ClassVar[list[int]]

    def setup(self) -> None:
        super().setup()
        self.place = min(range(len(self.engines)), key=self.open_at.__getitem__)
        self.open_at[self.place] += 1
        self.mine = self.engines[self.place]

    def finish(self) -> None:
        super().finish()
        self.open_at[self.place] -= 1


def test_a_balancer_by_open_connections_shows_itself() -> None:
    engines = ((1000.0, 5.0), (2000.0, 7.0))
    more = {"engines": engines, "turns": itertools.cycle((0,)), "looked": [], "open_at": [0, 0]}
    with served(type("Front", (LeastConnections,), more)) as (front, _):
        assert set(find_balanced(at(front.endpoint)).pages.values()) == {STARTS}


@pytest.mark.parametrize(
    ("engines", "how"),
    [
        (((1000.0, 500.0), (1007.5, 400.0), (1009.0, 900.0)), STARTS),
        (((None, 500.0), (None, 400.0)), COUNTS),  # several API servers share one page, without a start time
        (((1000.0, 500.0),), ""),
        (((None, 500.0),), ""),
        (((None, 0.0), (None, 0.0)), ""),  # nothing was counted yet: the run's own pages tell later
    ],
)
def test_a_page_of_several_engines_is_left_out(engines: tuple[tuple[float | None, float], ...], how: str) -> None:
    front = balancer(*engines)
    with served(front) as (told, _):
        deployment = at(told.endpoint)
        found = find_balanced(deployment)
        assert dict(found.pages) == ({f"{told.endpoint}/metrics": how} if how else {})
        assert found.left_out_of(deployment).metrics == (() if how else deployment.metrics)
        assert front.looked == [""] * LOOKS
        if how:
            (warning,) = found.warnings()
            assert f"several servers answer at {told.endpoint}/metrics: {how}" in warning
            assert "under `engines` in the deployment file" in warning
            assert warning.startswith(BALANCED)  # by which the analysis finds it


def test_an_engine_that_is_named_by_the_balancers_page_is_left_out_and_others_stay() -> None:
    with served(balancer((1000.0, 5.0), (2000.0, 7.0))) as (two, _), served(balancer((3000.0, 9.0))) as (one, _):
        engines = tuple(Engine(name, "server", f"{of.endpoint}/metrics") for name, of in (("both", two), ("single", one)))
        pages = tuple((engine.role, engine.url) for engine in engines)
        deployment = at(two.endpoint, engines=engines, metrics=pages)
        left = find_balanced(deployment).left_out_of(deployment)
        assert [engine.name for engine in left.engines] == ["single"]
        assert left.metrics == pages[1:]


def test_a_reset_through_the_balancer_is_named() -> None:
    with served(balancer((1000.0, 5.0), (2000.0, 7.0))) as (front, _), served(balancer((3000.0, 9.0))) as (one, _):
        resets = (
            CacheAction("gpu", "vllm_reset", front.endpoint),
            CacheAction("gpu", "vllm_reset", one.endpoint),
            CacheAction("cpu", "command", "true"),
        )
        deployment = at(one.endpoint, caches=resets)
        found = find_balanced(deployment)
        assert dict(found.resets) == {front.endpoint: STARTS}
        assert not found.pages
        (warning,) = found.warnings()
        assert "a reset there reaches one of them. Give an entry under `caches` for each engine" in warning


WORKERS = ("http://10.0.0.1:8000", "http://10.0.0.2:8000")


@pytest.mark.parametrize(("workers", "balanced"), [(WORKERS, True), (WORKERS[:1], False), ((), False)])
def test_a_router_that_passes_one_workers_page_on(workers: tuple[str, ...], balanced: bool) -> None:
    """vllm-router 0.1.17 by its policy, which may be the same worker each time."""
    with served(balancer((1000.0, 5.0), workers=workers)) as (front, _):
        deployment = at(front.endpoint)
        found = find_balanced(deployment)
        how = "it is a router of 2 engines, and passes one engine's answer on"
        assert dict(found.pages) == ({f"{front.endpoint}/metrics": how} if balanced else {})
        left, warnings = discovered(deployment)
        assert left is deployment
        assert bool(warnings) is balanced
        if balanced:
            assert "is a router of 2 engines, but no engine's page is listed" in warnings[0]
            assert "`router: {discover: true}`" in warnings[0]


def test_a_second_prompt_that_missed_is_the_balancers_and_not_a_cache_that_is_off() -> None:
    assert "a load balancer sent the second request to another engine" in no_hit([], balanced=True)
    assert "prefix caching seems to be off" in no_hit([])
