"""Defines a planned request and a session, and what an unlimited cache would hold of a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """One planned request. `shared_tokens` is the longest prefix an earlier request of the same round has already sent."""

    request_index: int
    session_id: int
    number: int  # 1-based within the session
    user_tokens: int
    prompt_tokens: int
    shared_tokens: int
    shares_prefix_with: int | None
    output_tokens: int | None = None  # None: the scenario's
    blocks: tuple[int, ...] = ()  # of a trace: the prompt is their token ids
    wait_s: float = 0.0  # after the end of what it waits for
    estimated: bool = False  # of a user's own text: prompt_tokens and shared_tokens are, what lies between them may not be
    role: str = "user"
    text: str = ""  # kind of its own text; empty: the scenario's
    carries: tuple[int, ...] | None = None  # turns of the session that stand in the prompt with their answers; None: all before
    after: tuple[int, ...] | None = None  # turns that it waits for; None: the one before
    chunks: tuple[int, ...] = ()  # that stand before its own text
    lane: int = 0  # turns of different lanes may be open at once

    @property
    def carried(self) -> tuple[int, ...]:
        return tuple(range(1, self.number)) if self.carries is None else self.carries

    @property
    def waits_for(self) -> tuple[int, ...]:
        return ((self.number - 1,) if self.number > 1 else ()) if self.after is None else self.after


@dataclass(frozen=True)
class Session:
    session_id: int
    prefix_id: int
    turns: tuple[Turn, ...]
    due_s: float | None = None  # of a trace: after the round's start


def planned_cached_tokens(
    turn: Turn, repeats: bool, prompt_tokens: int | None, block_size_tokens: int, sent_tokens: int | None = None
) -> int:
    """What an infinite prefix cache would hold of this prompt, in whole blocks.

    In a round with prompts of its own (cold, control): the prefix that an earlier request of the round has sent. In one that repeats
    an earlier round: all of the prompt but its last token,
    floor((n - 1) / block) * block, as vLLM must compute at least one token. The server's own count of the prompt, where
    known, rescales the planned share; of a user's own document, it is what the prompt has beyond the calibrated texts after it.
    `sent_tokens` is the server's own count of the shared prefix, where known.
    """
    prompt = prompt_tokens or turn.prompt_tokens
    if repeats:
        shared = prompt - 1
    elif sent_tokens is not None:
        shared = min(prompt - 1, sent_tokens)
    elif turn.estimated and turn.shared_tokens:
        shared = min(prompt - 1, max(0, prompt - (turn.prompt_tokens - turn.shared_tokens)))
    else:
        shared = min(prompt - 1, round(turn.shared_tokens * prompt / turn.prompt_tokens))
    return shared // block_size_tokens * block_size_tokens
