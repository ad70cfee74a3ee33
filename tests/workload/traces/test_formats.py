"""Every format of traces: its example is recognised and read, what it cannot tell is said, and bad values are named with file and line."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.traces.formats import FORMATS
from locust_kvcache.workload.traces.loading import NO_PREFIXES, load_rows
from locust_kvcache.workload.traces.replay import replay_scenario
from locust_kvcache.workload.traces.rows import TraceRows
from locust_kvcache.workload.traces.source import TraceSource
from tests.conftest import ROOT

BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def read(path: Path, content: str | bytes, **changes: Any) -> TraceRows:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_rows(TraceSource(str(path), keep_bursts=True, **changes))


def row(at: Any = 0, tokens: Any = 500, output: Any = 4, ids: Any = (1,), **more: Any) -> dict[str, Any]:
    return {"timestamp": at, "input_length": tokens, "output_length": output, "hash_ids": list(ids), **more}


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in rows)


def shared(rows: TraceRows, path: Path, **changes: Any) -> list[int]:
    plan = dry_plan(replay_scenario(TraceSource(str(path), **changes)), 1)
    return [turn.shared_tokens for turn in plan.turns]


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_each_example_is_read_as_its_format_and_stands_in_the_docs(tmp_path: Path, one: Any) -> None:
    header = {"burstgpt": BURSTGPT, "azure": AZURE}.get(one.name, "")
    found = read(tmp_path / "example", header + one.example + "\n")
    assert found.notes[0].startswith(f"format {one.name}, ")
    assert found.block_size == one.block_size
    docs = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
    assert f"| {one.name} | {one.recognised_by} | `{one.example}` |" in docs


def test_blocks_of_another_size_are_named_and_read_by_the_option(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    text = lines(row(0, 40, 4, [7, 8, 9]), row(90_000, 48, 4, [7, 8, 10]))
    with pytest.raises(
        BadInput, match=r"line 1: key 'hash_ids' has 3 ids; expected 1 for 40 .* blocks of 16: --trace-block-size 16"
    ):
        read(path, text)
    found = read(path, text, block_size=16)
    assert [len(found.blocks(number)) for number in (0, 1)] == [3, 3]
    assert shared(found, path, block_size=16) == [0, 32]  # two whole blocks of 16
    scaled = read(path, text, block_size=16, block_tokens=8)
    assert list(scaled.input_tokens) == [20, 24]


def test_string_ids_and_numbers_beyond_64_bits_share_where_they_are_equal(tmp_path: Path) -> None:
    path, rows = (
        tmp_path / "t.jsonl",
        [row(0, 600, 4, ["a3f9", "b"]), row(9e4, 700, 4, ["a3f9", "c"]), row(18e4, 512, 4, [2**70])],
    )
    rows += [row(27e4, 513, 4, [2**70, 1]), row(36e4, 512, 4, [str(2**70)]), row(45e4, 512, 4, [2**64 - 1])]
    assert shared(read(path, lines(*rows)), path) == [0, 512, 0, 512, 0, 0]


def test_a_block_counts_as_shared_only_behind_the_same_blocks(tmp_path: Path) -> None:
    """Ids that are hashes of the block alone: 2 behind 9 is another prefix than 2 behind 1, and 1 1 begins like 1 2 for one block."""
    path = tmp_path / "t.jsonl"
    rows = [row(at * 9e4, 1024, 4, ids) for at, ids in enumerate(([1, 2], [9, 2], [1, 1], [9, 2]))]
    assert shared(read(path, lines(*rows)), path) == [0, 0, 512, 1024]


def test_an_array_gzip_a_mark_and_line_ends_of_windows_are_read_alike(tmp_path: Path) -> None:
    rows = [row(at * 9e4, 600, 4, [1, at]) for at in range(3)]
    plain = lines(*rows)
    forms = {
        "array": json.dumps(rows, indent=1).encode(), "gzip": gzip.compress(plain.encode()), "mark": b"\xef\xbb\xbf" + plain.encode(),
        "windows": plain.replace("\n", "\r\n").encode(), "utf16": plain.encode("utf-16"), "empty lines": b"\n\n" + plain.encode() + b"\n",
        "array.gz": gzip.compress(json.dumps(rows).encode()),
    }  # fmt: skip
    expected = list(read(tmp_path / "plain", plain))
    for name, content in forms.items():
        assert list(read(tmp_path / name, content)) == expected, name


@pytest.mark.parametrize(
    ("text", "due_s", "tokens"),
    [
        (BURSTGPT + "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,1087,230,1317,API log\n", [0, 40], [472, 1087]),
        (AZURE + "2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109", [0, 4.314], [374, 396]),
        (AZURE.replace(",", ";") + "2023-11-16 18:15:46;374;44\n2023-11-16 18:15:47,5;396;109", [0, 1.5], [374, 396]),
        (BURSTGPT.replace(",", "\t") + "5\tChatGPT\t472\t18\t490\tx, y\n", [0], [472]),
        (AZURE + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01.009930+00:00,2399,6\n", [0, 1], [2162, 2399]),
        (
            "Response tokens,Timestamp,Session ID,Elapsed time,Model,Request tokens\n7,3,a,1,m,9\n",
            [0],
            [9],
        ),  # other columns beside
    ],
)
def test_lengths_without_prefixes_are_replayed_as_new_prompts(
    tmp_path: Path, text: str, due_s: list[float], tokens: list[int]
) -> None:
    path = tmp_path / "t.csv"
    found = read(path, text)
    assert list(found.due_s) == pytest.approx(due_s, abs=0.002)
    assert list(found.input_tokens) == tokens
    assert (found.prefixes, NO_PREFIXES in found.notes) == ("none", True)
    assert shared(found, path) == [0] * len(tokens)
    blocks = [block for number in range(len(found)) for block in found.blocks(number)]
    assert len(blocks) == len(set(blocks))


def test_requests_that_the_recorded_service_failed_are_left_out_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path / "t.csv", BURSTGPT + "5,ChatGPT,472,0,472,API log\n6,ChatGPT,10,2,12,API log\n")
    assert list(found.input_tokens) == [10]
    assert "1 rows without response tokens are left out: the recorded service failed" in found.notes
    with pytest.raises(BadInput, match=r"holds no request \(1 without an answer\)"):
        read(tmp_path / "t.csv", BURSTGPT + "5,ChatGPT,472,0,472,API log\n")


def test_rows_of_aiperf_are_read_and_what_is_made_of_them_is_said(tmp_path: Path) -> None:
    """600 words of one letter are two blocks of 512 estimated tokens; the second text goes on where the first ends at 512."""
    path, text = tmp_path / "t.jsonl", "a b " * 300
    session = {"session_id": "s", "output_length": 4, "input_length": 600, "hash_ids": [5, 6]}
    rows = [
        {"timestamp": 100_000, "input_length": 300, "output_length": 4},
        {"timestamp": 200_000, "text_input": text, "output_length": 4},
        {"timestamp": 300_000, "messages": [{"role": "user", "content": "hi"}], "output_length": 0},
        {"timestamp": 400_000, "text_input": text + "c", "output_length": 4},
        session,
        {**session, "delay": 250},
    ]
    found = read(path, lines(*rows))
    assert list(found.due_s) == [0, 0, 0.25, 100, 200, 300]
    assert shared(found, path) == [0, 0, 600, 0, 0, 512]
    told = " ".join(found.notes)
    for said in (
        "1 of 6 rows have no hash_ids",
        "1 of 6 rows have an output length of 0",
        "3 of 6 rows have text",
        "2 of 6 rows have a session",
    ):
        assert said in told
    assert found.prefixes == "some"


def test_a_row_of_a_delta_session_goes_on_where_the_session_was(tmp_path: Path) -> None:
    """600 estimated tokens and the role's one; the second row is them and its own, and shares the first block of 512."""
    first, second = [{"role": "user", "content": "a b " * 300}], [{"role": "user", "content": "c"}]
    more = {"session_id": "s", "message_mode": "delta", "output_length": 4}
    path = tmp_path / "t.jsonl"
    rows = [
        {"timestamp": 0, "messages": first, **more},
        {"delay": 90_000, "messages": second, **more},
        {"timestamp": 180_000, "payload": {"messages": second}, "output_length": 4},
    ]
    found = read(path, lines(*rows))
    assert list(found.input_tokens) == [601, 603, 2]
    assert shared(found, path) == [0, 512, 0]
    assert any(note.startswith("1 of 3 rows carry only what is new of their session") for note in found.notes)


