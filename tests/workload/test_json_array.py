"""A JSON array cut into items, however it is read: the items are those of Python's own reader."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.workload import json_array
from locust_kvcache.workload.json_array import ArrayCutter, Item
from tests.samples import examples

TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(['"', "\\", '\\"', "]", "[{", "\n", ",", "é"])
VALUE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8,
)  # fmt: skip


def cut(data: bytes) -> tuple[list[Item], ArrayCutter]:
    cutter = ArrayCutter(io.BytesIO(data).read, lambda size: None)
    return list(cutter.items()), cutter


@given(st.lists(VALUE, max_size=5), st.sampled_from([None, 1]), st.booleans(), st.integers(1, 9))
@examples(300)
def test_items_are_those_of_the_whole(values: list[Any], indent: int | None, plain: bool, piece: int) -> None:
    text = "\n " + json.dumps(values, indent=indent, ensure_ascii=plain) + "\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "READ_BYTES", piece)
        items, cutter = cut(text.encode())
        assert cutter.ends_here()
    assert [json.dumps(json.loads(item.raw)) for item in items] == [json.dumps(value) for value in values]
    lines = text.encode().split(b"\n")
    for item in items:
        assert lines[item.line - 1][item.before :].startswith(item.raw.split(b"\n")[0])


def test_a_long_item_is_read_in_few_pieces() -> None:
    asked: list[int] = []
    file = io.BytesIO(b'["' + b"x" * (40 << 20) + b'", 1]')

    def read(count: int) -> bytes:
        asked.append(count)
        return file.read(count)

    assert len(list(ArrayCutter(read, lambda size: None).items())) == 2
    assert len(asked) <= 8  # twice as much each time


def test_what_is_held_is_a_piece_and_not_the_file() -> None:
    held: list[int] = []
    cutter = ArrayCutter(io.BytesIO(b"[" + b'{"a": "b"},' * (1 << 20) + b"1]").read, held.append)
    assert sum(1 for _ in cutter.items()) == (1 << 20) + 1
    assert max(held) < json_array.READ_BYTES + 100
