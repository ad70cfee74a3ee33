"""Timed rounds compared by blocks in time: the interval holds a known ratio as often as it says, also where neighbours are alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.stats.timed_comparison import effects

RATIO = 0.5


def records(rng: np.random.Generator, count: int, mean_ms: float, alike: float) -> pd.DataFrame:
    """Four in flight; log TTFTs follow an autoregression, as behind a queue."""
    noise = rng.normal(size=count)
    for place in range(1, count):
        noise[place] = alike * noise[place - 1] + np.sqrt(1 - alike**2) * noise[place]
    ttft = mean_ms * np.exp(0.3 * noise - 0.045)
    columns = {"scenario": "s", "round": 1, "ok": True, "request_index": np.arange(count), "started_at_s": np.arange(count) * 0.1}
    return pd.DataFrame({**columns, "ttft_ms": ttft, "e2e_ms": 400.0})


@pytest.mark.parametrize("alike", [0.0, 0.8])
def test_the_interval_holds_the_ratio_of_the_means(alike: float) -> None:
    rng, held, runs = np.random.default_rng(7), 0, 120
    for _ in range(runs):
        found = effects(records(rng, 400, 100.0, alike), records(rng, 900, 100.0 * RATIO, alike), ["ttft_ms"])
        mean = found[found["statistic"] == "mean"].iloc[0]
        held += mean["ratio_low"] <= RATIO <= mean["ratio_high"]
    assert held / runs >= 0.9


def test_few_blocks_have_no_interval() -> None:
    rng = np.random.default_rng(1)
    found = effects(records(rng, 12, 100.0, 0.0), records(rng, 400, 50.0, 0.0), ["ttft_ms"])
    row = found[found["statistic"] == "mean"].iloc[0]
    assert row["ratio"] == pytest.approx(0.5, abs=0.2)
    assert pd.isna(row["ratio_low"])
    assert "blocks in time" in row["no_interval"]
    assert row["pairs"] == 12


def test_every_metric_is_compared() -> None:
    rng = np.random.default_rng(2)
    found = effects(records(rng, 400, 100.0, 0.0), records(rng, 400, 50.0, 0.0), ["ttft_ms", "e2e_ms"])
    assert found.loc[found["metric"].eq("e2e_ms") & found["statistic"].eq("mean"), "ratio"].tolist() == [1.0]
