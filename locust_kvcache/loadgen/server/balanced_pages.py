"""Looks at each metrics page several times, on a connection of its own each time, before its counters are taken for one server's.

A balancer's address shows another engine each time, and a router may pass the page of one of its workers through.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import gevent.pool

from locust_kvcache.contract.deployment import Access, Deployment
from locust_kvcache.contract.several_servers import several_servers, shows_engine
from locust_kvcache.loadgen.server.discovery import listed_workers
from locust_kvcache.loadgen.server.metrics_pages import look_by
from locust_kvcache.loadgen.server.pages import open_session

LOOKS = 8  # of two engines chosen at random, all looks show the same one in 1 of 128 cases
MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Balanced:
    """By address, how it shows that several servers answer there: metrics pages, and where a cache is emptied."""

    pages: Mapping[str, str] = field(default_factory=dict)
    resets: Mapping[str, str] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        pages = [
            f"several servers answer at {url}: {how}. Its page is left out, because its counters may belong to any of them. Name each "
            "engine's own page "
            "under `engines` in the deployment file, or let its router name them by `router: {discover: true}` (docs/routers.md)"
            for url, how in self.pages.items()
        ]
        resets = [
            f"several servers answer at {target}: {how}; a reset there reaches one of them. Give an entry under `caches` for each engine"
            for target, how in self.resets.items()
        ]
        return pages + resets

    def left_out_of(self, deployment: Deployment) -> Deployment:
        """The deployment without these pages."""
        engines = tuple(engine for engine in deployment.engines if engine.url not in self.pages)
        metrics = tuple(page for page in deployment.metrics if page[1] not in self.pages)
        return dataclasses.replace(deployment, engines=engines, metrics=metrics)


def find_balanced(deployment: Deployment) -> Balanced:
    """A look at every metrics page, and at those beside the addresses at which a cache is emptied by HTTP."""
    pages = [url for _, url in deployment.metrics]
    targets = {action.target: f"{action.target}/metrics" for action in deployment.caches if _origin(action.target)}
    rows = _looks(dict.fromkeys([*pages, *targets.values()]), deployment.access)
    found = several_servers(row for mine in rows.values() for row in mine)
    found |= {url: how for url, how in _passed_through(deployment, rows).items() if url not in found}
    resets = {target: found[page] for target, page in targets.items() if page in found}
    return Balanced({url: found[url] for url in pages if url in found}, resets)


def _looks(urls: Iterable[str], access: Access) -> dict[str, list[dict[str, Any]]]:
    """The looks at one address follow one another: of two at once nobody knows which counted first. Their connections stay open
    meanwhile: a balancer that goes by open connections would give each new one to the same server."""

    def look(url: str) -> list[dict[str, Any]]:
        mine: list[dict[str, Any]] = []
        with ExitStack() as stack:
            while len(mine) < LOOKS and (not mine or (mine[-1]["ok"] and shows_engine(mine[-1]["samples"]))):
                mine.append(look_by(stack.enter_context(open_session(access)), url))
        return mine

    listed = list(urls)
    return dict(zip(listed, gevent.pool.Pool(MOST_AT_ONCE).map(look, listed), strict=True))


def _passed_through(deployment: Deployment, rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Engines' pages at the address of a router that has several workers: one of them answered, by the router's policy."""
    here = [
        url
        for url, mine in rows.items()
        if _origin(url) == _origin(deployment.endpoint) and any(shows_engine(row["samples"]) for row in mine)
    ]
    if not here or len(workers := listed_workers(deployment.access, deployment.endpoint)) < 2:
        return {}
    return dict.fromkeys(here, f"it is a router of {len(workers)} engines, and passes one engine's answer on")


def _origin(address: str) -> str:
    """Scheme and host of a URL; empty where it is none (a command, a master's RPC address)."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else ""
