"""Reads the agent keys of a scenario: tool calls, forks into sub-agents, and compaction of a long history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section
from locust_kvcache.workload.lengths import Lengths, parse_lengths
from locust_kvcache.workload.text import KINDS
from locust_kvcache.workload.waits import NO_WAITS, Waits, parse_waits

SECTIONS = ("tools", "forks", "compaction")
ROLES = ("user", "tool")


@dataclass(frozen=True)
class Tools:
    """`share` of the turns after the first are results of a tool that the answer before called."""

    share: float
    result_tokens: Lengths
    result_text: str = "code"
    time: Waits = NO_WAITS
    role: str = "user"
    schema_tokens: int = 0  # at the end of the system prompt


@dataclass(frozen=True)
class Forks:
    """After each `every`-th turn so many sub-agents run at once on the prefix of that turn; their summaries stand in the next turn."""

    every: int
    branches: int
    turns: int
    task_tokens: int
    summary_tokens: int


@dataclass(frozen=True)
class Compaction:
    """A prompt that would be longer than `at_tokens` carries a summary instead of the turns before it."""

    at_tokens: int
    summary_tokens: int


@dataclass(frozen=True)
class Shape:
    counts: Lengths | None = None  # turns of a session, where they are drawn
    tools: Tools | None = None
    forks: Forks | None = None
    compaction: Compaction | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Shape | None:
        if values is None:
            return None
        tools = values["tools"]
        if tools is not None:
            result_tokens, time = Lengths.from_dict(tools["result_tokens"]), Waits.from_dict(tools["time"])
            assert result_tokens is not None
            assert time is not None
            tools = Tools(**{**tools, "result_tokens": result_tokens, "time": time})
        forks, compaction = values["forks"], values["compaction"]
        return cls(
            Lengths.from_dict(values["counts"]),
            tools,
            Forks(**forks) if forks is not None else None,
            Compaction(**compaction) if compaction is not None else None,
        )

    @property
    def schema_tokens(self) -> int:
        return self.tools.schema_tokens if self.tools is not None else 0


def parse_span(section: Section, key: str) -> Lengths:
    """A number of tokens or turns, [low, high] (each as likely), or a distribution."""
    value = section.raw(key)
    if isinstance(value, Mapping):
        return parse_lengths(section, key)
    low, high = value if isinstance(value, list) and len(value) == 2 else (value, value)
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in (low, high))
    if not whole or not 1 <= low <= high:
        raise BadInput(f"{section.name(key)} is {value!r}; expected a whole number, [low, high], or a distribution")
    return Lengths("even", low, high)


def parse_shape(top: Section, turns: Section, folder: Path) -> Shape | None:
    """None where every session is one conversation of a given number of turns."""
    counts = parse_span(turns, "count") if isinstance(turns.raw("count"), Mapping | list) else None
    given = {name: top.section(name) for name in SECTIONS if top.raw(name) is not None}
    if counts is None and not given:
        return None
    shape = Shape(
        counts,
        _tools(given["tools"], folder) if "tools" in given else None,
        _forks(given["forks"]) if "forks" in given else None,
        _compaction(given["compaction"]) if "compaction" in given else None,
    )
    for section in given.values():
        section.done()
    return shape


def _tools(given: Section, folder: Path) -> Tools:
    share = given.take("share", float, low=0)
    if share > 1:
        raise BadInput(f"{given.name('share')} is {share:g}; expected a share of the turns from 0 to 1")
    return Tools(
        share,
        parse_span(given, "result_tokens"),
        given.take("result_text", str, "code", choices=KINDS),
        parse_waits(given, "time", folder),
        given.take("role", str, "user", choices=ROLES),
        given.take("schema_tokens", int, 0, low=0),
    )


def _forks(given: Section) -> Forks:
    return Forks(
        given.take("every", int, low=1),
        given.take("branches", int, low=1),
        given.take("turns", int, 1, low=1),
        given.take("task_tokens", int, low=1),
        given.take("summary_tokens", int, low=1),
    )


def _compaction(given: Section) -> Compaction:
    return Compaction(given.take("at_tokens", int, low=1), given.take("summary_tokens", int, low=1))
