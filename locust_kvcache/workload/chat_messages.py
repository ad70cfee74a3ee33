"""Reads the messages of one conversation from a user's file. What is no text is left out and counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.data_files import lone_surrogate

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
ROLES = {
    "system": SYSTEM, "developer": SYSTEM,
    "user": USER, "human": USER,
    "assistant": ASSISTANT, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "bing": ASSISTANT, "bard": ASSISTANT, "model": ASSISTANT,
    "bot": ASSISTANT, "function_call": ASSISTANT,
    "tool": TOOL, "function": TOOL, "observation": TOOL,
}  # fmt: skip
TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True)
class Said:
    role: str
    text: str
    calls_tools: bool = False


def read_messages(messages: Any, key: str, where: str, told: Counter[str]) -> list[Said]:
    if not isinstance(messages, list):
        raise BadInput(f"{where}: key {key!r} is {messages!r:.60}; expected a list of messages")
    return [_said(message, key, f"{where}: key {key!r}, message {number}", told) for number, message in enumerate(messages, 1)]


def sendable(text: str, at: str) -> str:
    """Half of a pair of surrogates cannot be encoded: it would fail when it is sent."""
    if half := lone_surrogate(text):
        raise BadInput(f"{at} has half of a surrogate pair, {half}; expected text that can be encoded as UTF-8")
    return text


def _said(message: Any, key: str, at: str, told: Counter[str]) -> Said:
    role_key, text_key = ("from", "value") if key == "conversations" else ("role", "content")
    if isinstance(message, dict):  # datasets mix the names of both forms
        role_key = next((name for name in (role_key, "role", "from") if name in message), role_key)
        text_key = next((name for name in (text_key, "content", "value") if name in message), text_key)
    else:
        raise BadInput(f"{at} is {message!r:.60}; expected a mapping with {role_key!r} and {text_key!r}")
    role = message.get(role_key)
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise BadInput(f"{at}: key {role_key!r} is {role!r:.60}; allowed: {', '.join(ROLES)}")
    known, content = ROLES[role.lower()], message.get(text_key)
    calls = message.get("tool_calls") or message.get("function_call")
    text = _text(content, f"{at}: key {text_key!r}", told) if content is not None or not calls else ""
    if calls:
        told["tool_calls"] += len(calls) if isinstance(calls, list) else 1
        text = "\n".join(filter(None, (text, json.dumps(calls, ensure_ascii=False))))
    told["tool_results"] += known == TOOL
    if known == USER and not text.strip():
        raise BadInput(f"{at}: key {text_key!r} is {content!r:.60}; expected text that is not empty")
    return Said(known, sendable(text, f"{at}: key {text_key!r}"), bool(calls) or role.lower() == "function_call")


def _text(content: Any, at: str, told: Counter[str]) -> str:
    """Text, or the text parts of a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise BadInput(f"{at} is {content!r:.60}; expected text, or a list of parts")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in TEXT_PARTS:
            if not isinstance(part.get("text"), str):
                raise BadInput(f"{at} has a part {part!r:.60}; expected 'text' in it")
            texts.append(part["text"])
        elif isinstance(part, dict):
            told["images"] += 1
        else:
            raise BadInput(f"{at} has a part {part!r:.60}; expected text or a mapping with 'type'")
    return "\n".join(texts)
