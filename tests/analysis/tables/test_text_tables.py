"""Tables in Markdown."""

from __future__ import annotations

import pytest

from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.analysis.tables.text_tables import markdown


@pytest.mark.parametrize(("title", "first"), [("Runs", "### Runs"), ("", "| run | users |")])
def test_a_table_without_a_title_has_no_empty_heading(title: str, first: str) -> None:
    lines = markdown(Table(title, ("run", "users"), (("a_1", "4"),), "")).splitlines()
    assert lines[0] == first
    assert "| a\\_1 | 4 |" in lines
    assert "###" not in "".join(lines[1:])
