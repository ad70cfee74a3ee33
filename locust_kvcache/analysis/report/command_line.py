"""What the commands share: one way to end on bad input, and the exit code of a gate (contract/exit_codes.py)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from locust_kvcache.analysis.stats.targets import FAIL
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import Exit


def run_command(main: Callable[[], int]) -> int:
    """The exit code of a command; bad input becomes one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console without UTF-8 must not end a run
    try:
        return main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.BAD_INPUT
    except BrokenPipeError:
        sys.stderr.close()  # `| head`: nobody reads on, which is no error
        return Exit.OK


def gate(stats_list: list[dict[str, Any]], targets: list[dict[str, Any]]) -> int:
    """0 pass, 1 a target failed, 2 a run is incomplete, so that its targets prove nothing."""
    if not all(stats["complete"] for stats in stats_list):
        return Exit.NOT_JUDGED
    return Exit.TARGET_MISSED if any(target["verdict"] == FAIL for target in targets) else Exit.OK
