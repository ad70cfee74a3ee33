"""--dry-run: what it prints can be reckoned by hand, and the server hears nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import requests

from tests.conftest import LocustProcesses, Stub, wait_for
from tests.loadgen.master.test_coordinator import swarm
from tests.ports import free_port

DEPLOYMENT = """\
name: paper
kind: non_disagg
endpoint: {url}
model: cpu_tiny
gpus: 8
capacity: {{gpu_tokens: 30000, store_gb: 1}}
"""


def dry(locust: LocustProcesses, stub: Stub, folder: Path, *more: str) -> tuple[int, str]:
    file = folder / "paper.yaml"
    file.write_text(DEPLOYMENT.format(url=stub.url))
    return locust.run(
        "-f", "locustfiles/multi_turn_conversation.py", "--headless", "-u", "4", "--deployment", str(file), "--requests", "20",
        "--dry-run", *more,
    )  # fmt: skip


def test_everything_is_said_and_nothing_sent(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    """4 conversations of 5 turns for 4 users; 20 answers of 64 tokens. Each takes 5 x (1 s + 63 x 10 ms) = 8.15 s, twice."""
    times = ("--expect", "cold_ttft_ms=1000", "hit_ttft_ms=1000", "tpot_ms=10", "--gpu-hour-price", "3")
    code, output = dry(locust, stub, tmp_path, *times)
    assert code == 0, output
    assert "Duration: 16.3 s, by the times of --expect" in output
    assert f"Cost: 8 GPUs x {16.3 / 3600:.3f} h x 3 per GPU-hour = {16.3 / 3600 * 24:.2f}" in output
    row = next(line.split() for line in output.splitlines() if line.strip().startswith("multi_turn_conversation  "))
    assert (row[1], row[2], row[5]) == ("1", "20", "1,280")
    tokens = int(output.split("working set of a round: ")[1].split()[0].replace(",", ""))
    assert f"= {tokens * 4096 / 1e9:,.2f} GB" in output
    assert f"GPU: {tokens / 30000:.0%} of 30,000 tokens, fits" in output
    assert not stub.bodies()
    assert not locust.output_dir.exists()


def test_a_dry_run_from_the_start_form_is_refused_before_it_could_send(locust: LocustProcesses, stub: Stub) -> None:
    port = str(free_port())
    locust.start("-f", "locustfiles/cold_start.py", "--web-host", "127.0.0.1", "--web-port", port, "--host", stub.url)
    wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/", timeout=1).ok, what="the web UI")
    answer = swarm(port, host=stub.url, dry_run="true")
    assert not answer["success"]
    assert "give --dry-run on the command line" in answer["message"]
    assert not stub.bodies()


def test_a_sweep_is_reckoned_size_by_size(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    """`auto` asks no server here: 30,000 tokens on the GPU, and 1 GB / 4,096 bytes = 244,140 in the store."""
    code, output = dry(locust, stub, tmp_path, "--working-set", "auto", "--expect", "cold_ttft_ms=1000", "tpot_ms=10")
    assert code == 0, output
    assert "14 sizes from 15,000 to 488,280 tokens, two rounds each" in output
    rows = [line.split() for line in output.splitlines() if line.strip().startswith("multi_turn_conversation  ")]
    assert [row[1] for row in rows] == ["1", "2"] * 14
    tokens = int(output.split("working set of a round: ")[1].split()[0].replace(",", ""))
    assert abs(tokens - 488_281) < 2000
    assert "store: 200% of 1 GB, DOES NOT FIT" in output
    assert not stub.bodies()


def test_of_a_search_one_step_is_shown(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    code, output = dry(locust, stub, tmp_path, "--capacity", "cold", "--slo", "ttft_ms=5")
    assert code == 0, output
    assert "one step is shown" in output
    assert sum(line.strip().startswith("multi_turn_conversation  ") for line in output.splitlines()) == 1


def test_what_is_missing_is_named(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    code, output = dry(locust, stub, tmp_path)
    assert code == 0, output
    assert "--expect cold_ttft_ms=MS tpot_ms=MS" in output
    assert "Cost: unknown without a duration and --gpu-hour-price" in output


def test_times_of_a_former_run(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    row = {"split": "round", "scenario": "multi_turn_conversation", "mean": 1000.0}
    rows = [{**row, "metric": "ttft_ms", "group": group} for group in ("1", "2")] + [
        {**row, "metric": "tpot_ms", "group": "1", "mean": 10.0}
    ]
    stats = tmp_path / "stats.json"
    stats.write_text(json.dumps({"run": {"run_id": "former", "users": 4}, "distributions": rows}))
    code, output = dry(locust, stub, tmp_path, "--expect-from", str(stats))
    assert code == 0, output
    assert "Duration: 16.3 s, by the times of former (4 users)" in output


def test_a_former_run_that_is_not_there(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    code, output = dry(locust, stub, tmp_path, "--expect-from", str(tmp_path / "nothing"))
    assert code == 3
    assert "--expect-from is" in output


def test_in_chinese_no_english_sentence_is_left(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    code, output = dry(locust, stub, tmp_path, "--lang", "zh")
    assert code == 0, output
    assert re.findall(r"(?:\b[a-z]{2,} ){2}[a-z]{2,}\b", output) == []
    assert "成本未知，缺少：时长和--gpu-hour-price" in output
