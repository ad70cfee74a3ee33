"""Runs one load several times for --repeat, each with a nonce of its own."""

from __future__ import annotations

from pathlib import Path

from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.studies.study import Master, Study


def repeat_run(master: Master) -> list[Path]:
    count, folders = master.job.options.repeat, []
    for number in range(1, count + 1):
        console().phase(f"repeat {number} of {count}")
        run = master.open_run(suffix=f"-{number}")
        run.play()
        folders.append(run.close())
    return folders


REPEATS = Study(repeat_run, "locust_kvcache.analysis.commands.repeats")
