"""Runs one load several times for --repeat, each with a nonce of its own."""

from __future__ import annotations

import logging
from pathlib import Path

from locust_kvcache.loadgen.studies.study import Master, Study

log = logging.getLogger("kvcache")


def repeat_run(master: Master) -> list[Path]:
    count, folders = master.job.options.repeat, []
    for number in range(1, count + 1):
        log.info("repeat %d of %d", number, count)
        run = master.open_run(suffix=f"-{number}")
        run.play()
        folders.append(run.close())
    return folders


REPEATS = Study(repeat_run, "locust_kvcache.analysis.commands.repeats")
