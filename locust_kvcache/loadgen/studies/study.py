"""Declares the interface of studies: a master that opens runs, and runs whose rounds are played at a chosen load.

A study measures in several runs or rounds, and decides the next from what it saw; docs/decisions/0020 says why it is no LoadTestShape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from locust_kvcache.loadgen.options.resolve import Job
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.loadgen.server.look import Look
from locust_kvcache.workload.spec import Scenario

CLOSED = Arrival("closed", None, 1.0)


class OpenRun(Protocol):
    """A run under way, as a study sees it."""

    run: Run

    def play(self) -> None:
        """Every round that its scenarios plan."""

    def play_round(self, scenario: Scenario, number: int, arrival: Arrival, facts: dict[str, Any]) -> None: ...

    def close(self, analysed: bool = True) -> Path: ...


class Master(Protocol):
    """The master, as a study sees it."""

    @property
    def job(self) -> Job: ...

    @property
    def look(self) -> Look: ...

    @property
    def users(self) -> int: ...

    def change_users(self, users: int) -> None: ...

    def open_run(self, scenarios: Sequence[Scenario] = (), suffix: str = "", nonce_end: str = "") -> OpenRun: ...


@dataclass(frozen=True)
class Study:
    measure: Callable[[Master], list[Path]]  # the folders of its runs
    analysis: str  # the module that speaks at its end


def round_records(folder: Path, scenario: str, number: int) -> list[dict[str, Any]]:
    """A round's records from the file; between rounds only, as parsing takes time."""
    with (folder / "records.jsonl").open(encoding="utf-8") as file:
        rows = (json.loads(line) for line in file)
        return [row for row in rows if row["scenario"] == scenario and row["round"] == number]
