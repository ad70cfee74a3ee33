"""Searches for --capacity the highest rate, or number of users, that is sustained; cold and hit apart.

Cold: a run, and so a fresh nonce, for each step. Hit: one run whose first round fills the caches and whose later rounds repeat it.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from locust_kvcache.contract.capacity_rule import Bounds, Judgement, Measured, Search, bounds_of, judge, next_level, sample_of
from locust_kvcache.contract.language import told
from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.loadgen.studies.study import CLOSED, Master, OpenRun, Study, round_records
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")
HIT, USERS = "hit", "users"


class SideSearch:
    """The search of one scenario and side: which level comes next, and what was seen. A level is a rate, or a number of users."""

    def __init__(self, master: Master, scenario: Scenario, side: str) -> None:
        self._master, self._options, self._scenario, self._side = master, master.job.options, scenario, side
        self._of_users = self._options.study.capacity_of == USERS
        self._unit = "users" if self._of_users else "sessions/s"
        self._steps: list[Measured] = []
        self.folders: list[Path] = []

    def run(self) -> Bounds:
        if self._side == HIT:
            self._hit()
        else:
            self._cold()
        return bounds_of(self._steps)

    def _cold(self) -> None:
        start = self._options.request_rate_per_s
        if start is None and not self._of_users:
            pilot = self._open("pilot", "0000")
            self._round(pilot, 1, CLOSED, {})
            start = self._reached(pilot.run)
            self.folders.append(pilot.close(analysed=False))
        while (level := self._next(start)) is not None:
            number = len(self._steps) + 1
            opened = self._open(f"{number:02d}", f"{number:04x}")
            self._step(opened, 1, level)
            self.folders.append(opened.close(analysed=False))

    def _hit(self) -> None:
        opened = self._open("", "ffff")
        for number in (1, 2):  # filled, then all of it hit
            self._round(opened, number, CLOSED, {})
        start = self._options.request_rate_per_s or self._reached(opened.run)
        while (level := self._next(start)) is not None:
            self._step(opened, len(self._steps) + 3, level)
        self.folders.append(opened.close(analysed=False))

    def _open(self, step: str, nonce_end: str) -> OpenRun:
        suffix = f"_{self._scenario.name}_{self._side}{f'_{step}' if step else ''}"
        return self._master.open_run([self._scenario], suffix, nonce_end)

    def _reached(self, run: Run) -> float:
        """Sessions per second that all users together got without waiting: where a search of rates starts."""
        return run.sessions(self._scenario.name) / max(run.last_wall_s, 0.001)

    def _next(self, start: float | None) -> float | None:
        """The level to measure now; None at the search's end, or where more users than sessions would be asked for."""
        study = self._options.study
        first = float(self._master.users) if self._of_users and not self._steps else start or 1.0
        search = Search(first, study.capacity_tolerance, study.capacity_repeats, study.capacity_steps, self._of_users)
        level = next_level(self._steps, search)
        if self._of_users and level is not None and level * self._scenario.turns > self._scenario.requests:
            log.warning("%g users have no session each: the search ends here; send more --requests", level)
            return None
        return level

    def _arrival(self, level: float) -> Arrival:
        """Each step draws arrivals of its own, so that no one schedule decides. They are as the process gives them: stretched to exactly
        the rate they come more evenly than in the long run, and more seems to be sustained (docs/capacity.md)."""
        if self._of_users:
            return CLOSED
        kind = "poisson" if self._options.arrival == "closed" else self._options.arrival
        return Arrival(kind, level, self._options.burstiness, draw=len(self._steps))

    def _round(self, opened: OpenRun, number: int, arrival: Arrival, facts: dict[str, Any]) -> None:
        opened.run.plan_rounds(self._scenario.name, number)
        opened.play_round(self._scenario, number, arrival, facts)

    def _step(self, opened: OpenRun, number: int, level: float) -> None:
        arrival = self._arrival(level)
        step = {"side": self._side, **dataclasses.asdict(arrival)}
        if self._of_users:
            step["users"] = int(level)
            self._master.change_users(int(level))
        self._round(opened, number, arrival, {"capacity": step})
        found = self._judge(opened.run.folder, number, opened.run.deployment.slo)
        self._steps.append(Measured(level, found.sustained))
        word = "sustained" if found.sustained else "not sustained"
        short = " Requests were sent late: give more users (-u)." if found.short_of_users else ""
        console().say(told(f"{self._side}, step {len(self._steps)}: {level:.3g} {self._unit} {word} ({found.why}).{short}"))

    def _judge(self, folder: Path, number: int, slo: dict[str, float]) -> Judgement:
        samples = [sample for row in round_records(folder, self._scenario.name, number) if (sample := sample_of(row))]
        return judge(samples, slo, self._options.study.capacity_share)


def search_capacity(master: Master) -> list[Path]:
    """All scenarios and sides, one after another; the folders of their runs."""
    folders: list[Path] = []
    for scenario in master.job.scenarios:
        for side in master.job.options.study.capacity:
            search = SideSearch(master, scenario, side)
            found = search.run()
            low, high = ("none" if end is None else f"{end:.3g}" for end in (found.low, found.high))
            console().say(told(f"{scenario.name}, {side}: highest level sustained {low}, lowest not sustained {high}"))
            folders += search.folders
    return folders


CAPACITY = Study(search_capacity, "locust_kvcache.analysis.commands.capacity")
