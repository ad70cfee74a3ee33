"""Reads this machine's client certificate (locust-kvcache certificate writes it): the chunk rate up to which it stamps in time."""

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
