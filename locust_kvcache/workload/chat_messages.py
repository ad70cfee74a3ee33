"""Reads the messages of one conversation from a user's file. What is no text is left out and counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.file_entry import lone_surrogate

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
ROLES = {
    "system": SYSTEM, "developer": SYSTEM,
    "user": USER, "human": USER, "prompter": USER,
    "assistant": ASSISTANT, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "bing": ASSISTANT, "bard": ASSISTANT, "model": ASSISTANT,
    "bot": ASSISTANT, "chatbot": ASSISTANT, "ai": ASSISTANT, "function_call": ASSISTANT, "tool_call": ASSISTANT,
    "tool": TOOL, "function": TOOL, "observation": TOOL, "tool_response": TOOL, "ipython": TOOL,
}  # fmt: skip
CALLS = ("function_call", "tool_call")
TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
CALL_PART, RESULT_PART = "tool_use", "tool_result"  # Anthropic's


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
    if not isinstance(role, str) or role.strip().lower() not in ROLES:
        raise BadInput(f"{at}: key {role_key!r} is {role!r:.60}; allowed: {', '.join(ROLES)}")
    known, content = ROLES[role.strip().lower()], message.get(text_key)
    if content is None:
        content = message.get("refusal")
    calls = message.get("tool_calls") or message.get("function_call")
    nothing = content is None and (calls or (text_key in message and known != USER))  # an answer may be empty, a user's turn not
    text = "" if nothing else _text(content, f"{at}: key {text_key!r}", told)
    if calls:
        told["tool_calls"] += len(calls) if isinstance(calls, list) else 1
        text = "\n".join(filter(None, (text, json.dumps(calls, ensure_ascii=False))))
    told["tool_results"] += known == TOOL
    if known == USER and not text.strip():
        raise BadInput(f"{at}: key {text_key!r} is {content!r:.60}; expected text that is not empty")
    return Said(
        known, sendable(text, f"{at}: key {text_key!r}"), bool(calls) or role.strip().lower() in CALLS or _has(content, CALL_PART)
    )


def _has(content: Any, kind: str) -> bool:
    return isinstance(content, list) and any(isinstance(part, dict) and part.get("type") == kind for part in content)


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
            said = part.get("text", part.get("refusal"))
            if not isinstance(said, str):
                raise BadInput(f"{at} has a part {part!r:.60}; expected 'text' in it")
            texts.append(said)
        elif isinstance(part, dict) and part.get("type") == CALL_PART:
            told["tool_calls"] += 1
            texts.append(json.dumps(part, ensure_ascii=False))
        elif isinstance(part, dict) and part.get("type") == RESULT_PART:
            told["tool_results"] += 1
            texts.append(_text(part.get("content") or "", at, told))
        elif isinstance(part, dict):
            told["images"] += 1
        else:
            raise BadInput(f"{at} has a part {part!r:.60}; expected text or a mapping with 'type'")
    return "\n".join(texts)
