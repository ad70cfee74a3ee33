"""Data files in bounded memory: a small archive may hold more than any memory does."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload import data_files
from locust_kvcache.workload.data_files import entries
from locust_kvcache.workload.regular_files import open_file


def read(path: Path, content: bytes) -> list[bytes]:
    path.write_bytes(content)
    with open_file(path) as file:
        return [entry.raw for entry in entries(path, file, "rows")]


def test_a_line_an_item_or_an_object_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "LINE_BYTES", 1 << 20)
    monkeypatch.setattr(data_files, "WHOLE_BYTES", 3 << 20)
    path = tmp_path / "t"
    row = b"x" * (1 << 20)
    assert read(path, row) == [row]
    assert len(read(path, (row[1:] + b"\n") * 5)) == 5  # of lines, as many as there are
    with pytest.raises(BadInput, match=r"t: line 2 is longer than 1 MB; expected one row per line"):
        read(path, gzip.compress(b"y\n" + b"x" * (9 << 20)))
    assert len(read(path, gzip.compress(b"[\n" + b"1,\n" * (1 << 20) + b"1]"))) == (1 << 20) + 1  # of items too
    with pytest.raises(BadInput, match=r"t: line 2: an item is longer than 1 MB; expected an array of rows"):
        read(path, gzip.compress(b'[\n"' + b"x" * (9 << 20) + b'"]'))
    with pytest.raises(BadInput, match=r"t: has more than 3 MB that must be read at once; expected UTF-8 with one row per line"):
        read(path, gzip.compress("1\n".encode("utf-16") * (1 << 20)))


@pytest.mark.parametrize("value", [b"NaN", rb'"\ud83d"'])
def test_one_object_over_several_lines_may_hold_what_a_line_may(tmp_path: Path, value: bytes) -> None:
    """So that it is the value that is refused, with its key, and not the first line."""
    path = tmp_path / "t"
    path.write_bytes(b'{\n "a":\n ' + value + b"\n}\n")
    with open_file(path) as file:
        [entry] = entries(path, file, "rows")
    assert list(entry.json("rows")) == ["a"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b'[\n{"a": 1},\n {"b": }]',
            "t: line 3 is not JSON (Expecting value: line 1 column 7 (char 6)): '{\"b\": }'; ",
        ),
        (b'[{"a": 1},\n', "t: line 2 is not JSON (the array has no end); expected an array of rows"),
        (b'[{"a": 1', "t: line 1 is not JSON (Expecting ',' delimiter"),
        (b'[{"a": 1]]', "t: line 1 is not JSON (Expecting ',' delimiter"),
        (b"[}]", "t: line 1 is not JSON (Expecting value"),
        (
            b'[\n1]\n{"a": 1}',
            "t: line 3: something follows the end of the JSON array; expected one array, or one object per line",
        ),
        (b'[{"a": 1,\n "b": "\xe9"}]', "t: line 2: byte 8 is 0xe9, which is not UTF-8"),
        (b'[1, {"a": "\xe9"}]', "t: line 1: byte 12 is 0xe9, which is not UTF-8"),
        (b"[" * 100_000, "t: line 1 is nested too deeply"),
    ],
)
def test_where_an_array_is_wrong(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "t", content)
    assert told in str(caught.value)


def test_an_archive_that_is_cut_within_an_array(tmp_path: Path) -> None:
    rows = b"[\n" + b",\n".join(b'"%06d"' % number for number in range(100_000)) + b"]"
    with pytest.raises(BadInput, match=r"t: line \d+ cannot be read \(.+\); the file is damaged or cut"):
        read(tmp_path / "t", gzip.compress(rows)[:-2000])


def test_an_array_is_found_behind_much_white_space(tmp_path: Path) -> None:
    assert len(read(tmp_path / "t", b"\xef\xbb\xbf" + b"\n" * (3 << 20) + b"[1,\n2]\n")) == 2
