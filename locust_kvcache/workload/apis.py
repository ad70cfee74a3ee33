"""Names the APIs that requests can be sent to, and checks which scenarios each of them can carry."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from locust_kvcache.contract.errors import BadInput

if TYPE_CHECKING:
    from locust_kvcache.workload.spec import Scenario

CHAT, COMPLETIONS, RESPONSES, MESSAGES, GENERATE = "chat", "completions", "responses", "messages", "generate"
APIS = (CHAT, COMPLETIONS, RESPONSES, MESSAGES, GENERATE)
CONVERSING = (CHAT, RESPONSES, MESSAGES)  # take messages, and so conversations
TAKE_IDS = (COMPLETIONS, GENERATE)  # take a prompt as token ids, as traces have it
TAKE_TEXT = (*CONVERSING, COMPLETIONS)


def check_api(scenario: Scenario, where: str) -> None:
    """BadInput names an API that cannot carry what the scenario sends. `where` says where the API was named."""
    api = scenario.api
    if scenario.trace is not None:
        if api not in TAKE_IDS:
            raise BadInput(f"{where} is {api!r}; a trace's prompts are token ids: expected {' or '.join(TAKE_IDS)}")
    elif api == GENERATE:
        raise BadInput(
            f"{where} is {api!r}, which takes token ids, and scenario {scenario.name} sends text; expected one of {', '.join(TAKE_TEXT)}. "
            f"{GENERATE} is for --trace and --gaps"
        )
    elif api == COMPLETIONS and (scenario.turns > 1 or scenario.shape is not None or scenario.converses):
        what = f"with turns.count {scenario.turns}" if scenario.turns > 1 else "beside tools, forks, compaction or conversations"
        raise BadInput(f"{where} is 'completions' {what}; conversations need one of {', '.join(CONVERSING)}")


def with_api(scenario: Scenario, api: str) -> Scenario:
    """--api, for every tenant; empty: the scenario's own."""
    if not api or (api == scenario.api and not scenario.tenants):
        return scenario
    tenants = tuple(with_api(one, api) for one in scenario.tenants)
    found = dataclasses.replace(scenario, api=api, tenants=tenants)
    check_api(found, "--api")
    return found
