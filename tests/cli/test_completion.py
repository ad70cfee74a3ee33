"""What the shell is offered, asked as argcomplete's shell function asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("locust-kvcache wo", {"working-set"}),
        ("locust-kvcache run co", {"code_generation", "cold_start"}),
        ("locust-kvcache run cold_start --prompt", {"--prompt-tokens"}),
        ("locust-kvcache run cold_start --arrival po", {"poisson"}),
    ],
)
def test_it_offers_commands_scenarios_options_and_choices(typed: str, offered: set[str], tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": typed,
             "COMP_POINT": str(len(typed)), "PYTHONPATH": str(ROOT)}  # fmt: skip
    subprocess.run([sys.executable, "-m", "locust_kvcache"], cwd=tmp_path, env={**os.environ, **asked}, timeout=60, check=False)
    assert {word.strip() for word in answer.read_text().split("\n")} - {""} == offered
