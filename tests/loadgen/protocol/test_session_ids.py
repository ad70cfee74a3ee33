"""Session numbers: packed and unpacked unchanged, small on the wire, and taken from the front in plan order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.loadgen.protocol.session_ids import SessionLine, pack, unpack


@given(st.lists(st.integers(0, 2**31 - 1)))
def test_they_come_back_as_they_were(ids: list[int]) -> None:
    assert unpack(pack(sorted(ids))).tolist() == sorted(ids)


def test_a_large_deal_is_a_small_message() -> None:
    assert len(pack([n for n in range(500_000) if n % 7 in (0, 3, 4)])) < 10_000


def test_a_line_gives_from_the_front_and_keeps_plan_order() -> None:
    line = SessionLine([1, 4, 6])
    assert line.take(1) == [1]
    line.add([2, 5])
    assert (list(line), len(line), line[0], line[3]) == ([2, 4, 5, 6], 4, 2, 6)
    assert line.drop([2, 4])
    assert not line.drop([6])  # not at the front
    assert list(line) == [5]
    assert line.take(9) == [5]
    line.clear()
    assert len(line) == 0
