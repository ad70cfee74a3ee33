"""A run whose GPU's power and prices are known: what the report says of its cost and energy."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.report.files import render_markdown
from locust_kvcache.analysis.report.run_page import run_page
from tests.conftest import LocustProcesses
from tests.loadgen.server.test_arms import LOAD, Start, emulator

__all__ = ["emulator"]

ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
DEPLOYMENT = """
endpoint: {url}
kind: non_disagg
gpus: 1
price_per_gpu_hour: 3600
price_per_gb_month: 2.0
metrics: [{{role: server, url: "{url}/metrics"}}, {{role: gpu, url: "{url}/dcgm/metrics"}}]
"""


def test_cost_and_energy_of_a_run(locust: LocustProcesses, emulator: Start, tmp_path: Path) -> None:
    """At 3,600 an hour a second costs 1; --gpu-hour-price takes the place of the file's: 7,200 is 2 a second."""
    file = tmp_path / "priced.yaml"
    file.write_text(DEPLOYMENT.format(url=emulator("--gpu-watts", "400")))
    code, output = locust.run(
        *LOAD, "--deployment", str(file), "--gpu-hour-price", "7200", "--metrics-interval", "0.2", "--control", "on"
    )
    assert code == 0, output
    (run,) = locust.runs()
    analysis = analyse_folder(run.folder)
    stats = analysis.stats
    assert [row["kind"] for row in stats["cost"]] == ["cold", "control", "hit"]
    for row, one in zip(stats["cost"], stats["rounds"], strict=True):
        assert row["cost"] == pytest.approx(2 * one["wall_s"])
        assert row["cost_per_million_output_tokens"] == pytest.approx(2e6 * one["wall_s"] / one["output_tokens"])
        ends = [
            (scrape["at_s"], value)
            for when in ("before", "after")
            for scrape in run.metrics
            for name, value in scrape["samples"].items()
            if name.startswith(ENERGY) and (scrape["round"], scrape["when"]) == (row["round"], when)
        ]
        watts = (ends[1][1] - ends[0][1]) / 1000 / (ends[1][0] - ends[0][0])
        assert row["power_w"] == pytest.approx(watts)
        assert row["joules"] == pytest.approx(watts * one["wall_s"])
        assert (row["energy_gpus"], row["energy_by"]) == (1, "counter")
    (even,) = stats["break_even"]
    assert even["round"] == 3
    (claim,) = stats["claims"]
    if claim["valid"] and claim["credited"]:
        assert even["saved_gpu_seconds"] == pytest.approx(stats["rounds"][0]["wall_s"] - stats["rounds"][2]["wall_s"])
    else:  # a busy machine: the load generator was late
        assert (even["saved_gpu_seconds"], even["why_not"]) == (None, claim["why_not_judged"])
    page = render_markdown(run_page(analysis, charts=False))
    assert "## Cost and energy" in page
    assert "Assumed: 1 GPU at 7,200 per GPU-hour" in page
    assert "Energy: measured" in page
    assert "Break-even of the store" in page
