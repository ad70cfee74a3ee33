"""Which requests have their record: a set of small numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.loadgen.run.index_set import IndexSet


@given(st.lists(st.integers(0, 5000)))
def test_it_is_a_set(indices: list[int]) -> None:
    found = IndexSet()
    new = [found.add(index) for index in indices]
    assert sum(new) == len(found) == len(set(indices))
    assert found == set(indices)
    assert all(index in found for index in indices)
    assert 5001 not in found
    assert -1 not in found
