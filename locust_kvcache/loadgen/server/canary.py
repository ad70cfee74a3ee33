"""Stores a prompt that no plan contains and asks for it again, to find out which tier answers.

A deployment comes in, plain facts for run.json go out: the canary's tokens by where they came from.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import gevent

from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.loadgen.server.metrics_pages import scrape
from locust_kvcache.loadgen.server.probe import Probe
from locust_kvcache.workload.plan import Message
from locust_kvcache.workload.text import sample_text

PIECES = 600  # some 800 tokens: more than one block of any tier
COUNTERS_TIMEOUT_S = 3.0
BY_SOURCE = "vllm:prompt_tokens_by_source_total{"
SOURCES = {"local_cache_hit": "gpu_tokens", "external_kv_transfer": "external_tokens", "local_compute": "computed_tokens"}
Tokens = dict[str, float]


def new_canary(pieces: int = PIECES) -> list[Message]:
    """A prompt that no plan contains and no cache can know."""
    text, _ = sample_text("document", pieces, secrets.token_hex(8))
    return [{"role": "system", "content": f"{secrets.token_hex(8)} canary"}, {"role": "user", "content": text}]


def tokens_by_source(samples: dict[str, float]) -> Tokens | None:
    """Prompt tokens by source of one server's page (vLLM's prompt_tokens_by_source); None where it has no such counter."""
    found: Tokens = {}
    for name, value in samples.items():
        if name.startswith(BY_SOURCE):
            for label, key in SOURCES.items():
                if f'source="{label}"' in name:
                    found[key] = found.get(key, 0.0) + value
    return found or None


class Canary:
    """One stored prompt of one deployment. `ask` may be called while no load is under way, else its counters are not its own."""

    def __init__(self, deployment: Deployment, probe: Probe, api: str) -> None:
        self._probe = probe
        self._api = api
        roles = [role for role, _ in deployment.metrics]
        role = next((name for name in ("prefiller", "server") if name in roles), None)
        # under PD the prefiller's count is the true one; of several engines nobody knows which gets the canary
        self._pages = [page for page in deployment.metrics if page[0] == role]
        self._access = deployment.access
        self._messages = new_canary()

    def store(self) -> dict[str, Any]:
        """A never-seen prompt: what is asked from now on."""
        self._messages = new_canary()
        return self.ask()

    def ask(self) -> dict[str, Any]:
        """Send it and say where its tokens came from; None for what nothing tells."""
        before = self._counted()
        begun_s = time.monotonic()
        outcome = self._probe.stream(self._messages, self._api)
        return {
            "status": outcome.status,
            "error": outcome.error,
            "prompt_tokens": outcome.reader.prompt_tokens,
            "cached_tokens": outcome.reader.cached_tokens,
            "ttft_ms": _ttft_ms(outcome),
            "seconds": round(time.monotonic() - begun_s, 3),
            **self._difference(before, outcome.reader.prompt_tokens),
        }

    def close(self) -> None:
        self._probe.close()

    def _counted(self) -> Tokens | None:
        """Of all engines. None where a page does not answer, or with no numbers; empty where none has such a counter, or not yet."""
        rows = scrape(self._pages, self._access)
        broken = any(name.startswith(BY_SOURCE) for row in rows for name in row.get("no_numbers") or ())
        if not rows or broken or not all(row["ok"] for row in rows):
            return None
        told = [tokens_by_source(row["samples"]) or {} for row in rows]
        return {key: sum(one.get(key, 0.0) for one in told) for key in dict.fromkeys(key for one in told for key in one)}

    def _difference(self, before: Tokens | None, prompt_tokens: int | None) -> dict[str, float | None]:
        """The counters' growth; they may follow the answer by some steps of the engine, so they are waited for."""
        keys = SOURCES.values()
        if before is None:
            return dict.fromkeys(keys)
        deadline_s = time.monotonic() + COUNTERS_TIMEOUT_S
        while True:
            after = self._counted()
            if after:
                grown = {key: after.get(key, 0.0) - before.get(key, 0.0) for key in keys}
                if sum(grown.values()) >= 0.9 * (prompt_tokens or 1):
                    return dict(grown)
            if time.monotonic() > deadline_s:
                return dict.fromkeys(keys)
            gevent.sleep(0.1)


def _ttft_ms(outcome: StreamOutcome) -> float | None:
    chunks = outcome.chunks
    return round((chunks[0].received_at_s - outcome.response.sent_at_s) * 1000, 3) if chunks else None
