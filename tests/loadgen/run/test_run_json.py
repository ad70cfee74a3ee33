"""Targets are somebody's: a deployment file's, or those of the model's entry beside one."""

from __future__ import annotations

import dataclasses

from locust_kvcache.contract.deployment import ModelInfo, host_deployment
from locust_kvcache.loadgen.run.run_json import targets_of

MODEL = ModelInfo("qwen2.5-72b", "qwen2.5-72b", None, {}, {"hit_ttft_reduction_min": 0.6, "hit_throughput_gain_min": 1.5})


def test_with_a_host_alone_nobody_set_a_target() -> None:
    assert targets_of(host_deployment("http://127.0.0.1:8000"), MODEL, from_file=False) == {}


def test_a_deployment_file_comes_before_the_model_s_entry() -> None:
    deployment = dataclasses.replace(host_deployment("http://127.0.0.1:8000"), targets={"hit_ttft_reduction_min": 0.4})
    assert targets_of(deployment, MODEL, from_file=True) == {"hit_ttft_reduction_min": 0.4, "hit_throughput_gain_min": 1.5}
    assert targets_of(deployment, None, from_file=True) == {"hit_ttft_reduction_min": 0.4}
