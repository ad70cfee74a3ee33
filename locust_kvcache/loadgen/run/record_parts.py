"""Closes parts of a run's records, and has another process make Parquet files of them: this one has streams to read.

Here a part costs a rename and a line in a pipe. The process is started before the first round.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from locust_kvcache.contract.record_files import PART_RECORDS, PART_S, PART_WRITER, PARTS_FOLDER, part_numbers, part_path


class RecordParts:
    def __init__(self, folder: Path, most_records: int = PART_RECORDS, most_s: float = PART_S) -> None:
        self._folder, self._most_records, self._most_s = folder.resolve(), most_records, most_s
        (folder / PARTS_FOLDER).mkdir(exist_ok=True)
        self._number = max(part_numbers(folder), default=0)
        self._began_s = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", PART_WRITER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the load test, which ends the other by closing the pipe
        )
        os.set_blocking(self._input.fileno(), False)

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def is_due(self, records: int) -> bool:
        """Whether the open file, with so many records, is to be closed."""
        return records >= self._most_records or (records > 0 and time.monotonic() - self._began_s >= self._most_s)

    def take(self, open_file: Path) -> None:
        """The open file becomes a closed part. OSError: it stays as it is."""
        path = part_path(self._folder, self._number + 1)
        open_file.rename(path)
        self._number += 1
        self._began_s = time.monotonic()
        with contextlib.suppress(
            OSError
        ):  # the process has ended, or has not kept up: the part stays as lines, which are read too
            os.write(self._input.fileno(), f"{path}\n".encode())

    def close(self) -> int:
        """Wait until all parts are made; how many stay as lines."""
        self._input.close()
        self._process.wait()
        return len(list((self._folder / PARTS_FOLDER).glob("part-*.jsonl")))
