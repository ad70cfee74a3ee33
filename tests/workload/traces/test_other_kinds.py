"""Kinds of trace files beside the published ones: units of time, CSVs of spreadsheets, texts under other names, files that are no text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.traces.loading import load_rows
from locust_kvcache.workload.traces.rows import TraceRows
from locust_kvcache.workload.traces.source import TraceSource

AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = b"Timestamp,Model,Request tokens,Response tokens\n"


def read(path: Path, content: bytes | list[dict[str, Any]], **changes: Any) -> TraceRows:
    data = content if isinstance(content, bytes) else "".join(json.dumps(one) + "\n" for one in content).encode()
    (path / "t").write_bytes(data)
    return load_rows(TraceSource(str(path / "t"), **changes))


def row(at: Any, tokens: int = 500, **more: Any) -> dict[str, Any]:
    return {"timestamp": at, "input_length": tokens, "output_length": 4, **more}


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_times_since_1970_are_read_in_the_unit_of_our_days(tmp_path: Path, unit: str, factor: int) -> None:
    begun = 1_715_299_200
    rows = read(tmp_path, [row((begun + at) * factor) for at in (0, 7, 20)])
    assert list(rows.due_s) == [0, 7, 20]
    assert rows.time_unit == unit
    times = BURST + b"".join(b"%d,m,5,4\n" % ((begun + at) * factor) for at in (0, 7, 20))  # of a format in s
    assert list(read(tmp_path, times).due_s) == [0, 7, 20]
    logged = [{"start_time": (begun + at) * factor, "end_time": (begun + at + 2) * factor, "session_id": "a", "usage":
               {"completion_tokens": 4}, "messages": [{"role": "user", "content": "Why?"}]} for at in (0, 7)]  # fmt: skip
    assert list(read(tmp_path, logged).wait_s) == [0, 5]


def test_microseconds_from_zero_are_doubted_and_read_by_the_option(tmp_path: Path) -> None:
    file = [row(at * 10**6) for at in range(60)]
    assert "60 requests span 16.4 h" in str(read(tmp_path, file).warning)
    rows = read(tmp_path, file, time_unit="us")
    assert (rows.due_s[-1], rows.warning) == (59, None)


def test_rows_of_two_units_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"t: line 2: key 'timestamp' is 1715299200000000; .* as the first one, 1715299200 "):
        read(tmp_path, [row(1_715_299_200), row(1_715_299_200_000_000)])
    with pytest.raises(BadInput, match=r"t: its times go from 0 to 1715299200000 ms, which is over 32 years"):
        read(tmp_path, [row(0), row(1_715_299_200_000)])


@pytest.mark.parametrize("begun", [0, 1_715_299_200, 1_715_299_200_000, "2024-05-10T00:00:00Z"])
def test_a_delay_is_in_ms_whatever_the_times_are(tmp_path: Path, begun: Any) -> None:
    rows = read(tmp_path, [row(begun, session_id="a"), {**row(None, session_id="a"), "delay": 250}])
    assert (list(rows.due_s), list(rows.wait_s)) == ([0, 0.25], [0, 0.25])


def test_times_since_1970_are_not_doubted_and_a_sessions_gaps_stay_seconds(tmp_path: Path) -> None:
    begun = 1_715_299_200_000
    assert read(tmp_path, [row(begun), row(begun + 500)]).warning is None
    asked = {"type": "n", "in": 100, "out": 9}
    session = {"id": "a", "requests": [{"t": begun, **asked}, {"t": begun + 9000, "think_time": 4, **asked}]}
    rows = read(tmp_path, [session])
    assert (list(rows.due_s), list(rows.wait_s)) == ([0, 9], [0, 4])


def test_two_sessions_with_one_id_are_two(tmp_path: Path) -> None:
    asked = {"type": "n", "in": 64, "out": 9, "hash_ids": [1]}
    rows = read(tmp_path, [{"id": "a", "requests": [{"t": 0, **asked}, {"t": 5, **asked}]}] * 2)
    assert list(rows.sessions) == [0, 2, 4]
    assert rows[0].blocks == rows[1].blocks != rows[2].blocks == rows[3].blocks


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2023-11-16 18:15:46.680590 UTC", "2023-11-16 18:15:56.680590 UTC"),
        ("2023/11/16 18:15:46", "2023/11/16 18:15:56"),
        ("2023-11-16t18:15:46z", "2023-11-16T20:15:56+02:00"),
        ("1900-01-01 18:15:46", "1900-01-01 18:15:56"),
    ],
)
def test_dates_as_data_bases_and_spreadsheets_write_them(tmp_path: Path, first: str, second: str) -> None:
    assert list(read(tmp_path, AZURE + f"{first},5,4\n{second},6,4\n".encode()).due_s) == [0, 10]
    with pytest.raises(BadInput, match="line 2: key 'TIMESTAMP' is '11/12/2023 18:15:46'"):
        read(tmp_path, AZURE + b"11/12/2023 18:15:46,5,4\n")


def test_rows_far_apart_are_no_steps(tmp_path: Path) -> None:
    """Two rows at one time and one a minute later: nothing says that the first two were half a minute apart."""
    assert list(read(tmp_path, [row(0), row(0), row(60_000)]).due_s) == [0, 0, 60]


def test_sessions_begin_when_the_file_says(tmp_path: Path) -> None:
    """The first row of a session without a time: at the file's first."""
    rows = read(tmp_path, [row(0), row(500), row(None, session_id="a"), {**row(None, session_id="a"), "delay": 250}])
    assert sorted(rows.due_s) == [0, 0, 0.25, 0.5]


