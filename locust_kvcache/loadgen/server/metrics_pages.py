"""Metrics addresses come in, rows of server_metrics.jsonl go out: scrapes at each round's borders, and samples while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent.pool
import requests
from prometheus_client.parser import text_string_to_metric_families

SCRAPE_TIMEOUT_S = 5.0


def parse_samples(text: str) -> dict[str, float]:
    """Sample name with its labels, as the page writes it, -> value. Histogram buckets are left out: sums and counts stay."""
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_created")):
                continue
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def _fetch(role: str, url: str) -> dict[str, Any]:
    """One page as text, not parsed: a row without samples yet."""
    row: dict[str, Any] = {"at_s": time.time(), "role": role, "url": url, "ok": False, "error": None, "samples": {}}
    try:
        page = requests.get(url, timeout=SCRAPE_TIMEOUT_S)
        page.raise_for_status()
        row |= {"ok": True, "text": page.text}
    except requests.RequestException as error:
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    return row


def _parsed(row: dict[str, Any]) -> dict[str, Any]:
    text = row.pop("text", None)
    try:
        row["samples"] = parse_samples(text) if text is not None else {}
    except ValueError as error:
        row |= {"ok": False, "error": f"not a metrics page: {error}"[:300]}
    return row


def _fetch_all(targets: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    pool = gevent.pool.Pool(max(1, len(targets)))
    return pool.map(lambda target: _fetch(*target), targets)


def scrape(targets: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """All pages at the same time; one that does not answer gives a row that says so."""
    return [_parsed(row) for row in _fetch_all(targets)]


class Sampler:
    """Fetches the pages now and then while a round runs, and parses them after it: a page of 100 KB takes tens of ms to parse."""

    def __init__(self, targets: Sequence[tuple[str, str]], interval_s: float) -> None:
        self._targets, self._interval_s = targets, interval_s
        self._rows: list[dict[str, Any]] = []
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        if self._targets and self._interval_s > 0:
            self._greenlet = gevent.spawn(self._sample)

    def _sample(self) -> None:
        while True:
            gevent.sleep(self._interval_s)
            self._rows += _fetch_all(self._targets)

    def stop(self) -> list[dict[str, Any]]:
        """The rows of this round, parsed."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        rows, self._rows = self._rows, []
        return [_parsed(row) for row in rows]


class MetricsFile:
    """server_metrics.jsonl of a run: the pages at each round's borders, and now and then within it."""

    def __init__(self, path: Path, targets: Sequence[tuple[str, str]], interval_s: float) -> None:
        self._path, self._targets = path, targets
        self._sampler = Sampler(targets, interval_s)

    def border(self, scenario: str, number: int, when: str) -> None:
        """`when` is before or after; one row per address."""
        if self._targets:
            self._write(scrape(self._targets), scenario, number, when)

    def start_sampling(self) -> None:
        self._sampler.start()

    def end_sampling(self, scenario: str, number: int) -> None:
        if rows := self._sampler.stop():
            self._write(rows, scenario, number, "during")

    def _write(self, rows: list[dict[str, Any]], scenario: str, number: int, when: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({**row, "scenario": scenario, "round": number, "when": when}) + "\n")


def label_value(samples: dict[str, float], metric: str, label: str) -> str | None:
    """A label of the first sample of a metric, e.g. block_size of vllm:cache_config_info."""
    for name in samples:
        if name.startswith(metric + "{"):
            _, _, rest = name.partition(f'{label}="')
            return rest.split('"')[0] if rest else None
    return None
