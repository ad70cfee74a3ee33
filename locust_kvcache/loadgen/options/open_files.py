"""Checks that a process may open as many files as its users need connections."""

from __future__ import annotations

import math
import resource

RESERVE = 40  # files beside the users' connections: pages, records, messages, the loop's own


def too_few_files(users: int, processes: int = 1) -> str | None:
    """What is wrong, and the way out; None where the limit suffices. Locust has raised it as far as it may by now."""
    each = math.ceil(users / max(1, processes))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or each + RESERVE <= limit:
        return None
    where = f"{processes} processes of {each} users" if processes > 1 else f"{each} users in one process"
    return (
        f"{where} need {each + RESERVE} open files each, and the limit is {limit} (ulimit -n); raise it (ulimit -n {2 * (each + RESERVE)}, "
        "LimitNOFILE= in systemd, ulimits in Docker), or spread the users over more processes or hosts"
    )
