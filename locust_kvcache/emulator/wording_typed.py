"""Writes the typed events of /v1/responses and /v1/messages as vLLM 0.32 writes them, right or wrong as asked."""

from __future__ import annotations

import json
from typing import Any

from locust_kvcache.emulator.wording import REASONING, TEXT, TOOL, Wording

TOOL_NAME = "run"


class TypedWording(Wording):
    """Blocks of one kind each: a block is opened before its first delta and closed after its last."""

    block: str | None = None  # kind of the one that is open
    blocks = 0  # closed ones

    def typed(self, event: dict[str, Any]) -> bytes:
        data = json.dumps(event, separators=(",", ":")).encode()
        return b"event: " + str(event["type"]).encode() + self.eol + self.line(data)

    def chunk(self, numbers: list[int], last: bool) -> bytes:
        kind, events = self.kind(numbers[0]), b""
        if kind != self.block:
            events += self.close_block() + self.open_block(kind)
            self.block = kind
        return events + self.delta(kind, self.text(numbers))

    def close_block(self) -> bytes:
        if self.block is None:
            return b""
        data = self.block_end(self.block)
        self.block, self.blocks = None, self.blocks + 1
        return data

    def chunked_word(self, number: int) -> bytes:
        data = self.chunk([number], False)
        return b"%x\r\n" % len(data) + data + b"\r\n"

    def open_block(self, kind: str) -> bytes:
        raise NotImplementedError

    def block_end(self, kind: str) -> bytes:
        raise NotImplementedError

    def delta(self, kind: str, text: str) -> bytes:
        raise NotImplementedError

    def output(self) -> str:
        return self.text(list(range(self.job.output_tokens)))


