"""The dialect of a server: where it counts tokens, what it wants with a request, and how its cache is emptied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from locust_kvcache.contract.extensions import ServerDialect


def metered(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Counts stand in `meter` of the last event: {"in": 900, "out": 8, "reused": 512}."""
    meter = event.get("meter")
    if not isinstance(meter, dict):
        return None
    return {"prompt": meter.get("in"), "output": meter.get("out"), "cached": meter.get("reused")}


METERED = ServerDialect(
    about="a server that counts tokens in `meter`",
    counts=metered,
    headers={"x-meter": "on"},
    extra_body={"meter": True},
    engine_header="x-served-by",
    reset={"gpu": "sglang_flush"},
)
