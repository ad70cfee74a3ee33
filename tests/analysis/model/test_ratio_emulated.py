"""Splits predicted from points of one server and one pair, against the emulator's own splits, all on a virtual clock."""

from __future__ import annotations

import pandas as pd
import pytest

from locust_kvcache.analysis.model.ratio import Budget, figures_of, predict_splits
from locust_kvcache.analysis.model.stage_costs import Measured, Mix, limits_of
from locust_kvcache.analysis.model.stage_points import Point, points_of
from locust_kvcache.analysis.model.tandem import Load
from tests.emulator.virtual import Round, deployment, drive, prompt

PROFILE = "h200_pair_qwen_72b_fp8"
REQUESTS = 60
KEPT_TOKENS = 100_000  # all prompts stay in the cache: the second round hits


def points(run: str, rounds: list[Round]) -> list[Point]:
    rows = [
        {"scenario": "s", "round": number, "ok": True, "started_at_s": one.sent_s, "ttft_ms": 1000 * one.ttft_s,
         "e2e_ms": 1000 * one.e2e_s, "prompt_tokens": len(one.prompt), "output_tokens": len(one.tokens_s),
         "reported_cached_tokens": one.job.cached_tokens if one.job else None}
        for number, round_ in enumerate(rounds, 1) for one in round_.requests
    ]  # fmt: skip
    return points_of(run, pd.DataFrame(rows))


def server(mix: Mix, users: int, output_tokens: int, requests: int, rounds: int = 1) -> list[Point]:
    target, prompts = deployment(PROFILE, "single"), [prompt(number, mix.prompt_tokens) for number in range(requests)]
    return points(f"u{users}", [drive(target, prompts, users, output_tokens) for _ in range(rounds)])


def measured(mix: Mix, users: int) -> Measured:
    """As on real engines: a server that answers with one token, the same server on hits, a pair with one user."""
    return Measured(
        prefill=(*server(mix, 1, 1, 20), *server(mix, 4, 1, 40)),
        decode=tuple(
            point
            for at in (1, users // 3, users)
            for point in server(mix, at, mix.output_tokens, KEPT_TOKENS // mix.prompt_tokens, 2)
        ),
        pair=tuple(points("pd", [drive(deployment(PROFILE, "pd"), [prompt(n, mix.prompt_tokens) for n in range(8)], 1, 16)])),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("mix", "users"), [(Mix(8192, 64), 12), (Mix(2048, 200), 12)], ids=["long prompts", "long answers"])
def test_predicted_is_what_the_emulator_does(mix: Mix, users: int) -> None:
    """Throughput and latency within 2 %, the mean TTFT within 6 %, for every split of four GPUs."""
    found = measured(mix, users)
    assert limits_of(found, mix) == []
    prompts = [prompt(number, mix.prompt_tokens) for number in range(REQUESTS)]
    for one in predict_splits(Budget(4), mix, Load(REQUESTS, users=users), found, resamples=10):
        assert one.split is not None
        target = deployment(PROFILE, "pd", prefillers=one.split.prefillers, decoders=one.split.decoders)
        played = drive(target, prompts, users, mix.output_tokens)
        (point,) = points(one.name, [played])
        truth = figures_of(point.ttft_s, point.e2e_s, mix.output_tokens, point.requests_per_s)
        for figure, within in (("requests_per_s", 0.02), ("e2e_ms", 0.02), ("tpot_ms", 0.02), ("ttft_ms", 0.06)):
            assert one.figures[figure].value == pytest.approx(truth[figure], rel=within), (one.name, figure)


@pytest.mark.slow
def test_hits_go_between_the_measured_lengths() -> None:
    """Three quarters of each prompt are cached by all engines: between points of 16 and of 8,192 computed tokens."""
    mix, users, shared = Mix(8192, 64, hit_rate=0.75), 12, 6144
    found = measured(Mix(8192, 64), users)
    found = Measured((*found.prefill, *(p for p in server(mix, 4, 1, 16, 2) if p.round == 2)), found.decode, found.pair)
    target = deployment(PROFILE, "pd", prefillers=2, decoders=2)
    drive(target, [prompt(999, 8192, shared), prompt(998, 8192, shared)], 1, 2)  # the shared part, to both prefillers
    played = drive(target, [prompt(number, 8192, shared) for number in range(REQUESTS)], users, 64)
    two = predict_splits(Budget(4), mix, Load(REQUESTS, users=users), found, resamples=10)[1]
    assert two.figures["requests_per_s"].value == pytest.approx(played.means()["requests_per_s"], rel=0.1)
