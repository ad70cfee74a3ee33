"""What a link carries is known of deployments with a GPU, or of a named link; and arms are not pooled."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.analysis.cache.server_evidence import link_gb_per_s
from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.reading.run_json import parse_run_info
from tests.analysis.synthetic import RUN_JSON, Truth, synthetic_run


@pytest.mark.parametrize(("deployment", "limit"), [({}, None), ({"gpus": 2}, 126.0), ({"link_gb_per_s": 25.0}, 25.0)])
def test_no_gpu_no_pcie_limit(deployment: dict[str, float], limit: float | None) -> None:
    assert link_gb_per_s(parse_run_info({**RUN_JSON, "deployment": {"name": "d", **deployment}})) == limit


def test_arms_are_answered_one_by_one_and_never_pooled(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, Truth(sessions=5, rounds=3), arms=["cold", "gpu_hit", "store_hit"])
    effects = analyse_folder(folder).stats["effects"]
    assert {row["split"] for row in effects} == {"arm"}
    assert {row["round"] for row in effects} == {2, 3}
