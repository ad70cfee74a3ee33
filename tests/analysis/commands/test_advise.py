"""`locust-kvcache advise`: page, JSON and console from a trace and from a scenario, and what it refuses."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.commands import advise
from locust_kvcache.contract.errors import BadInput
from tests.conftest import ROOT

TRACE = str(ROOT / "docs" / "examples" / "trace.jsonl")
MONEY = ["--gpu-hour-price", "3", "--gpus", "1", "--gb-month-price", "cpu=0.5"]


def ask(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["advise", *words, "--output-dir", str(folder)])
    assert advise.main() == 0
    found: dict[str, Any] = json.loads((folder / "advise.json").read_text())
    return found


def test_a_trace_on_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The oracle says that no cache can hit more than 62.1 % of the tokens of this trace."""
    found = ask(monkeypatch, tmp_path, "--trace", TRACE, "--profile", "h200_qwen_72b_fp8", "--gpu-gb", "4", "--link-gb-per-s",
                "cpu=40", *MONEY, "--replicas", "1", "2", "--splits", "1P1D")  # fmt: skip
    assert found["unlimited_hit_rate"] == pytest.approx(0.621, abs=0.005)
    host = [one for one in found["points"] if one["tier"] == "cpu"]
    assert [one["hit_rate"] for one in host] == sorted(one["hit_rate"] for one in host)
    assert all(one["ttft_p50_ms"] > 0 and one["cost"] > 0 for one in host)
    assert next(one["name"] for one in found["options"]) == "1 server"
    assert found["options"][-1]["ttft_p50_ms"] > 0
    page = (tmp_path / "report.html").read_text()
    assert "knee, " in page
    assert "Predicted hit rate, TTFT and cost by the size of each tier" in page
    command = found["verify"].rpartition(": ")[2] if ", then run: " in found["verify"] else found["verify"]
    assert shlex.split(command)[:3] == ["locust-kvcache", "run", "trace_replay"]
    assert TRACE in command
    assert "The knee is at" in " ".join(capsys.readouterr().out.split())


def row(at: float, *blocks: int) -> str:
    return json.dumps({"timestamp": at, "input_length": 512 * len(blocks), "output_length": 4, "hash_ids": blocks}) + "\n"


def test_a_trace_of_one_short_request_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one size is tried, so that TTFT has no line: the picture has its hit rate alone."""
    trace = tmp_path / "one.jsonl"
    trace.write_text(json.dumps({"timestamp": 0, "input_length": 3, "output_length": 4, "hash_ids": [7]}))
    found = ask(monkeypatch, tmp_path, "--trace", str(trace), "--profile", "h200_qwen_72b_fp8")
    assert found["unlimited_hit_rate"] == 0
    assert "Predicted hit rate by the size of each tier" in (tmp_path / "report.html").read_text()


def test_times_that_may_be_seconds_are_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TTFT depends on the unit of the times: 0, 30 and 60 are 60 ms, or a minute."""
    trace = tmp_path / "minute.jsonl"
    trace.write_text(row(0, 1) + row(30, 2) + row(60, 1))
    words = ("--trace", str(trace), "--profile", "h200_qwen_72b_fp8")
    ask(monkeypatch, tmp_path, *words)
    assert "3 requests span 0.06 s" in " ".join((tmp_path / "report.md").read_text().split())
    found = ask(monkeypatch, tmp_path, *words, "--trace-time-unit", "s")
    assert "--trace-time-unit s" in found["verify"]
    assert "requests span" not in " ".join((tmp_path / "report.md").read_text().split())


@pytest.mark.parametrize(("gb_per_s", "alone"), [("4.5", True), ("40", False)])
def test_a_slow_store_pays_in_gpu_seconds_alone_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gb_per_s: str, alone: bool
) -> None:
    """A prompt of 9,728 tokens has 3.2 GB of KV: at 4.5 GB/s it loads in 0.7 s, which is what four H200s need to compute it."""
    found = ask(monkeypatch, tmp_path, "--scenario", "mooncake_lmcache_72b", "--requests", "8", "--users", "1", "--profile",
                "h200x4_qwen_72b_store", "--gpu-gb", "6", "--tiers", "gpu", "store", "--sizes-gb", "200", "--gpus", "4",
                "--gpu-hour-price", "3", "--gb-month-price", "store=0.5", "--link-gb-per-s", f"store={gb_per_s}")  # fmt: skip
    (store,) = [one for one in found["marks"] if one["tier"] == "store"]
    assert (store["pays"], store["pays_in_gpu_seconds_alone"], store["faster_at_the_cheapest"]) == (True, alone, not alone)
    page = (tmp_path / "report.html").read_text()
    for words in (
        "So it pays in GPU seconds alone.",
        "no faster</td>",
        "A tier pays although requests with it wait no less",
    ):
        assert (words in page.replace("\u00a0", " ")) is alone


