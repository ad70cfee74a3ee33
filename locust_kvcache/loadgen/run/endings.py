"""Names what ends a run before its last round: each error is a cause of the exit code, its message the reason in run.json."""

from __future__ import annotations

from locust_kvcache.contract.exit_codes import ABORTED, ALERT, INCOMPLETE


class RunIncomplete(Exception):
    """The run cannot go on, but what it measured stays; the message is its incomplete_reason."""

    cause = INCOMPLETE


class LimitReached(RunIncomplete):
    """A limit that the user set ended the run: --round-timeout, --outage-limit."""

    cause = ABORTED


class AlertFired(RunIncomplete):
    """A rule of --abort-if."""

    cause = ALERT
