"""Reads a router's list of workers: the engines of a deployment whose file lists none, or what differs from those that it lists.

vllm-router and sglang-router serve /workers, vllm-router /list_workers too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from locust_kvcache.contract.deployment import Access, Deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.fleet import ROLES, Engine
from locust_kvcache.loadgen.server.pages import PAGE_TIMEOUT_S, ask_page, read_json

PAGES = ("/workers", "/list_workers")
LOOK_TIMEOUT_S = 3.0  # where nobody said that a router is there
_RANK = re.compile(r"@\d+$")  # vllm-router appends the rank of a data-parallel engine to its server's address


@dataclass(frozen=True)
class Worker:
    """An engine as the router knows it."""

    url: str
    role: str
    healthy: bool = True

    @property
    def address(self) -> str:
        return urlsplit(self.url).netloc


def read_workers(value: Any) -> list[Worker]:
    """From /workers (`workers` with url, worker_type, is_healthy) or /list_workers (`urls`), by address; empty if it is neither."""
    if not isinstance(value, dict):
        return []
    entries = value.get("workers")
    if not isinstance(entries, list):
        entries = [{"url": url} for url in value.get("urls") or ()]
    found: dict[str, Worker] = {}
    for entry in entries:
        url = _RANK.sub("", str(entry.get("url") or "")) if isinstance(entry, dict) else ""
        if urlsplit(url).netloc:
            kind = str(entry.get("worker_type") or "regular")
            known = found.get(url)
            healthy = entry.get("is_healthy") is not False and (known is None or known.healthy)
            found[url] = Worker(url.rstrip("/"), ROLES.get(kind, "server" if kind == "regular" else kind), healthy)
    return sorted(found.values(), key=lambda worker: worker.url)


def listed_workers(access: Access, address: str, timeout_s: float = LOOK_TIMEOUT_S) -> list[Worker]:
    """The workers of a router, if one answers there."""
    return _ask(access, address, timeout_s)[0]


def _ask(access: Access, address: str, timeout_s: float) -> tuple[list[Worker], str]:
    """(workers, what the pages answered where there are none)."""
    said = []
    for page in PAGES:
        try:
            answer = ask_page(access, "GET", address + page, timeout_s)
            if answer.ok and (workers := read_workers(read_json(answer))):
                return workers, ""
            said.append(f"{page}: HTTP {answer.status_code}{' without workers' if answer.ok else ''}")
        except (requests.RequestException, ValueError) as error:
            said.append(f"{page}: {type(error).__name__}")
    return [], "; ".join(said)


def discovered(deployment: Deployment) -> tuple[Deployment, list[str]]:
    """The deployment with the router's engines where its file lists none, and warnings. BadInput where nothing is known of them."""
    if not deployment.discover:
        return deployment, [] if deployment.engines else _router_unnamed(deployment)
    workers, said = _ask(deployment.access, deployment.discover, PAGE_TIMEOUT_S)
    if not workers and not deployment.engines:
        raise BadInput(
            f"router.discover: {deployment.discover} names no workers ({said}); list `engines` in the deployment file, or leave "
            "`discover` out"
        )
    if not workers:
        return deployment, [f"router.discover: {deployment.discover} names no workers ({said}): `engines` could not be checked"]
    ill = [worker.url for worker in workers if not worker.healthy]
    warnings = [f"the router calls these workers unhealthy: {', '.join(ill)}"] if ill else []
    if deployment.engines:
        return deployment, warnings + _differences(deployment.engines, workers)
    pages = [worker for worker in workers if worker.url.startswith("http")]
    if len(pages) < len(workers):
        warnings.append(
            "workers that are asked by gRPC have no metrics page at their address: list `engines` in the deployment file"
        )
    engines = tuple(Engine(worker.address, worker.role, f"{worker.url}/metrics") for worker in pages)
    metrics = tuple(dict.fromkeys([*deployment.metrics, *((engine.role, engine.url) for engine in engines)]))
    return dataclasses.replace(deployment, engines=engines, metrics=metrics), warnings


def changed_workers(deployment: Deployment) -> list[str]:
    """What the router's list says at the end of a run against the engines whose pages were read: some may have joined or left."""
    if not deployment.discover or not deployment.engines:
        return []
    workers, _ = _ask(deployment.access, deployment.discover, LOOK_TIMEOUT_S)
    if not workers:
        return []
    ill = [worker.url for worker in workers if not worker.healthy]
    found = [f"at the end of the run {text}" for text in _differences(deployment.engines, workers)]
    return found + ([f"at the end of the run the router calls these workers unhealthy: {', '.join(ill)}"] if ill else [])


def _router_unnamed(deployment: Deployment) -> list[str]:
    """Its workers are not asked for their pages: their addresses are the router's word, and our key would go there."""
    workers = listed_workers(deployment.access, deployment.endpoint)
    if len(workers) < 2:
        return []
    return [
        f"{deployment.endpoint} is a router of {len(workers)} engines, but no engine's page is listed, so the hits of each engine are "
        "unknown. In a deployment file, use `router: {discover: true}` to get its engines, or list them in `engines`"
    ]


def _differences(engines: Sequence[Engine], workers: Sequence[Worker]) -> list[str]:
    """By host and port; localhost is 127.0.0.1."""
    listed, known = (
        {_host(address) for address in side} for side in ([urlsplit(e.url).netloc for e in engines], [w.address for w in workers])
    )
    parts = [
        f"{words} {', '.join(sorted(some))}"
        for words, some in (
            ("not in `engines` of the file:", known - listed),
            ("not among the router's workers:", listed - known),
        )
        if some
    ]
    if not parts:
        return []
    return [
        f"the router's workers and the deployment file differ; {'; '.join(parts)}. Engines that are not listed are not counted"
    ]


def _host(address: str) -> str:
    return address.replace("localhost", "127.0.0.1")
