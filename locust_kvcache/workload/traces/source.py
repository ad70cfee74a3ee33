"""Describes the part of a trace file to replay and its changes; or requests with due times that come from no file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from locust_kvcache.workload.returns import Returns

TIME_UNITS = {"ms": 1.0, "s": 1000.0, "us": 0.001, "ns": 0.000001}  # ms in each


@dataclass(frozen=True)
class TraceSource:
    """Seconds are of the trace's own clock. What is None is decided by the file's format, and noted before anything is sent."""

    path: str
    sha256: str = ""  # of the file as the master read it; workers refuse another
    speed: float = 1.0  # 2: twice as fast
    start_s: float = 0.0
    stop_s: float | None = None
    sample: float = 1.0  # share of the prompt families that is kept
    keep_bursts: bool = False
    block_size: int | None = None  # tokens that one hash id of the file stands for
    block_tokens: int | None = None  # of a block as it is sent; less than block_size scales all lengths down, sharing as it is
    time_unit: str | None = None  # of its timestamps; a key of TIME_UNITS
    notes: tuple[str, ...] = ()  # what was read how, and what the file cannot tell
    prefixes: str = ""  # a value of PREFIXES
    returns: Returns | None = None  # of a retention study: made, and `path` is empty

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "returns" or value}

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> TraceSource | None:
        if not values:
            return None
        return cls(**{**values, "notes": tuple(values.get("notes") or ()), "returns": Returns.from_dict(values.get("returns"))})
