"""The published pair of H200s, predicted from one server and from the pair with one user: real vLLM, real hand-off."""

from __future__ import annotations

import pytest

from locust_kvcache.analysis.model.ratio import Budget, predict_splits
from locust_kvcache.analysis.model.ratio_check import checks
from locust_kvcache.analysis.model.run_points import all_points, check_prefill_runs, read_pair, read_points
from locust_kvcache.analysis.model.stage_costs import Measured, Mix
from locust_kvcache.analysis.model.tandem import Load
from locust_kvcache.contract.errors import BadInput
from tests.conftest import ROOT

PAIR = ROOT / "docs" / "results" / "h200-pair-vllm-0.26"
LOADS = ROOT / "docs" / "results" / "h200-two-gpus-vllm-0.26"
MIX = Mix(4080, 40)


@pytest.mark.slow
def test_one_prefiller_and_one_decoder_under_eight_users() -> None:
    """24 cold requests; three runs were measured, and none of them gives a point."""
    single, loaded = read_points(PAIR / "single"), read_points(PAIR / "single_load_c8")
    measured = Measured(single.points, all_points([single, loaded]), read_pair(PAIR / "pd").points)
    predicted = predict_splits(Budget(2), MIX, Load(24, users=8), measured, resamples=2)
    runs = [read_points(LOADS / f"pair_pd_load_{number}_c8") for number in (1, 2, 3)]
    off = {one.figure: one.off for one in checks(predicted, {"1P1D": runs}, MIX)}
    assert off == pytest.approx(dict.fromkeys(off, 0.0), abs=0.06)
    assert abs(off["requests_per_s"]) < 0.02
    assert abs(off["ttft_ms"]) < 0.03
    assert len(off) == 5


def test_a_loaded_server_with_long_answers_is_no_prefill_run() -> None:
    """Its prefills share their steps with decodes: taken for a prefiller, 2P2D came out slower than the measured 1P1D."""
    single, loaded = read_points(PAIR / "single"), read_points(PAIR / "single_load_c8")
    check_prefill_runs([single])
    with pytest.raises(BadInput, match=r"single_load_c8 has .* requests at a time with 40 output tokens .* --output-tokens 1"):
        check_prefill_runs([single, loaded])
