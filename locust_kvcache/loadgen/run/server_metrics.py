"""Writes server_metrics.jsonl of a run: the servers' metrics pages at each round's borders, and now and then while it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent

from locust_kvcache.contract.deployment import Access
from locust_kvcache.loadgen.server.metrics_pages import fetch, parsed, scrape
from locust_kvcache.loadgen.server.nvml import Nvml


class Sampler:
    """Fetches the pages now and then while a round runs, and parses them after it: a page of 100 KB takes tens of ms to parse."""

    def __init__(self, targets: Sequence[tuple[str, str]], access: Access, interval_s: float, gpus: Nvml | None = None) -> None:
        self._targets, self._access, self._interval_s, self._gpus = targets, access, interval_s, gpus
        self._rows: list[dict[str, Any]] = []
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        if (self._targets or self._gpus) and self._interval_s > 0:
            self._greenlet = gevent.spawn(self._sample)

    def _sample(self) -> None:
        while True:
            gevent.sleep(self._interval_s)
            self._rows += [*fetch(self._targets, self._access), *([self._gpus.row()] if self._gpus else [])]

    def stop(self) -> list[dict[str, Any]]:
        """The rows of this round, parsed."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        rows, self._rows = self._rows, []
        return [parsed(row) if "text" in row or not row["samples"] else row for row in rows]


class MetricsFile:
    """server_metrics.jsonl of a run: the pages at each round's borders, and now and then within it."""

    def __init__(
        self, path: Path, targets: Sequence[tuple[str, str]], access: Access, interval_s: float, gpus: Nvml | None = None
    ) -> None:
        self._path, self._targets, self._access, self._gpus = path, targets, access, gpus
        self._sampler = Sampler(targets, access, interval_s, gpus)
        self.error: OSError | None = None  # the first failed write: what was written before stays

    def border(self, scenario: str, number: int, when: str) -> None:
        """`when` is before or after; one row per address."""
        rows = [*scrape(self._targets, self._access), *([self._gpus.row()] if self._gpus else [])]
        if rows:
            self._write(rows, scenario, number, when)

    def start_sampling(self) -> None:
        self._sampler.start()

    def end_sampling(self, scenario: str, number: int) -> None:
        if rows := self._sampler.stop():
            self._write(rows, scenario, number, "during")

    def _write(self, rows: list[dict[str, Any]], scenario: str, number: int, when: str) -> None:
        if self.error is not None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                for row in rows:
                    file.write(json.dumps({**row, "scenario": scenario, "round": number, "when": when}) + "\n")
        except OSError as error:
            self.error = error
