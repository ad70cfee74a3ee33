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


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--fromat", "csv"], "unrecognized arguments: --fromat csv; did you mean --format?"),
        (["--fromat=csv"], "unrecognized arguments: --fromat=csv; did you mean --format?"),
        (["--zzz"], "unrecognized arguments: --zzz; `locust-kvcache export --help` lists what there is"),
        (["word"], "unrecognized arguments: word; `locust-kvcache export --help` lists what there is"),
    ],
)
def test_a_slip_in_an_option_names_the_option_that_was_meant(
    typed: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = command_parser("export", "Writes tables.", ["results/NAME"])
    parser.add_argument("--format", choices=("csv", "parquet"))
    with pytest.raises(SystemExit):
        parser.parse_args(typed)
    assert capsys.readouterr().err == f"error: {says}\n"