class ResponsesWording(TypedWording):
    """The first two events come before the prefill."""

    opens_early = True
    sequence = 0

    def event_of(self, kind: str, **fields: Any) -> bytes:
        data = self.typed({"type": f"response.{kind}", **fields, "sequence_number": self.sequence})
        self.sequence += 1
        return data

    def response(self, status: str, usage: dict[str, Any] | None = None) -> dict[str, Any]:
        cut_short = {"reason": "max_output_tokens"} if status == "incomplete" else None
        said: dict[str, Any] = {
            "object": "response",
            "status": status,
            "incomplete_details": cut_short,
            "error": None,
            "output": [],
            "usage": usage,
        }
        return {**self.base, **said}

    def opening(self) -> bytes:
        shown = self.response("in_progress")
        return self.event_of("created", response=shown) + self.event_of("in_progress", response=shown)

    def _place(self) -> dict[str, Any]:
        return {"item_id": f"item_{self.blocks}", "output_index": self.blocks}

    def open_block(self, kind: str) -> bytes:
        item: dict[str, Any] = {"id": f"item_{self.blocks}", "status": "in_progress"}
        if kind == TOOL:
            item |= {"type": "function_call", "call_id": f"call_{self.blocks}", "name": TOOL_NAME, "arguments": ""}
        elif kind == REASONING:
            item |= {"type": "reasoning", "summary": [], "content": None}
        else:
            item |= {"type": "message", "role": "assistant", "content": []}
        added = self.event_of("output_item.added", item=item, output_index=self.blocks)
        if kind == TOOL:
            return added
        part = {"type": "output_text" if kind == TEXT else "reasoning_text", "text": ""}
        name = "content_part.added" if kind == TEXT else "reasoning_part.added"
        return added + self.event_of(name, part=part, content_index=0, **self._place())

    def delta(self, kind: str, text: str) -> bytes:
        name = {TEXT: "output_text", REASONING: "reasoning_text", TOOL: "function_call_arguments"}[kind]
        return self.event_of(f"{name}.delta", delta=text, content_index=0, **self._place())

    def block_end(self, kind: str) -> bytes:
        done = {TEXT: "output_text", REASONING: "reasoning_text", TOOL: "function_call_arguments"}[kind]
        return self.event_of(f"{done}.done", **self._place()) + self.event_of("output_item.done", output_index=self.blocks)

    def closing(self, tokens: int, wants_usage: bool) -> bytes:
        """Usage comes without being asked for; vLLM ends an answer that reached its length with `completed` too."""
        if "no_finish_reason" in self.faults:
            return self.close_block()
        usage = None if "no_usage" in self.faults else self.usage(tokens)
        truth = {"truth": self.truth()} if self.shape.truth else {}
        return self.close_block() + self.event_of("completed", response=self.response("incomplete", usage), **truth)

    def usage(self, completion_tokens: int) -> dict[str, Any]:
        prompt, cached = self.counted()
        details = (
            {}
            if "usage_without_details" in self.faults
            else {"input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0}}
        )
        total = prompt + completion_tokens
        return {"input_tokens": prompt, **details, "output_tokens": completion_tokens, "total_tokens": total}

    def whole_body(self) -> dict[str, Any]:
        part = {"type": "output_text", "text": self.output(), "annotations": []}
        item = {"id": "item_0", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        usage = None if "no_usage" in self.faults else self.usage(self.job.output_tokens)
        return {**self.response("incomplete", usage), "output": [item]}

    def error(self) -> bytes:
        return self.typed({"type": "error", "code": "500", "message": "EngineCore encountered an issue.", "param": None})


class MessagesWording(TypedWording):
    """`message_start` comes with the first token, and counts the whole prompt as not cached; `message_delta` tells what was."""

    def opening(self) -> bytes:
        counts = {"input_tokens": len(self.job.prompt_ids), "output_tokens": 0}
        message = {**self.base, "type": "message", "role": "assistant", "content": [], "stop_reason": None, "stop_sequence": None}
        return self.typed(
            {"type": "message_start", "message": {**message, "usage": counts if "no_usage" not in self.faults else None}}
        )

    def open_block(self, kind: str) -> bytes:
        block: dict[str, Any] = {"type": "text", "text": ""}
        if kind == TOOL:
            block = {"type": "tool_use", "id": f"toolu_{self.blocks}", "name": TOOL_NAME, "input": {}}
        elif kind == REASONING:
            block = {"type": "thinking", "thinking": ""}
        return self.typed({"type": "content_block_start", "content_block": block, "index": self.blocks})

    def delta(self, kind: str, text: str) -> bytes:
        said = {
            TEXT: {"type": "text_delta", "text": text},
            REASONING: {"type": "thinking_delta", "thinking": text},
            TOOL: {"type": "input_json_delta", "partial_json": text},
        }[kind]
        return self.typed({"type": "content_block_delta", "delta": said, "index": self.blocks})

    def block_end(self, kind: str) -> bytes:
        return self.typed({"type": "content_block_stop", "index": self.blocks})

    def closing(self, tokens: int, wants_usage: bool) -> bytes:
        events = self.close_block()
        if "no_finish_reason" not in self.faults:
            usage = {} if "no_usage" in self.faults else {"usage": self.usage(tokens)}
            events += self.typed(
                {"type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": None}, **usage}
            )
        truth = {"truth": self.truth()} if self.shape.truth else {}
        return events + (self.typed({"type": "message_stop", **truth}) if "no_done" not in self.faults else b"")

    def usage(self, completion_tokens: int) -> dict[str, Any]:
        prompt, cached = self.counted()
        if "usage_without_details" in self.faults:
            return {"input_tokens": prompt, "output_tokens": completion_tokens}
        parts = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": cached}
        return {"input_tokens": prompt - cached, "output_tokens": completion_tokens, **parts}

    def whole_body(self) -> dict[str, Any]:
        usage = {} if "no_usage" in self.faults else {"usage": self.usage(self.job.output_tokens)}
        content = [{"type": "text", "text": self.output()}]
        return {**self.base, "type": "message", "role": "assistant", "content": content, "stop_reason": "max_tokens", **usage}

    def error(self) -> bytes:
        error = {"type": "internal_error", "message": "EngineCore encountered an issue."}
        return self.typed({"type": "error", "error": error})
