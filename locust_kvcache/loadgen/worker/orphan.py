"""Ends a worker of --processes whose master has died: without it the worker would wait for heartbeats for a minute (Locust's limit)."""

from __future__ import annotations

import logging
import os
from typing import Any

import gevent

from locust_kvcache.loadgen.options.processes import FORKING

log = logging.getLogger("kvcache")
LOOK_INTERVAL_S = 1.0


def end_with_parent(runner: Any) -> None:
    """Workers that were started by hand, perhaps on another host, are left to Locust."""
    if FORKING.parent:
        gevent.spawn(_watch, runner)


def _watch(runner: Any) -> None:
    while os.getppid() == FORKING.parent:
        gevent.sleep(LOOK_INTERVAL_S)
    log.error("the process that started this worker is gone: the worker ends; its records are in its spool (docs/distributed.md)")
    runner.quit()