def test_cells_in_quotes_may_have_line_ends_and_rows_may_be_empty(tmp_path: Path) -> None:
    table = BURST + b'5,"Chat\n, ""GPT""\n\n",472,18\n,,,\n9,"GPT",10,2\n'
    rows = read(tmp_path, table)
    assert (list(rows.due_s), list(rows.input_tokens), list(rows.output_tokens)) == ([0, 4], [472, 10], [18, 2])
    with pytest.raises(BadInput, match="t: line 2: a cell's quote begins and does not end in 100 lines"):
        read(tmp_path, BURST + b'5,"Chat,472,18\n' + b"9,GPT,10,2\n" * 200)
    with pytest.raises(BadInput, match="t: line 3: a cell's quote begins and does not end in 1 lines"):
        read(tmp_path, BURST + b'9,GPT,10,2\n5,"Chat,472,18\n')


MESSAGES = [{"role": "user", "content": "one two"}]


@pytest.mark.parametrize(
    "more",
    [
        {"text": "one two three", "output_length": 7},
        {"texts": ["one two", "three"], "output_length": 7},
        {"texts": [{"name": "text", "contents": ["one two three"]}], "max_tokens": 7},
        {"messages": MESSAGES, "max_tokens": 7},
        {"payload": {"messages": MESSAGES, "max_completion_tokens": 7}},
        {"payload": [{"messages": MESSAGES, "max_tokens": 7}]},
        {"payload": {"prompt": "one two three", "max_tokens": 7}},
        {"messages": MESSAGES, "created": 5, "max_completion_tokens": 7},
    ],
)
def test_texts_and_answers_lengths_under_other_names(tmp_path: Path, more: dict[str, Any]) -> None:
    rows = read(tmp_path, [{"timestamp": 0, **more}])
    assert (list(rows.input_tokens), list(rows.output_tokens)) == ([3], [7])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xfd7zXZ\x00....", "is compressed by xz; expected text, or text compressed by gzip (xz -d unpacks it)"),
        (b"BZh91AY&SY", "is compressed by bzip2"),
        (gzip.compress(b"PAR1...."), "holds a Parquet file"),
        (gzip.compress(gzip.compress(AZURE)), "holds what gzip has compressed twice"),
        (b"\n <!DOCTYPE html><html>Log in</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "is a pointer of Git LFS"),
        (AZURE.decode().encode("utf-16-le"), "is text in UTF-16 without a byte order mark"),
        (AZURE.decode().encode("utf-16-be"), "(iconv -f UTF-16BE -t UTF-8 converts it)"),
        (b'{"data": [{"timestamp": 0}]}', "its rows may be those in key 'data'"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)  # fmt: skip
def test_a_file_of_another_kind_is_named_with_a_way_out(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, content)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_value_in_a_session_of_weka_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^[^:]*t: line 1: key 'in' is 'many'; expected a whole number"):
        read(tmp_path, [{"id": "a", "requests": [{"t": 0, "type": "n", "in": "many", "out": 1}]}])
