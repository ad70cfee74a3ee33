"""Has the folders of ended runs copied to where --upload says, in a process of its own: libraries of object stores need threads and a
loop that gevent's patches disturb."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from locust_kvcache.contract.errors import BadInput

MODULE = "locust_kvcache.cli.upload"


def check_upload(url: str) -> None:
    """BadInput before any load is sent if nothing can be written there."""
    code, text = _started("--check", "--to", url)
    if code:
        raise BadInput(f"--upload: {text.removeprefix('error: ')}")


def uploaded(folders: Sequence[Path], url: str) -> tuple[int, str]:
    """The exit code of the upload, and what it says."""
    return _started(*map(str, folders), "--to", url)


def pages_since(folder: Path, began_s: float) -> list[Path]:
    """The pages about several runs that a study has just written beside its runs."""
    return sorted(page.parent for page in folder.glob("*/report.html") if page.stat().st_mtime >= began_s - 1)


def _started(*words: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", MODULE, *words], capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()
