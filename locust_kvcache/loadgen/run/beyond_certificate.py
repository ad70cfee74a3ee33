"""Decides whether a round's load exceeded what the workers' client certificates cover."""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.loadgen.protocol.messages import Done


def limits_of_round(answers: Sequence[Done]) -> tuple[dict[str, float | bool | None], str | None]:
    """What run.json says of a round's client load, and a warning if a worker went beyond its certificate."""
    known = [(answer.chunks_per_s, answer.certified_chunks_per_s) for answer in answers]
    beyond = [(rate, limit) for rate, limit in known if limit is not None and rate > limit]
    certified = all(limit is not None for _, limit in known)
    facts: dict[str, float | bool | None] = {
        "worker_chunks_per_s_max": max((rate for rate, _ in known), default=None),
        "certified_chunks_per_s_min": min((limit for _, limit in known if limit is not None), default=None),
        "client_limited": True if beyond else False if certified and known else None,
    }
    if not beyond:
        return facts, None
    rate, limit = max(beyond)
    return facts, (
        f"client-limited: a worker received {rate:,.0f} chunks/s, its certificate covers {limit:,.0f}; use more workers (--processes)"
    )
