"""What a study is given to work with: a stage that opens runs, plays rounds at a rate of its choice, and closes them.

A study measures in several runs or rounds, and decides the next from what it saw; docs/decisions/0020 says why it is no LoadTestShape.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.run.prepare import Looked
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.workload.spec import Scenario


class Stage(Protocol):
    """The master, as a study sees it."""

    @property
    def users(self) -> int: ...

    def change_users(self, users: int) -> None: ...

    def look(self, options: Options, scenarios: list[Scenario]) -> Looked: ...

    def open_run(self, options: Options, scenarios: list[Scenario], suffix: str) -> Run: ...

    def study_round(self, scenario: Scenario, number: int, arrival: Arrival, facts: dict[str, Any]) -> None: ...

    def close_run(self) -> Path: ...


Study = Callable[[Stage, Options, list[Scenario]], list[Path]]
CLOSED = Arrival("closed", None, 1.0)


def round_records(folder: Path, scenario: str, number: int) -> list[dict[str, Any]]:
    """A round's records from the file; between rounds only, as parsing takes time."""
    with (folder / "records.jsonl").open(encoding="utf-8") as file:
        rows = (json.loads(line) for line in file)
        return [row for row in rows if row["scenario"] == scenario and row["round"] == number]
