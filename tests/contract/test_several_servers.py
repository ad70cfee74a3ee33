"""An address at which several servers answer, told from a server that was started again; by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from locust_kvcache.contract.several_servers import CONFIGS, COUNTS, STARTED, STARTS, several_servers

PROMPT = 'vllm:prompt_tokens_total{engine="0"}'
URL, NOW_S = "http://a/metrics", 1_000_000.0


def looks(
    *values: float | None, gap_s: float = 2.0, starts: Sequence[float] = (), more: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A row for each value of the counter; None is a page that did not answer."""
    rows = []
    for place, value in enumerate(values):
        samples = {} if value is None else {PROMPT: value}
        samples |= {STARTED: starts[place]} if starts else {}
        samples |= {f'vllm:cache_config_info{{num_gpu_blocks="{more[place]}"}}': 1.0} if more else {}
        rows.append({"at_s": NOW_S + gap_s * place, "url": URL, "ok": value is not None, "samples": samples})
    return rows


OLD, OTHER, NEW = NOW_S - 5000.0, NOW_S - 4999.9, NOW_S + 3.0


@pytest.mark.parametrize(
    ("rows", "how"),
    [
        # one server, and one that is started again
        (looks(100, 200, 300), ""),
        (looks(100, 200, 0, 50), ""),
        (looks(100, None, 0, 50, None, 10), ""),
        (looks(100, 200, 20, 50, starts=(OLD, OLD, NEW, NEW)), ""),
        (looks(100, 20, 30, 5, gap_s=20, starts=(OLD, NEW, NEW, NEW + 50)), ""),
        (looks(100, 0, 50, 0, gap_s=60), ""),
        (looks(100, 100, 100, starts=(OLD, OLD, OLD)), ""),
        # two engines in turn
        (looks(100, 40, 110), ""),  # it may have been started again, and have counted fast
        (looks(100, 40, gap_s=0.1), COUNTS),
        (looks(100, 40, 110, 50), COUNTS),
        (looks(100, 0, 110, 0), COUNTS),  # one of them is idle
        (looks(100, 40, 110, 50, gap_s=60), COUNTS),
        (looks(1, 2, 3, starts=(OLD, OTHER, OLD)), STARTS),
        (looks(1, 2, 3, starts=(OLD, OLD + 0.01, OLD)), STARTS),  # started by one command
        (looks(100, 40, gap_s=0.1, starts=(OLD, OLD)), COUNTS),  # in the same hundredth
        (looks(1, 2, starts=(OLD, OTHER)), STARTS),  # both were there before the first look
        (looks(1, 2, 3, starts=(NOW_S - 3, NOW_S - 2, NOW_S - 1)), STARTS),  # too many for restarts
        (looks(0, 0, 0, more=("100", "200", "100")), CONFIGS),
        (looks(0, 0, 0, more=("100", "200", "200")), ""),
        ([*looks(0, 0, more=("100", "100"))[:1], *looks(0, 0, 0)[1:2], *looks(0, 0, 0, more=("100", "100", "100"))[2:]], ""),
    ],
)
def test_how_it_shows(rows: list[dict[str, Any]], how: str) -> None:
    assert several_servers(rows) == ({URL: how} if how else {})


def test_addresses_are_looked_at_one_by_one_and_other_pages_not_at_all() -> None:
    other = [
        {**row, "url": "http://b/metrics", "samples": {"master_key_count": 5.0 - n}} for n, row in enumerate(looks(1, 1, 1, 1))
    ]
    assert several_servers([*other, *looks(100, 40, gap_s=0.1)]) == {URL: COUNTS}
