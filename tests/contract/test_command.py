"""How every command ends on arguments that it refuses."""

from __future__ import annotations

import pytest

from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.exit_codes import Exit


def test_arguments_that_are_refused_are_one_line_and_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    parser = command_parser("export", "Writes tables.", ["results/NAME"])
    parser.add_argument("--format", choices=("csv", "parquet"))

    def main() -> int:
        parser.parse_args(["--format", "x\nls"])
        return 0

    assert run_command(main) == Exit.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: argument --format: invalid choice")
    assert line.endswith("; `locust-kvcache export --help` lists what there is")
