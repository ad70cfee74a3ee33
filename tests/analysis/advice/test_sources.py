"""What a request costs, from published runs, their stats.json, and profiles; what cannot be used is refused with the way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.advice.profiles import from_profile
from locust_kvcache.analysis.advice.sources import from_stats, load_source, undisturbed
from locust_kvcache.analysis.labelling import label_run
from locust_kvcache.analysis.model.model_statistics import model_stats
from locust_kvcache.analysis.model.ttft_model import fit_points, fit_ttft
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.reading.stats_file import KIND, STATS_FORMAT, TABLES, write_stats
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.emulator.spec import available_profiles, load_profile
from tests.conftest import ROOT

RESULTS = ROOT / "docs" / "results"
LENGTHS = RESULTS / "h200-pd-vllm-0.26" / "single_none"


def test_undisturbed_requests_meet_no_others_prefill() -> None:
    """The second is sent while the first waits; the third after both have their first token."""
    records = pd.DataFrame({"started_at_s": [0.0, 0.5, 3.0, 3.0], "ttft_ms": [1000.0, 2000.0, 100.0, 100.0]})
    assert undisturbed(records).tolist() == [True, False, True, False]


def test_a_run_of_one_user_gives_the_costs() -> None:
    """Qwen2.5-32B's shape on an H200: 4,089 cold tokens took 252 ms, 29,951 took 2,587 ms."""
    found = load_source(LENGTHS)
    assert found.kv_bytes_per_token == 262144
    assert found.capacities["gpu"] == 111_968
    for tokens, measured_s in ((4089, 0.252), (16341, 1.1725), (29951, 2.5866)):
        predicted_s = found.before_s + found.costs.prefill_s(tokens, 0)
        assert predicted_s == pytest.approx(measured_s, rel=0.03)
    assert found.longest_tokens is not None
    assert found.longest_tokens > 29_000


@pytest.mark.slow
def test_a_run_of_arms_tells_how_fast_its_tier_loads() -> None:
    """LMCache in host memory on an H200: 62 GB/s by the shortest prompts; 76 and 102 GB/s cannot be. Hits from there are not fitted."""
    found = load_source(RESULTS / "h200-vllm-0.26" / "arms_lmcache_256")
    assert set(found.links) == {"cpu"}
    assert found.links["cpu"].gb_per_s == pytest.approx(62.4, abs=0.1)
    assert "18 requests" in found.notes[0]
    assert found.notes[2] == "cpu: 2 measured load rates above what its link carries, left out."


def test_a_pair_is_refused() -> None:
    with pytest.raises(BadInput, match="ran on a pair"):
        load_source(RESULTS / "h200-pair-vllm-0.26" / "pd")


def test_stats_of_the_run_give_the_same_times(tmp_path: Path) -> None:
    """Its own fit is over the same 18 requests, as one user waits for nobody."""
    run = load_run(LENGTHS)
    points = fit_points(label_run(run)[0])
    model = model_stats(fit_ttft(points), 262144.0, points)
    empty = {name: [] for name in TABLES}
    write_stats(
        tmp_path / "stats.json",
        {"kind": KIND, "format": STATS_FORMAT, **empty, "run": run.info.raw, "samples": {}, "ttft_model": model},
    )
    told, fitted = from_stats(tmp_path / "stats.json"), load_source(LENGTHS)
    for tokens in (4089, 29951):
        assert told.costs.prefill_s(tokens, 0) == pytest.approx(fitted.costs.prefill_s(tokens, 0), rel=0.01)
    assert told.before_s == pytest.approx(fitted.before_s, rel=0.01)
    assert told.longest_tokens == pytest.approx(fitted.longest_tokens, rel=0.01)


@pytest.mark.slow
def test_a_fit_that_misses_is_refused() -> None:
    with pytest.raises(BadInput, match=r"its TTFT model misses by .* give a run of one user"):
        load_source(RESULTS / "h200-vllm-0.26" / "single_c1")
    with pytest.raises(BadInput, match="no TTFT model"):
        load_source(RESULTS / "h200-two-gpus-vllm-0.26" / "tp2_load_1_c8")


@pytest.mark.parametrize("name", available_profiles())
def test_a_profile_is_read_as_the_emulator_reads_it(name: str) -> None:
    profile, found = load_profile(name), from_profile(name)
    timing = profile.server("single").timing
    for tokens in (100, 5000, 30000):
        assert found.costs.prefill_s(tokens, 1000) == pytest.approx(
            tokens * timing.prefill_s_per_token + tokens * (tokens + 2000) / 2 * timing.attention_s_per_token2
        )
        front_s = found.before_s + float(found.front_s(np.array([float(tokens)]), np.zeros(1))[0])
        assert front_s == pytest.approx(timing.frontend(tokens))
    assert found.costs.decode_s(5) == pytest.approx(timing.step_s(0.0, 5, 0))
    assert found.kv_bytes_per_token == profile.kv_bytes_per_token


def test_a_profile_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is unknown; expected one of cpu_tiny"):
        from_profile("no_such")
    (tmp_path / "half.yaml").write_text("servers: {single: {timing: {}}}\n")
    with pytest.raises(BadInput, match="expected a profile of the emulator"):
        from_profile(str(tmp_path / "half.yaml"))
