"""Reads on over the starts of engines that came, went, or were started again while a round was under way, by their own start times.

A process counts from 0. So what an engine counted in a round is what each of its processes counted in it: up to the last page before it
went, and from 0 where it was started within the round. What it counted between its last page and its end is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.servers.broken_counters import COUNTER
from locust_kvcache.contract.several_servers import STARTED, shows_engine

SKEW_S = 5.0  # between the clock of an engine and ours
LEFT, JOINED, RESTARTED = "engine_left", "engine_joined", "engine_restarted"
Row = Mapping[str, Any]  # of server_metrics.jsonl
Key = tuple[Any, Any, Any]  # scenario, round, url


def with_lives(rows: Sequence[Row]) -> list[Row]:
    """The rows with counters that go on over a restart, and with a page before and after each round in which an engine came or went."""
    changed = {id(old): new for lives in _groups(rows) for old, new in lives.replaced()}
    added = [row for lives in _groups(rows) for row in lives.added()]
    return [*(changed.get(id(row), row) for row in rows), *added]


def lives_problems(rows: Sequence[Row], names: Mapping[str, str]) -> list[Problem]:
    """`names`: the deployment file's name of each page."""
    found = []
    for lives in _groups(rows):
        for code in lives.events():
            scenario, number, url = lives.key
            found.append(_problem(code, names.get(url) or str(url), f"round {number} of {scenario}"))
    return found


def _problem(code: str, engine: str, where: str) -> Problem:
    if code == LEFT:
        text = f"Engine {engine} stopped answering in {where}: its counters are those of its last page, and what it kept is lost."
        return Problem("warning", code, text, "Was it stopped, or did it crash? Its log says. Later rounds have fewer engines.")
    if code == JOINED:
        text = f"Engine {engine} was started in {where}: it had nothing in its cache."
        return Problem("warning", code, text, "Rounds before it had fewer engines: they are not comparable.")
    text = f"Engine {engine} was started again in {where}: its cache was empty then, and what it counted just before is missing."
    return Problem("warning", code, text, "Run again: hits that its cache would have given are missing.")


def _groups(rows: Sequence[Row]) -> list[_Lives]:
    found: dict[Key, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.get("at_s") or 0.0):
        found.setdefault((row.get("scenario"), row.get("round"), row.get("url")), []).append(row)
    return [lives for key, mine in found.items() if (lives := _Lives(key, mine)).known]


class _Lives:
    """One page in one round: its looks in time, from the last page before the round on."""

    def __init__(self, key: Key, rows: Sequence[Row]) -> None:
        self.key = key
        begun = max((place for place, row in enumerate(rows) if row.get("when") == "before"), default=0)
        self._rows = rows[begun:]
        self._looks = [row for row in self._rows if row.get("ok") and row.get("samples")]

    @property
    def known(self) -> bool:
        """An engine's page that tells its start, and was read while the round ran."""
        during = any(row.get("when") == "during" for row in self._looks)
        return during and all(STARTED in row["samples"] for row in self._looks) and shows_engine(self._looks[-1]["samples"])

    @property
    def _starts(self) -> list[float]:
        return [row["samples"][STARTED] for row in self._looks]

    def _has(self, when: str) -> bool:
        return any(row.get("when") == when for row in self._looks)

    @property
    def _joined(self) -> bool:
        """Its page failed before the round, and its process is younger."""
        first = self._rows[0]
        failed = first.get("when") == "before" and not first.get("ok")
        return bool(failed and self._starts[0] >= (first.get("at_s") or 0.0) - SKEW_S)

    @property
    def _left(self) -> bool:
        """It answered while the round ran, and its page failed after it."""
        return not self._has("after") and any(row.get("when") == "after" for row in self._rows)

    @property
    def _restarted(self) -> bool:
        """Its first process was read while the round ran, too: else what it counted in the round is unknown."""
        starts = self._starts
        first = [row for row in self._looks if row["samples"][STARTED] == starts[0]]
        return starts == sorted(starts) and len(set(starts)) > 1 and any(row.get("when") == "during" for row in first)

    def events(self) -> Iterator[str]:
        yield from (code for code, is_so in ((JOINED, self._joined), (RESTARTED, self._restarted), (LEFT, self._left)) if is_so)

    def _whole(self) -> Iterator[tuple[Row, dict[str, float]]]:
        """Each look with its counters, and those of the processes before it in this round."""
        past: dict[str, float] = {}
        last: dict[str, float] = {}
        started_s = self._starts[0]
        for row in self._looks:
            if row["samples"][STARTED] != started_s:
                past, started_s = last, row["samples"][STARTED]
            mine = {name: value for name, value in row["samples"].items() if _counts(name)}
            last = {name: past.get(name, 0.0) + mine.get(name, 0.0) for name in {**past, **mine}}
            yield row, last

    def replaced(self) -> Iterator[tuple[Row, Row]]:
        if self._restarted:
            for row, counters in self._whole():
                yield row, {**row, "samples": {**row["samples"], **counters, STARTED: self._starts[0]}}

    def added(self) -> Iterator[Row]:
        """Counters only: a gauge of these moments is nobody's."""
        if not (self._joined or self._left):
            return
        last_row, last = list(self._whole())[-1]
        if self._joined:
            yield {**self._rows[0], "ok": True, "samples": {**dict.fromkeys(last, 0.0), STARTED: self._starts[0]}}
        if self._left and self._has("before") | self._joined:
            counters = last if self._restarted else {name: value for name, value in last_row["samples"].items() if _counts(name)}
            yield {**last_row, "when": "after", "samples": {**counters, STARTED: self._starts[0 if self._restarted else -1]}}


def _counts(name: str) -> bool:
    return name.partition("{")[0].endswith(COUNTER)