def test_rows_that_are_not_in_order_are_sorted_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path / "t.jsonl", lines(row(180_000, 30), row(0, 10), row(90_000, 20)))
    assert list(found.input_tokens) == [10, 20, 30]
    assert "1 of 3 rows are earlier than the row before them: all are sorted by time" in found.notes


def test_dates_count_from_the_first_row(tmp_path: Path) -> None:
    dated = read(
        tmp_path / "t.jsonl", lines(row("2026-05-01T10:00:00Z", 10), row("2026-05-01T12:01:00.5+02:00", 20)), time_unit="ms"
    )
    assert (list(dated.due_s), dated.notes[0]) == ([0, 60.5], "format mooncake, dates, blocks of 512 tokens")
    since_1970 = read(tmp_path / "t.jsonl", lines(row(1_700_000_000, 10), row(1_700_000_100, 20)))
    assert list(since_1970.due_s) == [0, 100]
    assert any("seconds since 1970" in note for note in since_1970.notes)
    with pytest.raises(BadInput, match="line 2: key 'timestamp' is 5; expected a date and time"):
        read(tmp_path / "t.jsonl", lines(row("2026-05-01T10:00:00Z"), row(5)))
    found = read(tmp_path / "t.jsonl", lines(row(1.7e9 + 0.25, 10), row(1.7e9 + 100.25, 20)), time_unit="s")
    assert list(found.due_s) == [0, 100]
    assert len(read(tmp_path / "t.jsonl", lines(row(1.7e9, 10), row(1.7e9 + 100, 20)), time_unit="s", stop_s=60.0)) == 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("timestamp", float("nan"), "key 'timestamp' is nan; expected a number of seconds or ms"),
        ("timestamp", "noon", "key 'timestamp' is 'noon'"),
        ("timestamp", None, "key 'timestamp' is missing"),
        (
            "timestamp",
            1_700_000_000_000_000,
            "key 'timestamp' is 1700000000000000; expected a number of seconds or ms as the first one, 0",
        ),  # microseconds
        ("input_length", -5, "key 'input_length' is -5; expected a whole number of tokens from 1 to 10,000,000"),
        ("input_length", 10**12, "key 'input_length' is 1000000000000"),
        ("input_length", 10**400, "key 'input_length' is a number beyond 64 bits"),
        ("input_length", 2.5, "key 'input_length' is 2.5"),
        ("input_length", float("inf"), "key 'input_length' is inf"),
        ("output_length", None, "key 'output_length' is missing"),
        ("output_length", True, "key 'output_length' is True"),
        ("output_length", {}, "key 'output_length' is {}"),
        ("hash_ids", [1.5], "key 'hash_ids' has 1.5; expected whole numbers or strings"),
        ("hash_ids", [True], "key 'hash_ids' has True"),
        ("hash_ids", [[]], "key 'hash_ids' has []"),
        ("hash_ids", "abc", "key 'hash_ids' is 'abc'; expected a list"),
        ("hash_ids", [], "key 'hash_ids' has 0 ids; expected 1"),
    ],
)
def test_a_bad_value_is_named_with_its_line(tmp_path: Path, key: str, value: Any, said: str) -> None:
    path = tmp_path / "t.jsonl"
    with pytest.raises(BadInput) as caught:
        read(path, lines(row(), {**row(9e4), key: value}))
    assert str(caught.value).startswith(f"{path}: line 2: {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no request; expected an object with timestamp"),
        (b"[]", "holds no request"),
        (b"\xef\xbb\xbf\n", "holds no request"),
        (b"a,b\n1,2\n", "line 1 is 'a,b'; expected an object with timestamp, input_length, output_length, hash_ids, or a CSV"),
        (AZURE.encode() + b"2023-11-16 18:15:46,374\n", "line 2 has 2 columns; expected 3: TIMESTAMP"),
        (AZURE.encode() + b"yesterday,374,1\n", "line 2: key 'TIMESTAMP' is 'yesterday'; expected a number of seconds or ms"),
        (AZURE.encode() + b"2023-11-16 18:15:46,many,1\n", "line 2: key 'ContextTokens' is 'many'"),
        (lines(row()).encode() + b'{"timestamp": \xe9}\n', "line 2: byte 15 is 0xe9, which is not UTF-8"),
        (b'[{"timestamp": \xe9}]', "line 1: byte 16 is 0xe9, which is not UTF-8"),
        (b"[\n1\n]", "line 2 is '1'; expected an object with"),
        (b'[\n{"timestamp": 0,\n]', "line 2 is not JSON"),
        (b"[" * 100_000, "line 1 is nested too deeply"),
        (b'{"a":' * 100_000, "line 1 is nested too deeply"),
        (lines(row()).encode() + b"\n[1]\n", "line 3 is '[1]'"),
        (b"\x1f\x8b\x08\x00broken", "cannot be read"),
        (gzip.compress(lines(*[row(at) for at in range(5000)]).encode())[:-400], "cannot be read"),
        (b"\x28\xb5\x2f\xfd....", "is compressed by zstd"),
        (b"PAR1....", "is a Parquet file"),
        (b"\xff\xfea", "line 1 is not UTF-16"),
        ("{".encode("utf-16-le"), "line 1 is not JSON"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # not the bytes: gzip's hold the time
)  # fmt: skip
def test_a_file_that_is_no_trace_is_refused_in_a_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "t"
    with pytest.raises(BadInput) as caught:
        read(path, content)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_pipe_are_no_trace(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(BadInput, match="is not a regular file"):
            load_rows(TraceSource(str(path)))
    with pytest.raises(BadInput, match=r"cannot be read \(No such file or directory\)"):
        load_rows(TraceSource(str(tmp_path / "none")))
