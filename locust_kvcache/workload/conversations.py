"""JSON lines in ShareGPT's or OpenAI's form come in, conversations go out: a system text, and what user and assistant said in turn.

A row that is no such conversation is an error that names file, line, key, value and what is allowed, or is counted as skipped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput

HISTORIES = ("file", "generated")
UNUSABLE = ("error", "skip")
FORMS = (("messages", "role", "content"), ("conversations", "from", "value"))  # OpenAI, ShareGPT
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
}  # fmt: skip
EXPECTED = 'expected {"messages": [{"role", "content"}]} or {"conversations": [{"from", "value"}]}'


@dataclass(frozen=True)
class Conversation:
    """`replies[k]` answers `users[k]`; the last one may be missing, as nothing carries it."""

    system: str
    users: tuple[str, ...]
    replies: tuple[str, ...]


def read_conversations(path: str, text: str, unusable: str = "error") -> tuple[tuple[Conversation, ...], int]:
    """(conversations, rows skipped) of a file's text."""
    found, skipped = [], 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(_conversation(line, f"{path}: line {number}"))
        except BadInput:
            if unusable == "error":
                raise
            skipped += 1
    if not found:
        raise BadInput(f"{path}: holds no conversation ({skipped} rows skipped); {EXPECTED} per line")
    return tuple(found), skipped


def _conversation(line: str, where: str) -> Conversation:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{where} is not JSON ({error}); {EXPECTED} on each line (jq -c '.[]' makes lines of an array)") from error
    form = next((form for form in FORMS if isinstance(row, dict) and form[0] in row), None)
    if form is None:
        raise BadInput(f"{where} is {line[:60]!r}; {EXPECTED}")
    said = _said(row[form[0]], form, where)
    system = ""
    if said and said[0][0] == "system":
        system = said.pop(0)[1]
    for place, (role, _) in enumerate(said):
        wanted = ("user", "assistant")[place % 2]
        if role != wanted:
            raise BadInput(
                f"{where}: key {form[0]!r} has {role!r} where {wanted!r} must stand; expected [system,] user, assistant, user, ..."
            )
    if not said:
        raise BadInput(f"{where}: key {form[0]!r} has no user's turn; expected at least one")
    return Conversation(system, tuple(text for _, text in said[::2]), tuple(text for _, text in said[1::2]))


def _said(messages: Any, form: tuple[str, str, str], where: str) -> list[tuple[str, str]]:
    """(role, text) of each message."""
    key, role_key, text_key = form
    if not isinstance(messages, list):
        raise BadInput(f"{where}: key {key!r} is {messages!r:.60}; expected a list of messages")
    said = []
    for number, message in enumerate(messages, 1):
        at = f"{where}: key {key!r}, message {number}"
        if not isinstance(message, dict):
            raise BadInput(f"{at} is {message!r:.60}; expected a mapping with {role_key!r} and {text_key!r}")
        role, text = message.get(role_key), message.get(text_key)
        if not isinstance(role, str) or role not in ROLES:
            raise BadInput(f"{at}: key {role_key!r} is {role!r}; allowed: {', '.join(ROLES)}")
        if not isinstance(text, str) or not text.strip():
            raise BadInput(f"{at}: key {text_key!r} is {text!r:.60}; expected text that is not empty (no tools, no images)")
        said.append((ROLES[role], text))
    return said
