"""The dose-response scenario on an emulator whose rates are known: 5,000 tokens/s computed, 40,000 tokens/s from the store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from locust_kvcache.analysis.commands.dose_response import dose_points, dose_table
from locust_kvcache.analysis.pipeline import open_stats
from tests.conftest import ROOT, TIMED, LocustProcesses
from tests.emulated import STORE, emulator

pytestmark = pytest.mark.xdist_group(TIMED)

PREFILL_TOKENS_PER_S = 5000  # 1 / prefill_s_per_token
LOAD_TOKENS_PER_S = 40_000  # read_bytes_per_s / kv_bytes_per_token
TOLERANCE = 0.1


@pytest.fixture
def run(locust: LocustProcesses, tmp_path: Path) -> Path:
    """One user; 4 hit fractions x 3 lengths, twice, from a store only: the GPU's own cache is off."""
    file = tmp_path / "dose_response.yaml"
    text = Path("scenarios/dose_response.yaml").read_text()
    text = text.replace("[0, 0.25, 0.5, 0.75, 0.9]", "[0, 0.3, 0.6, 0.9]").replace(
        "[1024, 2048, 4096, 8192]", "[512, 1024, 2048]"
    )
    file.write_text(text.replace("repeats: 3", "repeats: 2"))
    with emulator(tmp_path, {"prefix_caching": False, "store": STORE}) as url:
        code, output = locust.run(
            "-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--host", url, "--scenarios", str(file), "--run-name", "dose",
        )  # fmt: skip
    assert code == 0, output
    return locust.output_dir / "dose"


def test_rates_that_were_put_in_are_found_and_doses_are_met(run: Path) -> None:
    analysis = open_stats(run)
    points = dose_points(analysis)
    assert len(points) == 2 * (4 * 3 * 2)
    assert points["on_target"].eq(True).all()
    found = {row["name"]: row["value"] for row in analysis.stats["ttft_model"]["parameters"]}
    assert found["prefill_tokens_per_s"] == pytest.approx(PREFILL_TOKENS_PER_S, rel=TOLERANCE)
    assert found["load_tokens_per_s"] == pytest.approx(LOAD_TOKENS_PER_S, rel=TOLERANCE)
    table = dose_table(points).set_index(["prompt_tokens", "target"])
    for fraction in (0.3, 0.6, 0.9):  # (1 - f) / 5,000 + f / 40,000 against 1 / 5,000, beside a few fixed ms
        expected = (1 - fraction) + fraction * PREFILL_TOKENS_PER_S / LOAD_TOKENS_PER_S
        assert table.loc[(2048, fraction), "ratio"] == pytest.approx(expected, abs=0.06)
    done = subprocess.run(
        [sys.executable, "-m", "analysis.dose_response", str(run)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "48 of 48 requests were cached as planned" in " ".join(done.stdout.split())
    assert json.loads((run / "stats.json").read_text())["complete"]
    assert (run.parent / "dose_dose_response" / "charts" / "dose-1-users.svg").stat().st_size > 10_000
