"""The engine's queue by hand, and against the emulator's own servers on a virtual clock."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from locust_kvcache.analysis.advice.demand import COLUMNS, Demand
from locust_kvcache.analysis.advice.playing import blocks_for
from locust_kvcache.analysis.advice.prediction import GPU, Prices, Question, predict
from locust_kvcache.analysis.advice.profiles import from_profile, profile_file
from locust_kvcache.analysis.model.engine_queue import EngineCosts, Requests, serve
from tests.emulator.virtual import deployment, drive, prompt

PROFILE = "h200_qwen_72b_fp8"
PER_TOKEN = EngineCosts(0.001, 0.0, 0.0, np.array([1.0, 2.0]), np.array([0.010, 0.014]), step_tokens=1000)


def requests(prompts: list[float], **given: Any) -> Requests:
    count = len(prompts)
    zeros = np.zeros(count)
    values: dict[str, Any] = {
        "session": list(range(count)), "prompt": np.array(prompts), "cached": zeros, "output": [1] * count, "before_s": zeros,
        "front_s": zeros, "load_s": zeros, "wait_s": zeros, "server": [0] * count, "due_s": zeros,
    }  # fmt: skip
    return Requests(**{**values, **given})


def test_prompts_are_computed_in_order_and_those_of_one_step_end_together() -> None:
    """At 1 ms a token: the first is alone in its step. The next has room for 1,000: 700 and 300 of 400, and one more the other 100."""
    assert serve(requests([600, 700, 400]), PER_TOKEN).ttft_s.tolist() == pytest.approx([0.6, 1.6, 1.7])
    assert serve(requests([600, 700, 200]), PER_TOKEN).ttft_s.tolist() == pytest.approx([0.6, 1.5, 1.5])


def test_cached_tokens_are_not_computed_and_attention_is_over_all_before() -> None:
    costs = dataclasses.replace(PER_TOKEN, attention_s_per_token2=1e-6)
    found = serve(requests([900.0], cached=np.array([400.0])), costs)
    assert found.ttft_s[0] == pytest.approx(0.5 + 1e-6 * (900**2 - 400**2) / 2)


def test_a_decoding_request_lengthens_the_steps_of_others_and_they_its_own() -> None:
    """The first decodes 3 tokens of 10 ms from 0.1 s on; at 0.105 s comes the second, joins at 0.11 s, and its step takes 0.2 s."""
    found = serve(requests([100, 200], output=[4, 1], due_s=np.array([0.0, 0.105])), PER_TOKEN)
    assert found.ttft_s.tolist() == pytest.approx([0.1, 0.11 + 0.2 - 0.105])
    assert found.e2e_s[0] == pytest.approx(0.1 + 0.01 + 0.2 + 0.01)
    assert found.decoding == pytest.approx(1.0)


def test_a_slot_and_room_in_the_cache_are_waited_for() -> None:
    """The first holds its slot for 0.1 + 4 * 0.01 s."""
    waits = [0.1, 0.14 + 0.1]
    both = requests([100, 100], output=[5, 1])
    assert serve(both, dataclasses.replace(PER_TOKEN, slots=1)).ttft_s.tolist() == pytest.approx(waits)
    assert serve(both, dataclasses.replace(PER_TOKEN, capacity_tokens=150)).ttft_s.tolist() == pytest.approx(waits)


def test_front_end_and_link_are_shared_and_the_rest_is_not() -> None:
    """Both wait 0.05 s of their own; the front end takes 0.1 s for each in turn, the link 0.3 s."""
    found = serve(requests([100, 100], before_s=np.full(2, 0.05), front_s=np.full(2, 0.1), load_s=np.full(2, 0.3)), PER_TOKEN)
    assert found.ttft_s.tolist() == pytest.approx([0.1 + 0.05 + 0.3 + 0.1, 0.45 + 0.3 + 0.1])


def test_servers_do_not_wait_for_one_another_and_turns_do() -> None:
    apart = serve(requests([500, 500], server=[0, 1]), PER_TOKEN, servers=2)
    assert apart.ttft_s.tolist() == pytest.approx([0.5, 0.5])
    turns = serve(requests([500, 500], session=[0, 0], wait_s=np.array([0.0, 2.0])), PER_TOKEN)
    assert turns.arrived_s.tolist() == pytest.approx([0.0, 2.5])


def test_users_take_one_session_after_another() -> None:
    found = serve(requests([100, 100, 100], due_s=None, users=1), PER_TOKEN)
    assert found.arrived_s.tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert found.wall_s == pytest.approx(0.3)


def test_hits_and_their_order_are_those_of_the_emulator(tmp_path: Path) -> None:
    """Twelve documents with four questions each, in a seeded order, on a cache that holds half of them: tokens within 2 points, mean
    TTFT within 10 %."""
    values = yaml.safe_load(profile_file(PROFILE).read_text())
    values["servers"]["single"]["gpu_capacity_tokens"] = 13_000
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    order = np.random.default_rng(1).permutation(48)
    prompts = [[*prompt(int(one) % 12, 2000), *prompt(100 + int(one), 200)] for one in order]
    played = drive(deployment(str(path), "single"), prompts, 1, 16)
    first: dict[int, int] = {}
    rows = []
    for index, one in enumerate(order):
        source = first.setdefault(int(one) % 12, index)
        shared = (float("nan"), 0) if source == index else (float(source), 2000)
        rows.append((index, index, 2200.0, 16, *shared, 0.0))
    demand = Demand("documents", pd.DataFrame(rows, columns=COLUMNS), users=1)
    asked = Question(demand, from_profile(str(path)), Prices(), 1, 13_000, 327680.0)
    found = predict(asked, blocks_for(demand, asked.source, 16), GPU, float(asked.gpu_gb or 0))
    cached = sum(one.job.cached_tokens for one in played.requests if one.job)
    assert 0.1 < found.hit_rate < 0.6
    assert found.hit_rate == pytest.approx(cached / (48 * 2200), abs=0.02)
    assert found.ttft_mean_ms == pytest.approx(1000 * played.means()["ttft_s"], rel=0.1)


@pytest.mark.parametrize("users", [1, 4, 12])
def test_times_are_those_of_the_emulator(users: int) -> None:
    """Mean TTFT of cold prompts within 5 % of what the emulator's server does with the same profile, alone and under load."""
    tokens, output = 4000, 32
    played = drive(deployment(PROFILE, "single"), [prompt(number, tokens) for number in range(24)], users, output)
    source, prompts = from_profile(PROFILE), np.full(24, float(tokens))
    asked = requests(
        prompts.tolist(), output=[output] * 24, due_s=None, users=users, before_s=np.full(24, source.before_s),
        front_s=source.front_s(prompts, np.zeros(24)),
    )  # fmt: skip
    found = serve(asked, source.costs)
    assert found.ttft_s.mean() == pytest.approx(played.means()["ttft_s"], rel=0.05)
    assert found.wall_s == pytest.approx(played.wall_s, rel=0.05)
