"""Retention against emulators whose truth is known: an LRU of so many tokens, and a store that forgets after a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.across_runs.retention import LRU, gap_run, verdict
from locust_kvcache.analysis.commands.retention import Limits, limits_of
from tests.conftest import TIMED, LocustProcesses
from tests.emulated import KV_BYTES, STORE, emulator

pytestmark = pytest.mark.xdist_group(TIMED)

GPU_TOKENS, PROMPT = 4096, 256
TTL_S, TIME_SCALE = 1.75, 0.2
FAST = {"prefill_s_per_token": 1e-5}


def study(
    locust: LocustProcesses, folder: Path, server: dict[str, Any], rates: tuple[int, ...], *emulated: str
) -> tuple[Limits, str]:
    deployment = folder / "kept.yaml"
    with emulator(folder, {"timing": FAST, **server}, "--time-scale", str(TIME_SCALE), *emulated) as url:
        deployment.write_text(
            f"name: kept\nkind: non_disagg\nendpoint: {url}\nmetrics: [{{role: server, url: '{url}/metrics'}}]\nleases_s: {{ttl: 0.35}}\n"
        )
        code, output = locust.run(
            "-f", "locustfiles/retention.py", "--headless", "-u", "20", "--deployment", str(deployment), "--run-name", "kept",
            "--metrics-interval", "0", "--warm-up", "off", "--gaps", "0.15", "0.6", "--background", *map(str, rates),
            "--prompt-tokens", str(PROMPT), "--returns", "12", timeout_s=300,
        )  # fmt: skip
    assert code == 0, output
    runs = [gap_run(path.parent) for path in sorted(locust.output_dir.glob("kept_gap*/run.json"))]
    assert [run.returns.tokens_per_s for run in runs] == [rate for rate in rates for _ in range(2)]
    assert [run.leases_s for run in runs] == [{"ttl": 0.35}] * len(runs)
    return limits_of(runs), output


def test_under_lru_hits_end_after_what_the_gpu_cache_holds(locust: LocustProcesses, tmp_path: Path) -> None:
    limits, output = study(locust, tmp_path, {"gpu_capacity_tokens": GPU_TOKENS}, (6000, 24_000))
    for _, tokens, _ in limits:
        assert tokens is not None
        assert tokens.value == pytest.approx(
            GPU_TOKENS, abs=3 * PROMPT
        )  # as close as the gaps lie; requests under way hold blocks too
        assert tokens.against <= 1
    assert verdict([row[1] for row in limits], [row[2] for row in limits]) == LRU
    assert "hits end after" in output
    page = (locust.output_dir / "kept_retention" / "report.html").read_text()
    assert "GPU: capacity" in page
    assert "ttl: 0.350 s" in page


def test_under_a_ttl_hits_end_after_its_time(locust: LocustProcesses, tmp_path: Path) -> None:
    server = {"prefix_caching": False, "store": {**STORE, "capacity_bytes": float(1_000_000 * KV_BYTES)}}
    ((_, _, seconds),), output = study(locust, tmp_path, server, (12_000,), "--ttl-s", str(TTL_S))
    assert seconds is not None
    assert seconds.low is not None
    assert seconds.high is not None
    assert seconds.low - 0.1 <= TTL_S * TIME_SCALE <= seconds.high + 0.1
    assert "give --background several numbers" in output
