"""Data files in bounded memory: a small archive may hold more than any memory does."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload import data_files
from locust_kvcache.workload.data_files import entries, open_file


def read(path: Path, content: bytes) -> list[bytes]:
    path.write_bytes(content)
    with open_file(path) as file:
        return [entry.raw for entry in entries(path, file, "rows")]


def test_a_line_or_an_array_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "LINE_BYTES", 1 << 20)
    monkeypatch.setattr(data_files, "WHOLE_BYTES", 3 << 20)
    path = tmp_path / "t"
    row = b"x" * (1 << 20)
    assert read(path, row) == [row]
    assert len(read(path, (row[1:] + b"\n") * 5)) == 5  # of lines, as many as there are
    with pytest.raises(BadInput, match=r"t: line 2 is longer than 1 MB; expected one row per line"):
        read(path, gzip.compress(b"y\n" + b"x" * (9 << 20)))
    with pytest.raises(BadInput, match=r"t: has more than 3 MB that must be read at once; expected UTF-8 with one row per line"):
        read(path, gzip.compress(b"[\n" + b"1,\n" * (1 << 20) + b"1]"))


@pytest.mark.parametrize("value", [b"NaN", rb'"\ud83d"'])
def test_one_object_over_several_lines_may_hold_what_a_line_may(tmp_path: Path, value: bytes) -> None:
    """So that it is the value that is refused, with its key, and not the first line."""
    path = tmp_path / "t"
    path.write_bytes(b'{\n "a":\n ' + value + b"\n}\n")
    with open_file(path) as file:
        [entry] = entries(path, file, "rows")
    assert list(entry.json("rows")) == ["a"]
