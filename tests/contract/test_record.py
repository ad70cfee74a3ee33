"""A record is one JSON line, whatever a server wrote."""

from __future__ import annotations

import json

import pytest

from locust_kvcache.contract.record import FIELDS, Record


def test_a_record_is_one_json_line_with_every_field() -> None:
    record = Record("run", "d", "m", "s", 1, 0, 0, 1, "w", error='line\nbreak "quoted"')
    line = record.to_json()
    assert "\n" not in line
    parsed = json.loads(line)
    assert tuple(parsed) == FIELDS
    assert parsed["ttft_ms"] is None
    assert parsed["error"] == record.error


def test_a_record_with_half_a_character_or_a_line_separator_is_one_line_that_can_be_written() -> None:
    line = Record("run", "d", "m", "s", 1, 0, 0, 1, "w", error="half \ud83d, \u2028 and \x85").to_json()
    assert json.loads(line.encode())["error"] == "half ?, \u2028 and \x85"
    assert "\n" not in line


def test_a_record_never_holds_what_json_cannot() -> None:
    with pytest.raises(ValueError, match="not finite"):
        Record("run", "d", "m", "s", 1, 0, 0, 1, "w", ttft_ms=float("nan")).to_json()
