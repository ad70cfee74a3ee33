"""Measures one run for each number of users of --concurrency; each has a nonce of its own, and so its own cold round."""

from __future__ import annotations

import logging
from pathlib import Path

from locust_kvcache.loadgen.studies.study import Master, Study

log = logging.getLogger("kvcache")


def sweep_concurrency(master: Master) -> list[Path]:
    folders = []
    for users in master.job.options.concurrency:
        log.info("concurrency %d", users)
        master.change_users(users)
        level = master.open_run(suffix=f"_c{users}", nonce_end=f"{users:04x}")
        level.play()
        folders.append(level.close())
    return folders


CONCURRENCY = Study(sweep_concurrency, "locust_kvcache.analysis.commands.sweep")
