"""Opens, reads and hashes files that the user names; the error for an unreadable file says what to do."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from locust_kvcache.contract.errors import BadInput


def open_file(path: str | Path) -> BinaryIO:
    """A regular file: it is read more than once, and on every host."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadInput(
                f"{path}: is not a regular file (but a folder, a pipe or a device); expected a file, because it is read more than once"
            )
        return open(path, "rb")
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{path}: cannot be read ({reason}); every host needs this file at this path") from error


def read_file(path: str | Path) -> bytes:
    with open_file(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror}); every host needs this file at this path") from error


def sha256_of(path: str | Path) -> str:
    with open_file(path) as file:
        try:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
            return digest.hexdigest()
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror}); every host needs this file at this path") from error
