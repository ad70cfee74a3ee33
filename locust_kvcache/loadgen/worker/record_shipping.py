"""Sends this process's records to the master in batches; each is first appended to a spool file, in case the master dies."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust_kvcache.contract.record import Record
from locust_kvcache.loadgen.client.slices import slices
from locust_kvcache.loadgen.protocol.messages import Records

log = logging.getLogger("kvcache")
SHIP_RECORDS = 50  # well below 1 ms of the loop, also where the master is the same process; larger batches delay open streams


KEPT_DAYS = 7


def remove_old(folder: Path) -> None:
    """Spools that nobody has merged for KEPT_DAYS, and the folders of their runs."""
    with contextlib.suppress(OSError):
        for path in folder.glob("*/*.jsonl"):
            if path.stat().st_mtime < time.time() - KEPT_DAYS * 86_400:
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()


class Spool:
    """A worker's own copy of its records, for the case that the master dies; deleted when the master has closed the run."""

    def __init__(self, run_id: str) -> None:
        folder = Path(os.environ.get("KV_SPOOL_DIR") or Path(tempfile.gettempdir()) / "kvcache-spool")
        self.path = folder / run_id / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        self._failed = False
        remove_old(folder)

    def append(self, lines: list[str]) -> None:
        """Never in the way of the run: a spool that cannot be written is said once and given up."""
        if self._failed:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        except OSError as error:
            self._failed = True
            log.warning("no spool at %s: %s; records still go to the master. KV_SPOOL_DIR names another folder", self.path, error)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another worker's spool is still there, or it was quicker
            self.path.parent.rmdir()


class Shipper:
    def __init__(self, run_id: str, send: Callable[[Records], None], spool: Spool | None) -> None:
        self._run_id = run_id
        self._send = send
        self._spool = spool
        self._lines: list[str] = []
        self._keys: list[list[Any]] = []

    def add(self, record: Record) -> None:
        self._lines.append(record.to_json())
        self._keys.append([record.scenario, record.round, record.request_index, record.status])

    def ship(self) -> None:
        """Send all there is."""
        while self._lines:
            lines, keys = self._lines[:SHIP_RECORDS], self._keys[:SHIP_RECORDS]
            del self._lines[:SHIP_RECORDS], self._keys[:SHIP_RECORDS]
            if self._spool is not None:
                self._spool.append(lines)
            self._send(Records(self._run_id, lines, keys))
            slices().turn(later=True)
