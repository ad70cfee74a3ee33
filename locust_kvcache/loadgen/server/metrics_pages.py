"""Fetches and parses the servers' metrics pages, as rows of server_metrics.jsonl."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gevent.pool
import requests
from prometheus_client.parser import text_string_to_metric_families

from locust_kvcache.contract.deployment import Access
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.failure_words import first_words
from locust_kvcache.contract.several_servers import tells
from locust_kvcache.loadgen.server.pages import ask_by, ask_page

SCRAPE_TIMEOUT_S = 5.0


def parse_samples(text: str) -> dict[str, float]:
    """Sample name with its labels, escaped as on the page, -> value. Histogram buckets are left out: sums and counts stay."""
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_created")):
                continue
            labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _fetch_page(role: str, url: str, ask: Callable[[str, str, float], requests.Response]) -> dict[str, Any]:
    """One page as text, not parsed: a row without samples yet."""
    row: dict[str, Any] = {"at_s": time.time(), "role": role, "url": url, "ok": False, "error": None, "samples": {}}
    try:
        page = ask("GET", url, SCRAPE_TIMEOUT_S)
        page.raise_for_status()
        row |= {"ok": True, "text": page.text}
    except (requests.RequestException, BadInput) as error:
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    return row


def parsed(row: dict[str, Any]) -> dict[str, Any]:
    """A fetched row with its samples."""
    text = row.pop("text", None)
    try:
        found = parse_samples(text) if text is not None else {}
    except (ValueError, IndexError) as error:  # IndexError: labels that are cut off
        row |= {"ok": False, "error": f"not a metrics page: {first_words(str(error)) or 'a line cannot be read'}", "samples": {}}
        return row
    row["samples"] = {name: value for name, value in found.items() if math.isfinite(value)}
    if none := [name for name in found if name not in row["samples"]]:
        row["no_numbers"] = none  # NaN or infinite: nothing can be reckoned with them, and JSON has no such numbers
    return row


def fetch(targets: Sequence[tuple[str, str]], access: Access) -> list[dict[str, Any]]:
    """All pages at the same time, as text: parsing a page of 100 KB takes tens of ms, and may wait."""
    pool = gevent.pool.Pool(max(1, len(targets)))
    rows: list[dict[str, Any]] = pool.map(lambda target: _fetch_page(target[0], target[1], partial(ask_page, access)), targets)
    return rows


def scrape(targets: Sequence[tuple[str, str]], access: Access) -> list[dict[str, Any]]:
    """All pages at the same time; one that does not answer gives a row that says so."""
    return [parsed(row) for row in fetch(targets, access)]


def look_by(session: requests.Session, url: str) -> dict[str, Any]:
    """One page over a session of one's own (pages.open_session), with the samples by which several_servers goes."""
    row = _fetch_page("", url, partial(ask_by, session))
    if row["ok"]:
        row["text"] = "\n".join([*filter(tells, row["text"].splitlines()), ""])
    return parsed(row)


def block_size(rows: Sequence[dict[str, Any]]) -> int | None:
    """By the first engine's page that tells."""
    told = (label_value(row["samples"], "vllm:cache_config_info", "block_size") for row in rows)
    return next((int(value) for value in told if value and value.isdigit()), None)


def label_value(samples: dict[str, float], metric: str, label: str) -> str | None:
    """A label of the first sample of a metric, e.g. block_size of vllm:cache_config_info."""
    for name in samples:
        if name.startswith(metric + "{"):
            found = re.search(rf'[{{,]{label}="((?:[^"\\]|\\.)*)"', name)
            return found[1] if found and found[1] else None
    return None
