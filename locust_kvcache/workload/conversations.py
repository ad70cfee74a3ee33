"""Reads a file's conversations: a system text, and the turns of user and assistant.

Read are ShareGPT's, LMSYS's and WildChat's and OpenAI's forms, requests of OpenAI's batch files among them, as JSON lines or as one array.
A row that is no such conversation is an error that names file, line, key, value and what is allowed, or is counted as skipped.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, BinaryIO

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.chat_messages import ASSISTANT, SYSTEM, TOOL, USER, Said, read_messages, sendable
from locust_kvcache.workload.data_files import entries
from locust_kvcache.workload.file_kinds import inner

HOLDERS, SYSTEM_KEYS = ("body", "request", "payload"), ("system", "system_prompt", "instructions")
PROMPTS = {"/v1/completions": "prompt", "/v1/responses": "input"}  # of a batch file's other requests, by the end of their URL
HISTORIES = ("file", "generated")
UNUSABLE = ("error", "skip")
KEYS = ("messages", "conversations", "conversation")  # OpenAI, ShareGPT, LMSYS and WildChat
EXPECTED = 'an object with "messages": [{"role", "content"}], "conversations": [{"from", "value"}] or "conversation": [{"role", "content"}]'
LED, TOOLS, SYSTEM_LATE = "led", "tools", "system_late"
NOTES = {
    "images": "{n} parts that are no text (images, audio, files) are left out",
    LED: "{n} messages of an assistant before the first user message are left out",
    "tool_calls": "{n} calls of tools are sent as text of the assistant",
    "tool_results": "{n} results of tools are sent as messages of the user",
    TOOLS: "the definitions of tools of {n} conversations are sent as part of the system text",
    SYSTEM_LATE: "{n} system messages within a conversation are sent as messages of the user",
}


@dataclass(frozen=True)
class Conversation:
    """`replies[k]` answers `users[k]`; the last one may be missing, as nothing carries it."""

    system: str
    users: tuple[str, ...]
    replies: tuple[str, ...]


@dataclass(frozen=True)
class Conversations:
    """What a file holds, how many rows were skipped, and what was left out or changed of the others."""

    conversations: tuple[Conversation, ...]
    skipped: int
    notes: tuple[str, ...] = ()


def read_conversations(path: str, file: BinaryIO, unusable: str = "error") -> Conversations:
    found, skipped, told = list[Conversation](), 0, Counter[str]()
    for entry in entries(path, file, EXPECTED):
        mine = Counter[str]()
        try:
            found.append(_conversation(entry.json(EXPECTED), entry.where, mine))
            told += mine
        except BadInput as error:
            if unusable == "error":
                raise BadInput(f"{error} (`unusable: skip` leaves such rows out)") from error
            skipped += 1
    if not found:
        raise BadInput(
            f"{path}: holds no conversation ({skipped} rows skipped); expected {EXPECTED} per line, or an array of such"
        )
    rows = (f"{skipped:,} rows are not conversations and are skipped",) if skipped else ()
    notes = tuple(text.format(n=f"{told[name]:,}") for name, text in NOTES.items() if told[name])
    return Conversations(tuple(found), skipped, (*rows, *notes))


def _conversation(row: Any, where: str, told: Counter[str]) -> Conversation:
    row = _request(row)
    present = [key for key in KEYS if isinstance(row, dict) and key in row]
    key = next(
        (key for key in present if row[key]), present[0] if present else None
    )  # data sets have empty columns beside the full one
    if key is None:
        raise BadInput(f"{where} is {json.dumps(row)[:60]!r}; expected {EXPECTED}{inner(row)}")
    said = read_messages(row[key], key, where, told)
    system, said = _system([*_beside(row, where, told), *said], row.get("tools"), where, told)
    while said and said[0].role == ASSISTANT:
        said = said[1:]
        told[LED] += 1
    texts = _in_turn(said, f"{where}: key {key!r}", told)
    if not texts:
        raise BadInput(f"{where}: key {key!r} has no user's turn; expected at least one")
    return Conversation(system, tuple(texts[::2]), tuple(texts[1::2]))


def _request(row: Any) -> Any:
    """The request that a row holds (batch files, AIPerf's payloads); a prompt or an input of it as messages."""
    if not isinstance(row, dict):
        return row
    held = next((row[key] for key in HOLDERS if isinstance(row.get(key), dict)), None)
    if held is None:
        return row
    asked = held.get(next((key for end, key in PROMPTS.items() if str(row.get("url")).endswith(end)), ""))
    if any(key in held for key in KEYS) or not isinstance(asked, str | list):
        return held
    return {**held, "messages": [{"role": USER, "content": asked}] if isinstance(asked, str) else asked}


def _beside(row: dict[str, Any], where: str, told: Counter[str]) -> list[Said]:
    """A system text that stands beside the messages (ShareGPT's variants, Anthropic, OpenAI's responses)."""
    found = [(key, row[key]) for key in SYSTEM_KEYS if row.get(key)]
    return [one for key, text in found for one in read_messages([{"role": SYSTEM, "content": text}], key, where, told)]


def _system(said: list[Said], tools: Any, where: str, told: Counter[str]) -> tuple[str, list[Said]]:
    """What stands at the start, with the definitions of the tools, as templates put them; and the rest."""
    count = next((place for place, one in enumerate(said) if one.role != SYSTEM), len(said))
    texts = [one.text for one in said[:count] if one.text]
    if tools:
        told[TOOLS] += 1
        texts.append(sendable(json.dumps(tools, ensure_ascii=False), f"{where}: key 'tools'"))
    return "\n\n".join(texts), said[count:]


def _in_turn(said: list[Said], at: str, told: Counter[str]) -> list[str]:
    """Texts of user, assistant, user, ...; what tools were asked and answered belongs to the message beside it."""
    texts, before = list[str](), None
    for one in said:
        told[SYSTEM_LATE] += one.role == SYSTEM
        side = ASSISTANT if one.role == ASSISTANT else USER
        joins = before is not None and side == (ASSISTANT if before.role == ASSISTANT else USER)
        if joins and before is not None:
            if not {one.role, before.role} & {TOOL, SYSTEM} and not before.calls_tools:
                wanted = USER if side == ASSISTANT else ASSISTANT
                raise BadInput(f"{at} has {side!r} where {wanted!r} must stand; expected [system,] user, assistant, user, ...")
            texts[-1] = f"{texts[-1]}\n\n{one.text}"
        else:
            texts.append(one.text)
        before = one
    return texts
