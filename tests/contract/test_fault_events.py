"""`events` of a deployment file: what is read, and what is refused in one line with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.fault_events import FaultEvent, parse_events


def test_every_key() -> None:
    given = {
        "name": "kill", "after_round": 2, "at_s": 1.5, "run": "false", "undo": "true", "undo_after_s": 30, "ready": "http://h:1/health",
        "timeout_s": 5,
    }  # fmt: skip
    assert parse_events([given], "d.yaml") == (FaultEvent("kill", "false", 2, 1.5, "true", 30.0, "http://h:1/health", 5.0),)
    assert parse_events([{"name": "kill", "at_s": 3, "run": "x"}], "d.yaml") == (FaultEvent("kill", "x", 0, 3.0),)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"name": "kill"}, "key 'events' is {'name': 'kill'}; expected a list of {name, at_s, run}"),
        ([{"name": "kill", "run": "x"}], "at_s' is missing; expected at_s, the seconds after the round began, or after_round"),
        ([{"name": "kill", "at_s": 1, "run": "x", "undo": "y"}], "undo_after_s' is missing; expected both undo and undo_after_s"),
        ([{"name": "kill", "at_s": 1, "run": "x", "ready": "h"}], "ready' is 'h'"),
        ([{"name": "kill", "at_s": 1, "run": "x"}] * 2, "name' is 'kill', which an earlier event has"),
        ([{"name": "kill", "at_s": 1, "run": "x", "when": 1}], "when"),
    ],
)
def test_what_is_refused(entries: Any, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_events(entries, "d.yaml")
    assert says in str(caught.value)
