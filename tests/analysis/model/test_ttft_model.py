"""The TTFT model against known truth, and against real measurements of vLLM on one H200 (tests/analysis/data)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.commands.dose_response import dose_page
from locust_kvcache.analysis.model.model_statistics import model_stats
from locust_kvcache.analysis.model.ttft_model import fit_ttft
from locust_kvcache.analysis.pipeline import analyse_folder
from tests.analysis.synthetic import Truth, synthetic_run
from tests.conftest import ROOT

DATA = ROOT / "tests" / "fixtures" / "ttft_model"


def measured(name: str) -> pd.DataFrame:
    rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]
    frame = pd.DataFrame(rows).rename(columns={"cached": "cached_tokens"})
    tpot = (frame["e2e_ms"] - frame["ttft_ms"]) / (frame["completion_tokens"] - 1)
    return frame.assign(tpot_ms=tpot, session=frame["prompt_tokens"].astype(str) + "/" + frame["rep"].astype(str))


@pytest.mark.parametrize("name", ["h200_72b_prefix_cache", "h200_7b_prefix_cache"])
def test_held_out_half_hits_are_predicted_within_ten_per_cent(name: str) -> None:
    frame = measured(name)
    known, held_out = frame[frame["label"] != "half"], frame[frame["label"] == "half"]
    if len(known) < 8:  # the 7B file has four such records: each stands for three
        known = pd.concat([known] * 3, ignore_index=True)
    fit = fit_ttft(known)
    assert fit is not None
    predicted = fit.model.predict_ms(held_out["prompt_tokens"].to_numpy(float), held_out["cached_tokens"].to_numpy(float))
    error = np.abs(predicted / held_out["ttft_ms"].to_numpy() - 1)
    assert error.max() < 0.10


def test_rates_on_one_h200() -> None:
    frame = measured("h200_72b_prefix_cache")
    stats = model_stats(fit_ttft(frame), 327_680, frame)
    values = {row["name"]: row for row in stats["parameters"]}
    # by hand at 1,024 to 30,000 tokens: 8,494 to 5,848 tokens/s, fixed overheads included
    assert 5_000 < values["prefill_tokens_per_s"]["value"] < 9_500
    assert stats["terms"]["attention"]
    assert stats["terms"]["step_ms"] == pytest.approx(21.2, abs=1)
    assert stats["median_error"] < 0.05


def test_load_rate_of_a_mooncake_store_over_tcp() -> None:
    frame = measured("h200_72b_mooncake_tcp")
    frame = frame[frame["label"] != "gpu_hit"].reset_index(drop=True)
    stats = model_stats(fit_ttft(frame), 327_680, frame)
    speed = next(row for row in stats["parameters"] if row["name"] == "load_gb_per_s")
    assert 2.2 < speed["value"] < 3.4  # by hand from differences: 2.7 to 3.2 GB/s
    assert not any("PCIe" in note for note in stats["notes"])


def test_a_load_rate_that_no_link_carries_is_flagged() -> None:
    frame = measured("h200_72b_prefix_cache")  # hits in the GPU's own cache: nothing is moved at all
    assert any("PCIe" in note for note in model_stats(fit_ttft(frame), 327_680, frame)["notes"])


TRUTH = Truth(
    sessions=12, turns=4, spread_tokens=700, noise=0.03, fixed_ms=60, prefill_tokens_per_s=5000, load_tokens_per_s=60_000
)


@pytest.mark.parametrize(
    "truth",
    [
        TRUTH,
        TRUTH.but(prefill_tokens_per_s=20_000, load_tokens_per_s=100_000, seed=5),
        TRUTH.but(fixed_ms=300, load_tokens_per_s=8_000, seed=6),
        TRUTH.but(efficiency=0.5, seed=7),
        TRUTH.but(load_tokens_per_s=4_000, seed=8),  # loading is slower than computing
    ],
)
def test_known_rates_are_found_within_their_intervals(tmp_path: Path, truth: Truth) -> None:
    stats = analyse_folder(synthetic_run(tmp_path, truth)).stats["ttft_model"]
    found = {row["name"]: row for row in stats["parameters"]}
    for name, true in (
        ("fixed_ms", truth.fixed_ms),
        ("prefill_tokens_per_s", truth.prefill_tokens_per_s),
        ("load_tokens_per_s", truth.load_tokens_per_s),
    ):
        assert found[name]["low"] <= true <= found[name]["high"], (name, found[name])
        assert found[name]["value"] == pytest.approx(true, rel=0.25)


@pytest.mark.slow
def test_break_even(tmp_path: Path) -> None:
    faster = analyse_folder(synthetic_run(tmp_path / "a", TRUTH)).stats["ttft_model"]
    slower = analyse_folder(synthetic_run(tmp_path / "b", TRUTH.but(load_tokens_per_s=4_000))).stats["ttft_model"]
    value = [next(row["value"] for row in s["parameters"] if row["name"] == "break_even_prefix_tokens") for s in (faster, slower)]
    assert value == [0.0, None]


def test_what_to_expect_by_hand(tmp_path: Path) -> None:
    stats = analyse_folder(synthetic_run(tmp_path, TRUTH.but(noise=0.0))).stats["ttft_model"]
    prompt = stats["reference_prompt_tokens"]
    half = next(row for row in stats["expected"] if row["hit_rate"] == 0.5)
    assert half["ttft_ms"] == pytest.approx(60 + prompt / 2 / 5 + prompt / 2 / 60, rel=0.01)


def test_equal_lengths_cannot_tell_load_from_fixed(tmp_path: Path) -> None:
    stats = analyse_folder(synthetic_run(tmp_path, TRUTH.but(spread_tokens=0))).stats["ttft_model"]
    assert "load_tokens_per_s" not in {row["name"] for row in stats["parameters"]}
    assert any("vary too little" in note for note in stats["notes"])


def test_no_variety_no_model(tmp_path: Path) -> None:
    stats = analyse_folder(synthetic_run(tmp_path, TRUTH.but(rounds=1, turns=1, spread_tokens=0))).stats["ttft_model"]
    assert stats["why_not"]


def test_a_model_that_misses_one_request_in_ten_is_not_shown() -> None:
    """Half of the requests wait 0.3 s behind others: a median residual that looks well says nothing of the tenth that is far off."""
    rng = np.random.default_rng(1)
    prompt = rng.uniform(1000, 8000, 200)
    cached = np.where(np.arange(200) % 2, 0.9 * prompt, 0.0)
    ttft = 20 + (prompt - cached) / 8 + np.where(np.arange(200) % 5 == 0, 900.0, 0.0)
    frame = pd.DataFrame({"prompt_tokens": prompt, "cached_tokens": cached, "ttft_ms": ttft, "label": "cold", "tpot_ms": 5.0,
                          "session": np.arange(200).astype(str)})  # fmt: skip
    stats = model_stats(fit_ttft(frame), 327_680, frame, users=8)
    assert stats["parameters"] == []
    assert "at 8 users" in stats["why_not"]
    assert "measure at one user" in stats["why_not"]
    assert stats["median_error"] < 0.15 < stats["p90_error"]


def test_the_page_of_a_dose_says_why_there_is_no_model(tmp_path: Path) -> None:
    grid = {"hit_fractions": [0.0], "prompt_tokens": [4096], "repeats": TRUTH.sessions}
    scenarios = [{"name": TRUTH.scenario, "requests": 6, "doses": grid}]
    folder = synthetic_run(tmp_path, TRUTH.but(rounds=1, turns=1, spread_tokens=0), scenarios=scenarios)
    blocks = [block for part in dose_page([analyse_folder(folder)]).sections for block in part.blocks]
    assert any(isinstance(block, str) and block.startswith("No model was fitted: ") for block in blocks)
