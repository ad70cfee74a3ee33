"""A sweep over an emulator with a small GPU cache, and a store below it: each tier's knee within one step of its true capacity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locust_kvcache.analysis.commands.working_set import knees, size_row
from tests.conftest import TIMED, LocustProcesses
from tests.emulated import KV_BYTES, STORE, emulator

pytestmark = pytest.mark.xdist_group(TIMED)

GPU_TOKENS, STORE_TOKENS = 8000, 24_000
SMALL = """\
name: small
summary: Prompts of about 400 tokens, none alike.
requests: 10
prefix: {text: document, tokens: 380, shared_by: 1}
turns: {text: question, tokens: [20, 20]}
output: {tokens: 2}
order: grouped
"""


def sweep(locust: LocustProcesses, folder: Path, server: dict, *sizes: str) -> list[Path]:  # type: ignore[type-arg]
    scenario, deployment = folder / "small.yaml", folder / "tiers.yaml"
    scenario.write_text(SMALL)
    with emulator(folder, server, "--time-scale", "0.2") as url:
        deployment.write_text(
            f"name: tiers\nkind: non_disagg\nendpoint: {url}\nmetrics: [{{role: server, url: '{url}/metrics'}}]\n"
        )
        code, output = locust.run(
            "-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--deployment", str(deployment), "--scenarios", str(scenario),
            "--run-name", "sweep", "--metrics-interval", "0", "--working-set", *sizes, timeout_s=400,
        )  # fmt: skip
    assert code == 0, output
    assert "small: " in output
    return sorted(path.parent for path in locust.output_dir.glob("sweep_small_ws*/run.json"))


def test_the_gpu_cache_knee_is_within_one_step_of_what_the_server_holds(locust: LocustProcesses, tmp_path: Path) -> None:
    folders = sweep(locust, tmp_path, {"gpu_capacity_tokens": GPU_TOKENS}, "auto")
    rows = [size_row(folder) for folder in folders]
    assert [row["capacities"]["gpu"] for row in rows] == [GPU_TOKENS + 16] * 7  # vLLM counts a block that it never uses
    knee = knees(rows)["gpu"]
    assert knee is not None
    assert knee.fails_tokens is not None
    sizes = [row["tokens"] for row in rows]
    assert knee.holds_tokens <= GPU_TOKENS + 16 < knee.fails_tokens
    assert sizes.index(int(knee.fails_tokens)) == sizes.index(int(knee.holds_tokens)) + 1
    nonces = {json.loads((folder / "run.json").read_text())["nonce"] for folder in folders}
    assert len(nonces) == len(folders)


def test_a_store_below_has_a_knee_of_its_own(locust: LocustProcesses, tmp_path: Path) -> None:
    store = {**STORE, "capacity_bytes": float(STORE_TOKENS * KV_BYTES)}
    folders = sweep(locust, tmp_path, {"gpu_capacity_tokens": GPU_TOKENS, "store": store}, "4000", "16000", "28000")
    rows = [size_row(folder) for folder in folders]
    found = knees(rows)
    gpu, everything = found["gpu"], found["all"]
    assert gpu is not None
    assert everything is not None
    assert gpu.fails_tokens is not None
    assert everything.fails_tokens is not None
    assert gpu.holds_tokens < GPU_TOKENS < gpu.fails_tokens
    assert everything.holds_tokens < STORE_TOKENS < everything.fails_tokens
    assert (locust.output_dir / "sweep_small_working_set" / "charts" / "working-set-small.svg").stat().st_size > 10_000
