"""Reads `restart` of a deployment file: the command that starts the engine again, and what to wait for."""

from __future__ import annotations

from dataclasses import dataclass

from locust_kvcache.contract.addresses import check_url
from locust_kvcache.contract.schema import Section

AFTER_RESTART = "after_restart"


@dataclass(frozen=True)
class Restart:
    """The shell runs `command` on the master; the engine is back when `wait_for` answers with 2xx."""

    command: str
    wait_for: str
    timeout_s: float = 600.0


def parse_restart(top: Section, endpoint: str) -> Restart | None:
    """None where the file does not say how."""
    given = top.section("restart")
    command = given.take("command", str, None)
    wait_for = check_url(given.take("wait_for", str, f"{endpoint}/health"), given.name("wait_for"), page=True)
    timeout_s = given.take("timeout_s", float, 600.0, low=0.1)
    given.done()
    return Restart(command, wait_for, timeout_s) if command else None
