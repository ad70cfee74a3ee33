"""The order of a run's rounds: cold first, the control after it (or last, where a cache is too small for both), then the repeats."""

from __future__ import annotations

import pytest

from locust_kvcache.contract.round_kinds import kinds_of_arms, kinds_of_rounds, sends_new_prompts, with_control


@pytest.mark.parametrize(
    ("repeats", "control", "last", "kinds"),
    [
        (0, False, False, ("cold",)),
        (2, False, False, ("cold", "hit", "hit")),
        (2, True, False, ("cold", "control", "hit", "hit")),
        (2, True, True, ("cold", "hit", "hit", "control")),
        (0, True, False, ("cold", "control")),
    ],
)
def test_the_kinds_of_rounds_stand_in_the_order_of_play(repeats: int, control: bool, last: bool, kinds: tuple[str, ...]) -> None:
    assert kinds_of_rounds(repeats, control, last) == kinds


def test_every_arm_but_cold_and_control_repeats_the_cold_one() -> None:
    assert kinds_of_arms(("cold", "control", "gpu_hit", "store_hit")) == ("cold", "control", "hit", "hit")


def test_a_control_is_put_after_the_cold_arm_once() -> None:
    assert with_control(("cold", "gpu_hit")) == ("cold", "control", "gpu_hit")
    assert with_control(("cold", "gpu_hit"), control_last=True) == ("cold", "gpu_hit", "control")
    assert with_control(("cold", "gpu_hit", "control")) == ("cold", "gpu_hit", "control")


def test_only_a_repeat_sends_prompts_that_were_sent_before() -> None:
    assert [sends_new_prompts(kind) for kind in ("cold", "control", "warm_up", "hit")] == [True, True, True, False]
