"""Decides by the finish_reason whether the model finished an answer or the server gave it up."""

from __future__ import annotations

# OpenAI, vLLM, SGLang, TGI, llama.cpp, Anthropic, Gemini; compared in lower case
FINISHED = frozenset(
    "stop length tool_calls function_call content_filter eos eos_token stop_sequence stop_token stop_str end_turn tool_use "
    "max_tokens max_length max_new_tokens max_output_tokens model_context_window_exceeded "
    "end complete completed finished done refusal pause_turn".split()
)
GIVEN_UP = frozenset("abort aborted error cancel cancelled canceled failed failure timeout insufficient_system_resource".split())


def was_given_up(reason: str, output_tokens: int | None, asked_tokens: int | None) -> bool:
    """True for a reason that says so, and for an unknown reason unless all of the tokens that were asked for have come."""
    name = reason.lower()
    if name in FINISHED or name in GIVEN_UP:
        return name in GIVEN_UP
    return output_tokens is None or asked_tokens is None or output_tokens < asked_tokens
