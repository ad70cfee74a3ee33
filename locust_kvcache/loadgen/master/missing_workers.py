"""Ends a run with the exit code of the table, in place of the 1 of Locust, where its --expect-workers do not come."""

from __future__ import annotations

import logging

from locust.env import Environment
from locust.runners import MasterRunner

from locust_kvcache.contract.exit_codes import ABORTED

log = logging.getLogger("kvcache")
LOCUST_SAYS = "Gave up waiting for workers to connect"


def end_with_own_code(environment: Environment) -> None:
    """Locust fires no event there: what it logs is the only sign, right before it leaves with 1."""
    runner = environment.runner
    if not isinstance(runner, MasterRunner):
        return

    def seen(record: logging.LogRecord) -> bool:
        if record.msg == LOCUST_SAYS:
            wanted = environment.parsed_options.expect_workers  # type: ignore[union-attr]
            log.error("%d of %d workers came in time: exit code %d", len(runner.clients.ready), wanted, ABORTED.code)
            runner.quit()
            raise SystemExit(int(ABORTED.code))
        return True

    logging.getLogger("locust.main").addFilter(seen)
