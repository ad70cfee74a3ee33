"""Reads the options for control, warm-up, repeats, and failures that a run may have."""

from __future__ import annotations

import argparse
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.declared import CONTROLS
from locust_kvcache.loadgen.options.option import number
from locust_kvcache.workload.warm_up import AUTO, OFF


def read_control(given: Any, arms: tuple[str, ...]) -> bool:
    """auto: arms have a control, plain rounds have none."""
    if given not in CONTROLS:
        raise BadInput(f"--control is {given!r}; allowed: {', '.join(CONTROLS)} (--control alone is on)")
    if given == "off" and "control" in arms:
        raise BadInput("--arms names control, and --control is off; leave one of them out")
    return given == "on" or (given == "auto" and bool(arms))


def read_warm_up(given: Any) -> str | int:
    """auto, off, or a number of requests."""
    if given in (AUTO, OFF):
        return str(given)
    try:
        return int(number("warm-up", given, int, 1))
    except (BadInput, TypeError) as error:
        raise BadInput(f"--warm-up is {given!r}; expected auto, off, or a number of requests") from error


def check_control(control: Any, study: str) -> None:
    """A study plans its rounds itself, and has no place for a control."""
    if study and control == "on":
        raise BadInput(f"{study} decides its runs and rounds itself; leave --control out")


def read_repeat(parsed: argparse.Namespace) -> int:
    """A number of complete runs of one load, each with prompts of its own."""
    repeat: int = number("repeat", parsed.repeat, int, 1) or 1
    for name in ("concurrency", "capacity", "working_set", "gaps", "resume", "nonce"):
        if repeat > 1 and getattr(parsed, name):
            raise BadInput(f"--repeat makes {repeat} complete runs of one load; leave --{name.replace('_', '-')} out")
    return repeat
