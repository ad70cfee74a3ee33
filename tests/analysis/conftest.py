from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m MODULE ARGS` as a user would, from the root of the checkout."""

    def run(module: str, *args: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "mpl")}
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, args)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    return run
