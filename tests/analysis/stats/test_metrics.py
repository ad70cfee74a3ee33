"""A metric is declared once: what other modules list of it agrees, and docs/metrics.md names each one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from locust_kvcache.analysis.across_runs import run_spread
from locust_kvcache.analysis.basics.metrics import BY_KEY, HIGHER, METRICS, OF_REQUESTS, OF_ROUNDS, REQUEST, ROUND, Metric
from locust_kvcache.analysis.stats import comparison, targets
from locust_kvcache.contract.record import Record

DOCS = (Path(__file__).resolve().parents[3] / "docs/metrics.md").read_text(encoding="utf-8")
DERIVED = {"prefill_estimate_ms", "ttft_from_intended_ms", "e2e_from_intended_ms"}


def test_every_metric_is_declared_once() -> None:
    assert len(BY_KEY) == len(METRICS)


def test_the_lists_of_the_statistics_are_those_of_the_declaration() -> None:
    assert tuple(metric.key for metric in OF_REQUESTS if metric.compared) == comparison.METRICS
    assert tuple(metric.key for metric in OF_ROUNDS if metric.compared) == comparison.RATES
    assert set(run_spread.METRICS) == {metric.key for metric in OF_REQUESTS if metric.repeated}
    assert {rule[1] for rule in {**targets.EFFECT_TARGETS, **targets.PAIR_TARGETS}.values()} <= set(BY_KEY)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_a_metric_has_a_column_a_direction_and_a_place_in_the_documentation(metric: Metric) -> None:
    fields = {field.name for field in dataclasses.fields(Record)}
    assert metric.of == ROUND or metric.key in fields | DERIVED
    assert metric.of == REQUEST or metric.better == HIGHER
    assert f"`{metric.key}`" in DOCS
    assert metric.definition
    assert metric.compared or not (metric.answered or metric.repeated or metric.swept)
