"""What a study writes is on the disk before its answer is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.report import publish as module
from locust_kvcache.analysis.report.page import Page


def test_a_reader_that_closes_the_output_early_loses_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`locust-kvcache load-effect ... | head -3`: the first line that nobody reads raises BrokenPipeError."""

    def closed(*texts: Any, **how: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    page = Page(
        title="t",
        subtitle="s",
        lead="l",
        details=(),
        answer=(),
        problems=(),
        sections=(),
        incomplete=False,
        chart=None,
        trust=(),
        short=(),
    )
    with pytest.raises(BrokenPipeError):
        module.publish(page, tmp_path / "page", png=False, figures=("found.json", {"states": [1.5, None]}))
    assert json.loads((tmp_path / "page" / "found.json").read_text()) == {"states": [1.5, None]}
    assert (tmp_path / "page" / "report.html").is_file()