def test_a_scenario_on_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a link and prices: hit rates alone below the GPU, and it says so."""
    run = str(ROOT / "docs" / "results" / "h200-pd-vllm-0.26" / "single_none")
    found = ask(monkeypatch, tmp_path, "--scenario", "cold_start", "--requests", "12", "--users", "4", "--from", run, "--gpu-gb", "5",
                "--sizes-gb", "5", "20", "--tiers", "gpu", "store")  # fmt: skip
    gpu, large, store = found["points"]
    assert (gpu["tier"], gpu["size_gb"], large["size_gb"], store["tier"]) == ("gpu", 5.0, 20.0, "store")
    assert gpu["hit_rate"] == 0.0
    assert large["hit_rate"] == store["hit_rate"] > 0.99
    assert large["ttft_p50_ms"] < gpu["ttft_p50_ms"]
    assert store["ttft_p50_ms"] is None
    assert store["cost"] is None
    assert any("the load speed of store is unknown" in text for text in found["unknown"])
    assert found["demand"]["rounds"] == 2
    assert "-u 4" in found["verify"]


def test_measured_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight users on two H200s with tensor parallelism, predicted from one user; its GPU cache is that of the run."""
    results = ROOT / "docs" / "results" / "h200-two-gpus-vllm-0.26"
    found = ask(monkeypatch, tmp_path, "--scenario", "cold_start", "--requests", "24", "--users", "8", "--rounds", "1", "--from",
                str(results / "tp2"), "--measured", str(results / "tp2_load_1_c8"), "--sizes-gb", "100")  # fmt: skip
    assert [one["figure"] for one in found["checks"]] == ["hit rate", "TTFT P50, ms", "TTFT P90, ms", "mean TTFT, ms"]
    assert all(one["kept"] for one in found["checks"])
    page = " ".join((tmp_path / "report.md").read_text().replace("\\", "").split())
    assert "Predicted against measured on tp2_load_1_c8: hit rate " in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--profile", "cpu_tiny"], "--trace or --scenario: none is given"),
        (["--trace", TRACE], "--from or --profile: none is given"),
        (["--trace", TRACE, "--profile", "cpu_tiny", "--users", "3"], "--users is given with --trace"),
        (["--trace", TRACE, "--profile", "cpu_tiny", "--trace-window", "9"], "--trace-window is '9'; expected START:STOP"),
        (["--scenario", "cold_start", "--profile", "cpu_tiny"], "--users or --request-rate: none is given"),
        (["--scenario", "cold_start", "--users", "1", "--trace-speed", "2", "--profile", "cpu_tiny"], "--trace-speed is given without"),
        (["--trace", TRACE, "--profile", "cpu_tiny", "--link-gb-per-s", "ssd=3"], "--link-gb-per-s is 'ssd=3'; expected TIER=NUMBER"),
        (["--trace", TRACE, "--profile", "cpu_tiny", "--splits", "2x2"], "--splits is '2x2'"),
        (["--trace", TRACE, "--profile", "cpu_tiny", "--sizes-gb", "0"], "expected numbers above 0"),
        (
            ["--trace", TRACE, "--profile", "cpu_tiny", "--gpu-gb", "50", "--tiers", "store", "--sizes-gb", "20"],
            r"the largest size to try is 20 GB; expected --sizes-gb above the GPU cache \(50 GB\), or the tier gpu in --tiers",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=says):
        ask(monkeypatch, tmp_path, *words)


def test_nice_sizes_end_with_the_first_that_holds_all() -> None:
    assert advise.nice_sizes(130.0, 4) == [20.0, 50.0, 100.0, 200.0]
    assert advise.nice_sizes(0.5, 2) == [0.2, 0.5]
