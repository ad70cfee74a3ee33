"""Waits until a store below the GPUs has finished its puts, by the pages of its master or lmcache server.

A reset of the GPU's cache before that is refused, and a read finds a part. A store that takes puts faster than it can write them
may need longer than the limit: then the wait ends, and the run says so.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import gevent

from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.loadgen.server.metrics_pages import scrape

log = logging.getLogger("kvcache")
QUIET_S = 2.0  # a store whose keys do not change for so long has taken all puts
PROGRESS_S = 10.0
LOOK_EVERY_S = 0.2
STORED = ("master_key_count", "master_allocated_bytes", "lmcache_mp_l1_write", "lmcache_mp_l2_store")  # what grows with a put


@dataclass(frozen=True)
class Settled:
    """`waited_s`: None where a page could not be read, so that nothing tells whether the puts were done. `growing`: the limit ended it."""

    waited_s: float | None
    growing: bool = False


def settle(deployment: Deployment, limit_s: float) -> Settled:
    """Wait until the store's pages have not changed for QUIET_S, and no longer than `limit_s`; 0 s where no store has a page."""
    pages = [target for target in deployment.metrics if "mooncake" in target[0] or "lmcache" in target[0]]
    if not pages:
        return Settled(0.0)
    begun_s = changed_s = said_s = now_s = time.monotonic()
    last: list[list[tuple[str, float]]] | None = None
    while now_s - changed_s < QUIET_S and now_s - begun_s < limit_s:
        rows = scrape(pages, deployment.access)
        seen = [_state(row["samples"]) for row in rows] if all(row["ok"] for row in rows) else None
        now_s = time.monotonic()
        if seen != last:
            last, changed_s = seen, now_s
        if now_s - said_s >= PROGRESS_S:
            said_s = now_s
            log.info("waiting for the store to take its puts: %.0f s of at most %.0f s", now_s - begun_s, limit_s)
        gevent.sleep(LOOK_EVERY_S)
    if last is None:
        return Settled(None)
    return Settled(round(time.monotonic() - begun_s, 3), growing=now_s - changed_s < QUIET_S)


def _state(samples: dict[str, float]) -> list[tuple[str, float]]:
    return sorted((name, value) for name, value in samples.items() if name.startswith(STORED))
