"""Energy of GPUs from scrapes: by the counter, else by the integrated power; what cannot be told is left out."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.analysis.servers import gpu_energy
from locust_kvcache.analysis.servers.gpu_energy import ENERGY, POWER
from locust_kvcache.analysis.servers.server_counters import series


def scrape(at_s: float, when: str, samples: dict[str, float], number: int = 1) -> dict[str, Any]:
    return {"at_s": at_s, "scenario": "s", "round": number, "when": when, "role": "gpu", "url": "u", "samples": samples}


def gpu(name: str, number: int) -> str:
    return f'{name}{{UUID="GPU-{number}",gpu="{number}"}}'


def test_the_counter_is_in_millijoules() -> None:
    """GPU 0: 6,000 J in 20 s; GPU 1: 2,000 J: 8,000 J / 20 s = 400 W together."""
    rows = [
        scrape(100.0, "before", {gpu(ENERGY, 0): 1e9, gpu(ENERGY, 1): 5e6, gpu(POWER, 0): 700.0}),
        scrape(120.0, "after", {gpu(ENERGY, 0): 1e9 + 6e6, gpu(ENERGY, 1): 7e6, gpu(POWER, 0): 700.0}),
        scrape(110.0, "during", {gpu(ENERGY, 0): 1e9 + 1e6, gpu(ENERGY, 1): 5e6}),
    ]
    table = gpu_energy.energy(series(rows))
    assert table[["gpu", "joules", "measured_by", "seconds", "readings"]].to_numpy().tolist() == [
        ["GPU-0", 6000.0, "counter", 20.0, 3],
        ["GPU-1", 2000.0, "counter", 20.0, 2],
    ]
    (whole,) = gpu_energy.by_round(table).to_dict("records")
    assert whole == {"scenario": "s", "round": 1, "energy_gpus": 2, "power_w": 400.0, "energy_by": "counter", "least_readings": 2}


def test_power_is_integrated_where_there_is_no_counter() -> None:
    """100 W rising to 300 W in 10 s, then 300 W for 10 s: 200 W x 10 s + 300 W x 10 s = 5,000 J."""
    rows = [scrape(0.0, "before", {gpu(POWER, 0): 100.0}), scrape(20.0, "after", {gpu(POWER, 0): 300.0})]
    rows.append(scrape(10.0, "during", {gpu(POWER, 0): 300.0}))
    (row,) = gpu_energy.energy(series(rows)).to_dict("records")
    assert (row["joules"], row["measured_by"], row["seconds"]) == (pytest.approx(5000.0), "power", 20.0)


def test_a_counter_that_fell_or_is_missing_at_a_border_tells_nothing() -> None:
    fell = [scrape(0.0, "before", {gpu(ENERGY, 0): 9e6}), scrape(20.0, "after", {gpu(ENERGY, 0): 1e6})]
    late = [scrape(10.0, "during", {gpu(ENERGY, 1): 9e6}, 2), scrape(20.0, "after", {gpu(ENERGY, 1): 10e6}, 2)]
    assert gpu_energy.energy(series([*fell, *late])).empty
    assert gpu_energy.by_round(gpu_energy.energy(series([]))).empty


def test_readings_that_are_no_number_or_end_within_the_round_tell_nothing() -> None:
    """A page that vanished after 10 of 100 s says nothing of the other 90; NaN, infinity and a negative power are no readings."""
    vanished = [scrape(0.0, "before", {gpu(POWER, 0): 200.0}), scrape(10.0, "during", {gpu(POWER, 0): 200.0})]
    other = [scrape(at_s, when, {gpu(POWER, 1): 100.0}) for at_s, when in ((0.0, "before"), (100.0, "after"))]
    odd = [
        scrape(0.0, "before", {gpu(ENERGY, 2): float("nan"), gpu(POWER, 3): -5.0}),
        scrape(100.0, "after", {gpu(ENERGY, 2): 2e6, gpu(POWER, 3): float("inf")}),
    ]
    table = gpu_energy.energy(series([*vanished, *other, *odd]))
    assert table[["gpu", "joules"]].to_numpy().tolist() == [["GPU-1", 10000.0]]
