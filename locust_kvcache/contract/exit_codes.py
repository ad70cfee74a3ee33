"""Defines the exit codes, one table for the load and the analysis (docs/exit-codes.md is made from it).

Code 2 stands for every reason for which figures cannot be judged; the outcome's `cause` (--json) and the console tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

BOTH, LOAD, NOBODY = "load and analysis", "load", "no"


class Exit(IntEnum):
    """The exit codes. 0 to 3 mean what they always meant."""

    OK = 0
    TARGET_MISSED = 1
    NOT_JUDGED = 2
    BAD_INPUT = 3
    FAILURES = 4
    NOTHING_HIT = 5
    CLIENT_LATE = 6
    ABORTED = 7
    ALERT = 8
    NOT_UPLOADED = 9


@dataclass(frozen=True)
class Cause:
    """One reason to end. `without_gate`: who ends with its code also where no --gate was asked for: both, the load, or nobody."""

    name: str
    code: Exit
    text: str
    without_gate: str = NOBODY


OK = Cause("ok", Exit.OK, "the command succeeded; with --gate, every target that could be judged is met", BOTH)
TARGET_MISSED = Cause("target missed", Exit.TARGET_MISSED, "a target that could be judged is missed")
PREFLIGHT = Cause("preflight", Exit.TARGET_MISSED, "--preflight-only: the preflight has a warning")
INCOMPLETE = Cause(
    "incomplete",
    Exit.NOT_JUDGED,
    "planned requests or rounds have no record: the run was stopped, or a worker was lost (--allow-loss: exit with 0)",
    LOAD,
)
NOT_COMPARABLE = Cause("not comparable", Exit.NOT_JUDGED, "rounds at different loads, or runs under different conditions")
NOTHING_JUDGED = Cause(
    "nothing could be judged", Exit.NOT_JUDGED, "targets are set, but the figures for them are missing or not valid"
)
BAD_INPUT = Cause(
    "bad input", Exit.BAD_INPUT, "an option, a file or a folder cannot be used; the error names it and says what to do", BOTH
)
FAILURES = Cause("failures", Exit.FAILURES, "more requests failed than --max-failures allows (default: none)", LOAD)
NOTHING_HIT = Cause(
    "nothing hit",
    Exit.NOTHING_HIT,
    "the cache served nothing in the later rounds, or less than planned; hit_rate_min is then the only target on hits that is judged",
)
CLIENT_LATE = Cause("load generator late", Exit.CLIENT_LATE, "the load generator was late: its times are not valid")
ABORTED = Cause(
    "aborted by a limit",
    Exit.ABORTED,
    "a limit ended the run: --round-timeout, --outage-limit, or workers that did not come in time",
    LOAD,
)
ALERT = Cause("alert", Exit.ALERT, "a rule of --abort-if ended the run; run.json says which", LOAD)
NOT_UPLOADED = Cause(
    "not uploaded", Exit.NOT_UPLOADED, "--upload or the command upload could not copy a folder; the local folder is kept", BOTH
)
CAUSES = (
    OK, TARGET_MISSED, PREFLIGHT, INCOMPLETE, NOT_COMPARABLE, NOTHING_JUDGED, BAD_INPUT, FAILURES, NOTHING_HIT, CLIENT_LATE, ABORTED, ALERT,
    NOT_UPLOADED,
)  # fmt: skip
ALWAYS = (OK, BAD_INPUT)  # every command can end with these
OF_REPORTS = (OK, TARGET_MISSED, INCOMPLETE, NOT_COMPARABLE, NOTHING_JUDGED, BAD_INPUT, FAILURES, NOTHING_HIT, CLIENT_LATE)
# If there are several causes, the first of these decides: causes that make the figures invalid come before missed targets.
SEVERITY = (
    BAD_INPUT,
    ALERT,
    ABORTED,
    CLIENT_LATE,
    INCOMPLETE,
    FAILURES,
    NOT_UPLOADED,
    NOT_COMPARABLE,
    NOTHING_HIT,
    NOTHING_JUDGED,
    TARGET_MISSED,
    OK,
)


def worst(causes: Iterable[Cause]) -> Cause:
    """The cause that decides; OK where there is none."""
    return min(causes, key=SEVERITY.index, default=OK)


def cause_named(name: str) -> Cause:
    return next(cause for cause in CAUSES if cause.name == name)


def cause_of_code(code: int) -> Cause:
    """Of another process; one that is not in the table has crashed, so that nothing is judged."""
    return next((cause for cause in CAUSES if cause.code == code), INCOMPLETE)


def help_text(causes: Sequence[Cause] = CAUSES) -> str:
    """For the end of a --help: the codes that this command can end with."""
    gated = any(cause.without_gate == NOBODY for cause in causes)
    lines = [
        f"  {cause.code:d}  {cause.name}: {cause.text if gated else cause.text.partition('; with --gate')[0]}"
        f"{' (with --gate)' if cause.without_gate == NOBODY else ''}"
        for cause in causes
    ]
    return "\n".join(["exit codes (docs/exit-codes.md):", *lines])
