"""A timed round whose hits are lost for a while and come back: when, by how much, and nothing where nothing changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.stats.drift import change_problems, over_time


def records(lost: tuple[int, int], count: int = 1800) -> pd.DataFrame:
    """Two requests per second; between the seconds `lost` nothing is cached, and the TTFT is four times as long."""
    rng = np.random.default_rng(4)
    at_s = np.arange(count) / 2
    away = (at_s >= lost[0]) & (at_s < lost[1])
    ttft = np.where(away, 400.0, 100.0) * np.exp(0.2 * rng.normal(size=count))
    columns = {
        "scenario": "s",
        "round": 2,
        "ok": True,
        "started_at_s": 1_700_000_000 + at_s,
        "ttft_ms": ttft,
        "tpot_ms": 20 + rng.normal(size=count),
    }
    return pd.DataFrame({**columns, "reported_cached_tokens": np.where(away, 0.0, 900.0), "prompt_tokens": 1000.0})


def test_lost_and_back() -> None:
    drift, found = over_time(records((300, 450)), [("s", 2)])
    hits = found[found["figure"] == "hit_rate"]
    assert [round(value, 2) for value in hits["before"]] == [0.9, 0.0]
    assert [round(value, 2) for value in hits["after"]] == [0.0, 0.9]
    times = found[found["figure"] == "ttft_ms"]
    for rows in (hits, times):
        assert rows["at_s"].tolist() == pytest.approx([300, 450], abs=8)
        assert (rows["low_s"] <= [300, 450]).all()
        assert (rows["high_s"] >= [300, 450]).all()
    assert "tpot_ms" not in set(found["figure"])
    assert drift["windows"].tolist() == [120, 120, 120]
    assert drift["window_s"].tolist() == pytest.approx([7.5] * 3, abs=0.01)
    texts = [problem.text for problem in change_problems(found)]
    assert len(texts) == 4
    assert any("hit rate changed after 30" in text and "from 90.0 % to 0.0 %" in text for text in texts)


def test_nothing_changed_and_too_few_requests() -> None:
    drift, found = over_time(records((0, 0)), [("s", 2)])
    assert found.empty
    assert len(drift) == 3
    assert over_time(records((0, 0), 500), [("s", 2)])[0].empty
