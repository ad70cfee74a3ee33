"""Holds what run.json says of a run while it goes on: plan, load, clocks, warnings; and writes it as a whole each time."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from locust_kvcache.contract.round_kinds import COLD, HIT
from locust_kvcache.loadgen.run.folder import Reserve, write_json
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")
LARGE_OFFSET_S = 0.5


class RunFacts:
    """`facts` is the content of run.json as it begins (run_json.first_facts)."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self._facts = facts
        self._write_error: OSError | None = None
        self._reserve = Reserve(folder)

    def _write(self) -> None:
        """A disk that is full must not keep the run from ending, nor from saying so: then the reserve is used."""
        try:
            write_json(self.folder / "run.json", self._facts)
        except OSError as error:
            self._write_error = error
            log.error("%s cannot be written: %s", self.folder / "run.json", error)
            if self._reserve.free():
                with contextlib.suppress(OSError):
                    write_json(self.folder / "run.json", self._facts)

    def _write_last(self) -> None:
        self._reserve.free()
        self._write()

    def rounds_planned(self, scenario: Scenario) -> int:
        rounds: int = self._facts["rounds_planned"][scenario.name]
        return rounds

    def kind(self, scenario: str, number: int) -> str:
        """What a round is for; a study's rounds that were not planned repeat its first."""
        kinds: list[str] = self._facts["round_kinds"][scenario]
        return kinds[number - 1] if number <= len(kinds) else COLD if number == 1 else HIT

    @property
    def arms(self) -> tuple[str, ...]:
        """The arm of each round; empty where rounds are no arms."""
        return tuple(self._facts["arms"] or ())

    def note_warm_up(self, facts: dict[str, Any]) -> None:
        """What a scenario's warm-up was, in place of what was known of it so far."""
        others = [known for known in self._facts["warm_up"] if known["scenario"] != facts["scenario"]]
        self._facts["warm_up"] = [*others, facts]
        self._write()

    def plan_rounds(self, scenario: str, rounds: int) -> None:
        """A study decides on its rounds one by one."""
        self._facts["rounds_planned"][scenario] = rounds
        self._facts["round_kinds"][scenario] = [COLD, *[HIT] * (rounds - 1)]

    def note_events(self, entries: list[dict[str, Any]]) -> None:
        """The deployment's events, as far as they were played; empty where they were left out."""
        self._facts["events"] = entries
        self._write()

    def note_shape(self, name: str | None) -> None:
        """The LoadTestShape that changes the users, by its class."""
        self._facts["shape"] = name

    def note_study(self, facts: dict[str, Any]) -> None:
        """What a study wants to be known of this run."""
        self._facts["study"] = facts

    @property
    def warnings(self) -> list[str]:
        warnings: list[str] = self._facts["warnings"]
        return warnings

    @property
    def incomplete_reason(self) -> str | None:
        """Why the run is not complete; None once it is."""
        reason: str | None = self._facts["incomplete_reason"]
        return reason

    def note_load(self, users_by_worker: dict[str, int], foreign: dict[str, int]) -> None:
        """`foreign`: users of classes that are not ours, by class."""
        self._facts["users"] = sum(users_by_worker.values())
        self._facts["workers"] = len(users_by_worker)
        self._facts["foreign_users"] = foreign

    def note_clocks(self, offsets_s: dict[str, float]) -> None:
        """How far each worker's wall clock is ahead of the master's; their records are given in the master's."""
        self._facts["clock_offsets_s"] = offsets_s
        for worker, offset_s in offsets_s.items():
            if abs(offset_s) > LARGE_OFFSET_S:
                self.warn(
                    f"the clock of worker {worker} is {offset_s:+.2f} s from the master's: start times are corrected for it, durations "
                    "do not depend on it; set the hosts' clocks by NTP"
                )

    @property
    def users(self) -> int | None:
        """Users of the round under way, or of the last one."""
        users: int | None = self._facts["users"]
        return users

    def warn(self, text: str) -> None:
        """Say it now, and keep it with the run; once."""
        if text not in self._facts["warnings"]:
            self._facts["warnings"].append(text)
            log.warning("%s", text)
