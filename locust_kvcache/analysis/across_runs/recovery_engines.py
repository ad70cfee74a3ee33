"""Finds engines that answer after an event but take no requests, and engines that do not answer, by their metrics pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from locust_kvcache.analysis.reading.runs import RecordedRun

COUNTERS = ("vllm:request_success_total", "vllm:prompt_tokens_total", "sglang:num_requests_total", "sglang:prompt_tokens_total")
UNUSED, SILENT = "took no request", "did not answer"


@dataclass(frozen=True)
class EngineSilence:
    """`since_s`: seconds after the event from which its page answered (UNUSED) or did not (SILENT), to the end of what is looked at."""

    engine: str
    what: str
    since_s: float


def silent_engines(run: RecordedRun, at_s: float, stop_s: float) -> list[EngineSilence]:
    """Only engines that the deployment names, and only where another engine took requests meanwhile."""
    pages: dict[str, list[dict[str, Any]]] = {url: [] for url in run.info.deployment.engine_names}
    for scrape in sorted(run.server_metrics, key=lambda one: one.get("at_s") or 0.0):
        if scrape.get("url") in pages and at_s <= (scrape.get("at_s") or 0.0) < stop_s:
            pages[str(scrape["url"])].append(scrape)
    found, took = [], 0.0
    for url, scrapes in pages.items():
        name = run.info.deployment.engine_names[url]
        failed = [place for place, scrape in enumerate(scrapes) if not scrape.get("ok")]
        if failed and failed[-1] == len(scrapes) - 1:
            answered = [place for place, scrape in enumerate(scrapes) if scrape.get("ok")]
            first = scrapes[answered[-1] + 1 if answered else 0]
            found.append(EngineSilence(name, SILENT, float(first["at_s"]) - at_s))
            continue
        up = scrapes[failed[-1] + 1 :] if failed else scrapes
        counts = [value for scrape in up if (value := _count(scrape.get("samples") or {})) is not None]
        if len(counts) < 2:
            continue
        took += max(0.0, counts[-1] - counts[0])
        if counts[-1] == counts[0]:
            found.append(EngineSilence(name, UNUSED, float(up[0]["at_s"]) - at_s))
    return found if took > 0 else [one for one in found if one.what == SILENT]


def _count(samples: Mapping[str, float]) -> float | None:
    """All that these counters have counted; None where the page has none of them."""
    values = [value for name, value in samples.items() if name.partition("{")[0] in COUNTERS]
    return sum(values) if values else None
