"""Measures one run for each number of users of --concurrency; each has a nonce of its own, and so its own cold round."""

from __future__ import annotations

from pathlib import Path

from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.studies.study import Master, Study


def sweep_concurrency(master: Master) -> list[Path]:
    folders = []
    for users in master.job.options.concurrency:
        console().phase(f"{users} user{'s' if users > 1 else ''}")
        master.change_users(users)
        level = master.open_run(suffix=f"_c{users}", nonce_end=f"{users:04x}")
        level.play()
        folders.append(level.close())
    return folders


CONCURRENCY = Study(sweep_concurrency, "locust_kvcache.analysis.commands.sweep")
