"""Reads `events` of a deployment file: commands that the master runs while a round is under way, such as killing an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.addresses import check_url
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section


@dataclass(frozen=True)
class FaultEvent:
    """`run` begins `at_s` after the round after `after_round` began. `undo` begins `undo_after_s` after `run` did."""

    name: str
    run: str  # a shell command
    after_round: int = 0  # 0: the first round
    at_s: float = 0.0
    undo: str | None = None
    undo_after_s: float | None = None
    ready: str | None = None  # a URL that answers with 200 when the undo, or the command, has taken effect
    timeout_s: float = 120.0  # of each command


def parse_events(entries: Any, source: str) -> tuple[FaultEvent, ...]:
    """The list under `events`; BadInput names file, key, value and what is allowed."""
    if not isinstance(entries, list):
        raise BadInput(f"{source}: key 'events' is {entries!r}; expected a list of {{name, at_s, run}}")
    events: list[FaultEvent] = []
    for number, entry in enumerate(entries):
        section = Section(entry, source, f"events[{number}].")
        after_round, at_s = section.take("after_round", int, None, low=0), section.take("at_s", float, None, low=0)
        if after_round is None and at_s is None:
            raise BadInput(f"{section.name('at_s')} is missing; expected at_s, the seconds after the round began, or after_round")
        ready = section.take("ready", str, None)
        event = FaultEvent(
            name=section.take("name", str),
            run=section.take("run", str),
            after_round=after_round or 0,
            at_s=at_s or 0.0,
            undo=section.take("undo", str, None),
            undo_after_s=section.take("undo_after_s", float, None, low=0),
            ready=check_url(ready, section.name("ready"), page=True) if ready else None,
            timeout_s=section.take("timeout_s", float, 120.0, low=0.1),
        )
        section.done()
        if (event.undo is None) != (event.undo_after_s is None):
            missing = "undo_after_s" if event.undo_after_s is None else "undo"
            raise BadInput(f"{section.name(missing)} is missing; expected both undo and undo_after_s, or none of them")
        if event.name in [other.name for other in events]:
            raise BadInput(f"{section.name('name')} is {event.name!r}, which an earlier event has; expected another name")
        events.append(event)
    return tuple(events)
