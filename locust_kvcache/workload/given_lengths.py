"""Applies --prompt-tokens and --output-tokens to a scenario."""

from __future__ import annotations

import dataclasses

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.dose_response import SMALLEST_TURN_TOKENS
from locust_kvcache.workload.scenario_file import SMALLEST_PREFIX_TOKENS
from locust_kvcache.workload.spec import Scenario


def with_lengths(scenario: Scenario, prompt_tokens: int | None, output_tokens: int | None) -> Scenario:
    """None leaves the scenario's own."""
    if prompt_tokens is not None:
        scenario = _with_prompts(scenario, prompt_tokens)
    if output_tokens is not None:
        _refuse("--output-tokens", _source_of_answers(scenario), scenario.name)
        scenario = dataclasses.replace(scenario, output_tokens=output_tokens, output_lengths=None)
    return scenario


def _with_prompts(scenario: Scenario, tokens: int) -> Scenario:
    """Prefix and messages by one factor, so that the share that sessions have in common stays; a session's first prompt has `tokens`."""
    _refuse("--prompt-tokens", _source_of_prompts(scenario), scenario.name)
    low, high = scenario.turn_tokens
    factor = tokens / (scenario.prefix_tokens + (low + high) / 2)
    message = (_scaled(low, factor), _scaled(high, factor))
    prefix = tokens - round(sum(message) / 2)
    if prefix < SMALLEST_PREFIX_TOKENS:
        raise BadInput(
            f"--prompt-tokens is {tokens}: it leaves {prefix} tokens for the prefix of {scenario.name}, which needs at least "
            f"{SMALLEST_PREFIX_TOKENS}; give more tokens"
        )
    return dataclasses.replace(scenario, prefix_tokens=prefix, turn_tokens=message)


def _scaled(message_tokens: int, factor: float) -> int:
    """A shorter message keeps room for text beside the chat template's own tokens."""
    return max(round(message_tokens * factor), min(message_tokens, SMALLEST_TURN_TOKENS))


def _source_of_prompts(scenario: Scenario) -> str | None:
    """Where a scenario's prompt lengths come from, if they are not two numbers of its YAML."""
    if scenario.corpus is not None:
        return "files of your own"
    if scenario.chunks is not None:
        return "`chunks`"
    if scenario.shape is not None:
        return "`tools`, `forks`, `compaction` or drawn turns"
    return "a length distribution" if scenario.turn_lengths is not None else _source_of_answers(scenario)


def _source_of_answers(scenario: Scenario) -> str | None:
    if scenario.tenants:
        return "its tenants"
    if scenario.trace is not None:
        return "a trace"
    return "its grid `doses`" if scenario.doses is not None else None


def _refuse(option: str, source: str | None, name: str) -> None:
    if source is not None:
        raise BadInput(
            f"{option}: the lengths of {name} come from {source}; leave the option out, or copy the scenario and edit it"
        )
