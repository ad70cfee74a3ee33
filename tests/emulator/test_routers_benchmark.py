"""benchmarks/routers.py: its reading and its table by hand, and real routers where KV_ROUTERS names their environment (docs/routers.md)."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import router_pd
from benchmarks.router_pd import MODE
from benchmarks.router_rounds import Round, read_rounds, table
from benchmarks.routers import LAUNCH, Load, deployment, measure, router_command
from locust_kvcache.contract.deployment import load_deployment
from tests.emulator.conftest import routers_of

SMALL = Load(documents=5, questions=3, tokens=300, users=4, profile="cpu_tiny", time_scale=0.1)


def truth(engine: int, tokens: int, delivered: int, captured: int) -> dict[str, Any]:
    reuse = {"delivered": delivered, "captured": captured, "held": 80, "reusable": 90}
    return {
        "engine": f"engine-{engine}",
        "prompt_tokens": tokens,
        "reuse": reuse,
        "arrived_ns": 0,
        "first_token_due_ns": 5_000_000,
    }


def test_rounds_are_the_last_requests_and_their_shares_are_of_the_prompt(tmp_path: Path) -> None:
    records = [
        {"round": number, "status": "ok", "ttft_ms": ttft_ms, "started_at_s": 100.0 * number + at_s, "e2e_ms": 500.0}
        for number, ttft_ms, at_s in ((1, 10.0, 0.0), (1, 30.0, 1.5), (2, 5.0, 0.0), (2, 7.0, 0.5))
    ]
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, records)))
    truths = [truth(4, 999, 0, 0), truth(1, 100, 0, 10), truth(2, 300, 40, 50), truth(1, 100, 80, 80), truth(1, 100, 80, 80)]
    cold, hit = read_rounds(tmp_path, truths, ("r", "p", 1), requests=2)
    assert (cold.requests_by_engine, cold.max_over_mean_tokens) == ([1, 1, 0, 0], 3.0)
    assert (cold.delivered, cold.captured, cold.held, cold.reusable) == (0.1, 0.15, 0.4, 0.45)
    assert (cold.ttft_mean_ms, cold.ttft_p90_ms, cold.requests_per_s, cold.engine_ttft_mean_ms) == (20.0, 10.0, 1.0, 5.0)
    assert (hit.requests_by_engine, hit.delivered, hit.requests_per_s) == ([2, 0, 0, 0], 0.8, 2.0)


def test_repeats_are_one_row() -> None:
    rounds = [Round("r", "p", n, "cold", [n, 0, 0, 0], 4.0, 10.0 * n, 1, 2, 3, 5, 0.9, 0.8, 0.7, 0.6) for n in (1, 3)]
    *_, row = table(rounds).splitlines()
    assert row == "| r | p | cold | 60.0% | 90.0% | 80.0% | 70.0% | 20 (10 to 30) | 2 | 3 | 5.0 | 4.00 | 1 0 0 0; 3 0 0 0 |"


def test_the_deployment_is_one_that_the_product_reads(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(deployment("fleet", 9000, 9001, [9101, 9102], "tiny", session=True)))
    read = load_deployment(path)
    assert [engine.name for engine in read.engines] == ["engine-1", "engine-2"]
    assert ("router", "http://127.0.0.1:9001/metrics") in read.metrics


def test_each_router_is_started_in_its_own_way() -> None:
    command = router_command(Path("/venv"), "sglang-router", "cache_aware", 1, 2, [3, 4])
    assert command[:2] == ["/venv/bin/sglang-router", "launch"]
    assert command[-3:] == ["--worker-urls", "http://127.0.0.1:3", "http://127.0.0.1:4"]
    assert router_command(Path("/venv"), "vllm-router", "cache_aware", 1, 2, [3])[1] == "--host"


def play(tmp_path: Path, router: str, policy: str) -> Round:
    """The cold round of a real run through a real router."""
    venv = routers_of(router)
    (tmp_path / "logs").mkdir()
    return measure(argparse.Namespace(venv=venv, output=tmp_path), SMALL, router, policy, 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("router", LAUNCH)
def test_round_robin_is_even_and_finds_little(tmp_path: Path, router: str) -> None:
    cold = play(tmp_path, router, "round_robin")
    run = json.loads((tmp_path / f"{router}_round_robin_1" / "run.json").read_text())
    assert not [
        text for text in run["warnings"] if "router's workers" in text
    ]  # its own list of workers is that of the deployment file
    assert sorted(cold.requests_by_engine) == [3, 4, 4, 4]
    assert cold.captured < 0.35 < cold.held


@pytest.mark.slow
@pytest.mark.parametrize("router", LAUNCH)
def test_cache_aware_finds_what_the_fleet_holds(tmp_path: Path, router: str) -> None:
    cold = play(tmp_path, router, "cache_aware")
    assert sum(cold.requests_by_engine) == SMALL.requests
    assert cold.delivered == cold.captured == cold.held > 0.35


@pytest.mark.slow
def test_consistent_hash_without_a_session_header_uses_one_engine(tmp_path: Path) -> None:
    cold = play(tmp_path, "vllm-router", "consistent_hash")
    assert sorted(cold.requests_by_engine) == [0, 0, 0, SMALL.requests]


@pytest.mark.slow
def test_consistent_hash_with_a_session_header_spreads(tmp_path: Path) -> None:
    assert max(play(tmp_path, "vllm-router", "consistent_hash+session").requests_by_engine) < SMALL.requests


@pytest.mark.slow
@pytest.mark.parametrize("router", MODE)
def test_who_computes_a_prompt_with_prefill_and_decode_apart(tmp_path: Path, router: str) -> None:
    """vllm-router prefills, then decodes; sglang-router asks both at once, as SGLang wants it, and emulated decoders compute all again."""
    cold, _ = router_pd.measure(
        routers_of(router), tmp_path, router, dataclasses.replace(SMALL, profile="qwen_72b", time_scale=0.01)
    )
    run = json.loads((tmp_path / f"{router}_pd" / "run.json").read_text())
    assert sorted(engine["role"] for engine in run["deployment"]["engines"]) == ["decoder", "decoder", "prefiller"]
    assert min(cold.requests_by_decoder) > 0
    assert cold.computed_again < 0.02 if router == "vllm-router" else cold.computed_again > 0.05


def test_the_hand_off_by_hand() -> None:
    def line(at_ns: int, computed: int) -> dict[str, Any]:
        return {"arrived_ns": at_ns, "prompt_tokens": 100, "servers": {"x": {"computed_tokens": computed}}}

    prefiller = [line(0, 100), line(10, 100), line(20, 50), line(30, 10), line(40, 10)]  # the first is the preflight's
    decoders = [[line(1, 100), line(12, 5), line(32, 1)], [line(22, 15), line(42, 1)]]
    cold, hit = router_pd.by_round("r", [prefiller, *decoders], 2)
    assert (cold.prefilled, cold.loaded, cold.computed_again, cold.requests_by_decoder) == (0.75, 0.9, 0.1, (1, 1))
    assert (hit.prefilled, hit.computed_again, hit.requests_by_decoder) == (0.1, 0.01, (1, 1))
