"""Recorded metrics pages become OpenMetrics that Prometheus would have stored: labels of the job, times of the recording."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.lab.pages import samples


def test_pages_of_named_ports_get_their_role_and_time(tmp_path: Path) -> None:
    page = '# TYPE vllm:prompt_tokens_total counter\nvllm:prompt_tokens_total{engine="0"} 7.0\n'
    for name in ("8100-1700000005.gz", "8100-1700000000.gz", "9999-1700000000.gz"):
        (tmp_path / name).write_bytes(gzip.compress(page.encode()))
    (tmp_path / "8200-1700000000.gz").write_bytes(gzip.compress(b""))  # nothing answered
    (tmp_path / "notes.txt").write_text("not a page")
    labels = 'engine="0",instance="127.0.0.1:8100",job="vllm",role="prefiller"'
    assert list(samples(tmp_path, {"8100": "prefiller", "8200": "decoder"})) == [
        ("vllm:prompt_tokens_total", labels, 7.0, 1700000000),
        ("vllm:prompt_tokens_total", labels, 7.0, 1700000005),
    ]
