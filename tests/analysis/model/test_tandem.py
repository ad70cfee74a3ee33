"""The simulated tandem by hand, and against the formulas of queues that have one."""

from __future__ import annotations

import numpy as np
import pytest

from locust_kvcache.analysis.model.tandem import LEAST_LOADED, Costs, Load, Split, play

NO_TIME = 1e-9


def costs(prefill_s: float | np.ndarray = 1.0, token_s: float = 0.1, **more: float) -> Costs:
    drawn = np.atleast_1d(np.asarray(prefill_s, dtype=float))
    values = {"delay_s": 0.0, "output_tokens": 1, **more}
    return Costs(drawn, batch=np.array([1.0]), token_s=np.array([token_s]), **values)  # type: ignore[arg-type]


def test_one_request_by_hand() -> None:
    """1 s of prefill, 0.2 s of delay, 0.3 s on the link, then 5 tokens of 0.1 s; the decoder gives the first one."""
    played = play(Split(1, 1), Load(1, users=1), costs(delay_s=0.2, link_s=0.3, output_tokens=5), seed=1)
    assert played.ttft_s == pytest.approx([1.6])
    assert played.e2e_s == pytest.approx([2.0])
    assert played.requests_per_s == pytest.approx(0.5)
    assert played.prefill_busy == pytest.approx(0.5)


def test_three_users_wait_in_turn_for_one_prefiller_and_not_for_three() -> None:
    one = play(Split(1, 1), Load(3, users=3), costs(token_s=NO_TIME), seed=1)
    assert sorted(one.ttft_s) == pytest.approx([1, 2, 3])
    assert play(Split(3, 1), Load(3, users=3), costs(token_s=NO_TIME), seed=1).ttft_s == pytest.approx([1, 1, 1])


def test_prompts_that_fit_into_one_step_are_done_at_its_end() -> None:
    """The first one starts at once and alone; the next two share a step. Without room for two they come one by one."""
    pairs = play(Split(1, 1), Load(3, users=3), costs(token_s=NO_TIME, step_prompts=2.0), seed=1)
    assert sorted(pairs.ttft_s) == pytest.approx([1, 3, 3])
    halves = play(Split(1, 1), Load(3, users=3), costs(token_s=NO_TIME, step_prompts=0.5), seed=1)
    assert sorted(halves.ttft_s) == pytest.approx([1, 2, 3])
    part = play(Split(1, 1), Load(4, users=4), costs(token_s=NO_TIME, step_prompts=1.5), seed=1)
    assert sorted(part.ttft_s) == pytest.approx([1, 2.5, 4, 4])  # the second one's step computes half of the third


def test_a_batch_of_two_takes_the_time_that_was_measured_for_two() -> None:
    """Both arrive at once: each token takes 0.2 s while both decode; alone it would take 0.1."""
    slow = Costs(np.array([0.0]), 0.0, np.array([1.0, 2.0]), np.array([0.1, 0.2]), output_tokens=10)
    played = play(Split(1, 1), Load(2, users=2), slow, seed=1)
    # the second one joins after half a step, so it ends alone: 9.5 tokens together, half a token alone
    assert sorted(played.e2e_s) == pytest.approx([2.0, 2.05])
    assert played.batch_mean == pytest.approx((2 * 2.0 + 0.05) / 2.05)
    apart = play(Split(1, 2), Load(2, users=2), slow, seed=1)
    assert apart.e2e_s == pytest.approx([1.0, 1.0])


def test_a_batch_beyond_the_measured_ones_is_told() -> None:
    assert play(Split(4, 1), Load(40, users=4), costs(0.0, output_tokens=20), seed=1).beyond > 0.9
    assert play(Split(4, 4), Load(40, users=4), costs(0.0, output_tokens=20), seed=1).beyond == 0


@pytest.mark.parametrize(
    ("services", "squared_variation"),
    [(np.array([1.0]), 0.0), (np.random.default_rng(1).exponential(1.0, 20_000), 1.0)],
    ids=["M/D/1", "M/M/1"],
)
@pytest.mark.parametrize("busy", [0.5, 0.8])
def test_waiting_is_that_of_pollaczek_and_khinchine(services: np.ndarray, squared_variation: float, busy: float) -> None:
    """W = rho / (1 - rho) * (1 + c^2) / 2 * s; the decoder takes no time."""
    mean_s = float(services.mean())
    load = Load(20_000, rate_per_s=busy / mean_s)
    waited = play(Split(1, 1), load, costs(services, token_s=NO_TIME), seed=3).ttft_s.mean() - mean_s
    expected = busy / (1 - busy) * (1 + squared_variation) / 2 * mean_s
    assert waited == pytest.approx(expected, rel=0.1)


def test_waiting_for_one_of_two_is_that_of_erlang() -> None:
    """M/M/2 at 0.75: Erlang's C is 9/14, W = C * s / (c * (1 - rho))."""
    services = np.random.default_rng(2).exponential(1.0, 20_000)
    mean_s = float(services.mean())
    load = Load(20_000, rate_per_s=1.5 / mean_s)
    played = play(Split(2, 1), load, costs(services, token_s=NO_TIME), seed=5, routing=LEAST_LOADED)
    assert played.ttft_s.mean() - mean_s == pytest.approx(9 / 14 * mean_s / (2 * 0.25), rel=0.1)


def test_a_closed_loop_keeps_littles_law_and_its_slowest_stage() -> None:
    """users = throughput * latency; 2 prefillers of 1 s with 8 users give 2 requests/s."""
    played = play(Split(2, 2), Load(4000, users=8), costs(token_s=0.01, output_tokens=20), seed=1)
    assert played.requests_per_s == pytest.approx(2.0, rel=0.01)
    assert played.requests_per_s * played.e2e_s.mean() == pytest.approx(8, rel=0.01)
    assert played.prefill_busy == pytest.approx(1.0, abs=0.01)


def test_the_same_seed_gives_the_same_run() -> None:
    drawn = costs(np.array([0.5, 1.0, 2.0]), output_tokens=8)
    one, same, other = (play(Split(2, 3), Load(200, users=6), drawn, seed=seed) for seed in (7, 7, 8))
    assert (one.e2e_s == same.e2e_s).all()
    assert one.wall_s != other.wall_s
