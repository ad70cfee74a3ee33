"""--prompt-tokens and --output-tokens: hand-reckoned lengths, and the scenarios that have none to change."""

from __future__ import annotations

import dataclasses
import re

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.given_lengths import with_lengths
from locust_kvcache.workload.lengths import Lengths
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.traces.source import TraceSource

COLD = load_scenario("cold_start")  # prefix 4000, messages 40 to 80
BATCH = load_scenario("batch_processing")  # prefix 600, messages 60 to 180: 720 on average


def test_prefix_and_messages_are_scaled_alike() -> None:
    half = with_lengths(BATCH, 360, None)
    assert (half.prefix_tokens, half.turn_tokens, half.output_tokens) == (300, (30, 90), 24)
    double = with_lengths(COLD, 8120, 7)
    assert (double.prefix_tokens, double.turn_tokens, double.output_tokens) == (8000, (80, 160), 7)
    assert with_lengths(COLD, None, None) == COLD


def test_a_message_keeps_room_for_text() -> None:
    short = with_lengths(COLD, 100, None)
    assert (short.prefix_tokens, short.turn_tokens) == (84, (16, 16))


def test_a_prefix_too_short() -> None:
    with pytest.raises(BadInput, match="--prompt-tokens is 40: it leaves 24 tokens for the prefix of cold_start"):
        with_lengths(COLD, 40, None)


def test_answers_of_one_length_take_the_place_of_a_distribution() -> None:
    drawn = dataclasses.replace(COLD, output_lengths=Lengths("normal", 1, 90, 40, 5), output_tokens=90)
    assert with_lengths(drawn, None, 8) == dataclasses.replace(COLD, output_tokens=8)


@pytest.mark.parametrize(
    ("scenario", "option", "source"),
    [
        (load_scenario("dose_response"), "--prompt-tokens", "its grid `doses`"),
        (load_scenario("dose_response"), "--output-tokens", "its grid `doses`"),
        (dataclasses.replace(COLD, trace=TraceSource("t.jsonl")), "--output-tokens", "a trace"),
        (dataclasses.replace(COLD, trace=TraceSource("t.jsonl")), "--prompt-tokens", "a trace"),
        (dataclasses.replace(COLD, turn_lengths=Lengths("normal", 1, 90, 40, 5)), "--prompt-tokens", "a length distribution"),
    ],
)
def test_scenarios_whose_lengths_come_from_elsewhere(scenario: object, option: str, source: str) -> None:
    given = (100, None) if option == "--prompt-tokens" else (None, 100)
    with pytest.raises(BadInput, match=re.escape(option) + ".*" + re.escape(source)):
        with_lengths(scenario, *given)  # type: ignore[arg-type]
