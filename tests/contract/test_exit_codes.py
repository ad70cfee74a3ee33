"""One table of exit codes: each cause once, the page says the same, and the gravest cause decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.contract import exit_codes
from locust_kvcache.contract.command import command_parser
from locust_kvcache.contract.exit_codes import CAUSES, SEVERITY, Cause, Exit, cause_named, help_text, worst

ROOT = Path(__file__).resolve().parents[2]


def test_each_cause_stands_once_and_has_its_rank() -> None:
    assert len({cause.name for cause in CAUSES}) == len(CAUSES)
    assert set(SEVERITY) == set(CAUSES) - {exit_codes.PREFLIGHT}
    assert {cause.code for cause in CAUSES} == set(Exit)
    assert all(cause_named(cause.name) is cause for cause in CAUSES)


@pytest.mark.parametrize(
    ("name", "code"),
    [("ok", 0), ("target missed", 1), ("incomplete", 2), ("not comparable", 2), ("nothing could be judged", 2), ("bad input", 3)],
)
def test_codes_that_scripts_rely_on_stay(name: str, code: int) -> None:
    assert cause_named(name).code == code


@pytest.mark.parametrize(
    ("causes", "wanted"),
    [
        ([], exit_codes.OK),
        ([exit_codes.TARGET_MISSED, exit_codes.OK], exit_codes.TARGET_MISSED),
        ([exit_codes.TARGET_MISSED, exit_codes.NOTHING_HIT], exit_codes.NOTHING_HIT),
        ([exit_codes.FAILURES, exit_codes.INCOMPLETE], exit_codes.INCOMPLETE),
        ([exit_codes.INCOMPLETE, exit_codes.CLIENT_LATE], exit_codes.CLIENT_LATE),
    ],
)
def test_the_gravest_cause_decides(causes: list[Cause], wanted: Cause) -> None:
    assert worst(causes) is wanted


def test_the_page_and_the_help_say_what_the_table_says() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    for cause in CAUSES:
        assert f"| {cause.code:d} | {cause.name} | {cause.text} | {cause.without_gate} |" in page
        assert f"  {cause.code:d}  {cause.name}: " in help_text()


def test_the_help_of_a_command_lists_only_the_codes_that_it_can_end_with() -> None:
    plain = command_parser("oracle", "Computes.", ["FILE"]).format_help()
    assert "  0  ok: " in plain
    assert "  3  bad input: " in plain
    assert "target missed" not in plain
    assert "--gate" not in plain
    gated = command_parser("report", "Reports.", ["RUN"], exit_codes.OF_REPORTS).format_help()
    assert "  5  nothing hit: " in gated
    assert "preflight" not in gated
    assert "locust-kvcache doctor\n" in command_parser("doctor", "Checks.", [""]).format_help()
