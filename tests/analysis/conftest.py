from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable

import pytest

from locust_kvcache.contract.command import run_command


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python -m MODULE ARGS` without the seconds of a new process; test_commands.py starts one real process too."""

    def run(module: str, *args: object) -> subprocess.CompletedProcess[str]:
        name = "analysis.__main__" if module == "analysis" else module
        argv = [module, *map(str, args)]
        monkeypatch.setattr("sys.argv", argv)
        capsys.readouterr()
        code = run_command(importlib.import_module(name).main)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(argv, code, printed.out, printed.err)

    return run
