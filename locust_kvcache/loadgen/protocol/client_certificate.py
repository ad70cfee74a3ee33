"""This machine's client certificate comes in (benchmarks/client_certificate.py writes it), the chunk rate it stands for goes out."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from locust_kvcache.contract.shipped import checkout

STATE = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "locust-kvcache"
PATH = (root / "results" if (root := checkout()) else STATE) / "client_certificate.json"


def certified_chunks_per_s(path: Path = PATH) -> float | None:
    """Chunks per second up to which one worker on this host was seen to stamp in time; None without a certificate of this host."""
    try:
        certificate = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if certificate.get("format") != 1 or certificate.get("host") != socket.gethostname():
        return None
    return float(certificate["certified_chunks_per_s"])


def limits_of_round(answers: list[dict[str, float | None]]) -> tuple[dict[str, float | bool | None], str | None]:
    """What run.json says of a round's client load, and a warning if a worker went beyond its certificate.

    `answers` are the workers' reports: chunks_per_s and certified_chunks_per_s (None: no certificate on that host).
    """
    known = [(a["chunks_per_s"] or 0.0, a["certified_chunks_per_s"]) for a in answers]
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
        f"client-limited: a worker received {rate:,.0f} chunks/s, its certificate stands for {limit:,.0f}; use more workers (--processes)"
    )
