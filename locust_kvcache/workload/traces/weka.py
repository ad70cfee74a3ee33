"""Reads coding sessions in the format of Weka's kv-cache-tester and its data sets: one session per object, with nested sub-agents.

{"id": "trace_0001", "block_size": 64, "requests": [{"t": 0.0, "type": "n", "in": 130, "out": 9, "hash_ids": [1, 2, 3]},
  {"t": 4.0, "type": "subagent", "requests": [...]}]}
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.traces.formats import WEKA, built_like
from locust_kvcache.workload.traces.recorded import Link
from locust_kvcache.workload.traces.timing import in_seconds
from locust_kvcache.workload.traces.values import hashed, length_value, time_value

EXPECTED = 'an object with "id" and "requests": [{"t", "type", "in", "out", "hash_ids"}]'
SUBAGENT = "subagent"


class WekaRequest(NamedTuple):
    at_s: float
    input_tokens: int
    output_tokens: int
    blocks: array[int]
    link: Link


class WekaSession:
    """One session; `first` is the number that its first request has among those of the file."""

    def __init__(self, trace: Any, where: str, first: int, block_size: int, names: Container[str] = ()) -> None:
        if not isinstance(trace, dict) or not isinstance(trace.get("requests"), list):
            raise BadInput(f"{where} is {str(trace)[:60]!r}; expected {EXPECTED}")
        self._where, self._block_size = where, block_size
        name = str(trace.get("id") or where)
        self.name = f"{name} {where}" if name in names else name  # another session, whatever its id
        self._scope = "" if trace.get("hash_id_scope") == "global" else self.name
        if (size := trace.get("block_size")) not in (None, block_size):
            raise BadInput(
                f"{where}: key 'block_size' is {size!r}, the first session has {block_size}; expected one size in a file"
            )
        self._next, self._lanes = first, 1
        self._ended_at: dict[int, float] = {}  # by number; the start where the file does not say how long a request took
        self.requests: list[WekaRequest] = []
        self._line(trace["requests"], 0.0, (), 0)

    def _line(self, entries: Iterable[Any], zero: float, after: tuple[int, ...], lane: int) -> tuple[int, ...]:
        """Requests that wait for one another, and sub-agents that the next one waits for; what a later one has to wait for."""
        branches: list[int] = []
        for entry in entries:
            if not isinstance(entry, dict):
                raise BadInput(f"{self._where}: key 'requests' has {str(entry)[:60]!r}; expected {EXPECTED}")
            if entry.get("type") == SUBAGENT:
                branches += self._subagent(entry, zero, after)
            else:
                after, branches = (self._add(entry, zero, (*after, *branches), lane),), []
        return (*after, *branches)

    def _subagent(self, entry: dict[str, Any], zero: float, after: tuple[int, ...]) -> list[int]:
        """Its times count from its own start, or from the session's: then its first one is not before its start."""
        inner, at = entry.get("requests") or [], in_seconds(time_value(entry.get("t", 0), "t", self._where))
        if not isinstance(inner, list) or not inner or not isinstance(inner[0], dict):
            return []
        relative = in_seconds(time_value(inner[0].get("t", 0), "t", self._where)) < at
        self._lanes += 1
        ended = self._line(inner, zero + at if relative else zero, after, self._lanes - 1)
        return [number for number in ended if number not in after]

    def _add(self, entry: dict[str, Any], zero: float, after: tuple[int, ...], lane: int) -> int:
        at = zero + in_seconds(time_value(entry.get("t"), "t", self._where))
        tokens = length_value(entry.get("in"), "in", self._where, 1)
        output = max(1, length_value(entry.get("out"), "out", self._where, 0))
        number, wait = self._next, 0.0
        if after and entry.get("think_time") is not None:
            wait = time_value(entry["think_time"], "think_time", self._where)
        elif after:
            wait = max(0.0, at - max(self._ended_at[one] for one in after))
        self.requests.append(WekaRequest(at, tokens, output, self._blocks(entry, tokens), Link(self.name, after, wait, lane)))
        self._ended_at[number] = at + time_value(entry.get("api_time") or 0, "api_time", self._where)
        self._next += 1
        return number

    def _blocks(self, entry: dict[str, Any], tokens: int) -> array[int]:
        """One id for each block of the prompt; a last one that is not full may be left out in the file, and is this request's own."""
        ids, wanted = entry.get("hash_ids") or [], -(-tokens // self._block_size)
        if not isinstance(ids, list):
            raise BadInput(f"{self._where}: key 'hash_ids' is {str(ids)[:60]!r}; expected a list of ids")
        blocks = array("Q", (hashed(f"{self._scope} {one}") for one in ids[:wanted]))
        blocks.extend(hashed(f"{self.name} {self._next} {place}") for place in range(len(blocks), wanted))
        return blocks


def weka_requests(traces: Iterable[tuple[Any, str]], block_size: int) -> Iterator[WekaRequest]:
    count, names = 0, set[str]()
    for trace, where in traces:
        with built_like(WEKA, where):
            session = WekaSession(trace, where, count, block_size, names)
        names.add(session.name)
        count += len(session.requests)
        yield from session.requests
