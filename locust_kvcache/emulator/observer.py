"""Counts what happens in a server, and tells those who listen."""

from __future__ import annotations

from dataclasses import dataclass, field

from locust_kvcache.emulator.work import Work


@dataclass
class Counters:
    queries_tokens: int = 0
    hits_tokens: int = 0
    external_queries_tokens: int = 0
    external_hits_tokens: int = 0
    prompt_tokens: int = 0
    computed_tokens: int = 0
    external_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0
    finished: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("stop", "length", "abort", "error", "repetition"), 0))


class Observer:
    """Wants to know what happens in a server, for its metrics page."""

    def looking_up(self, work: Work) -> None:
        """Its prompt is about to be looked up below the GPU cache, for the first time; `gpu_tokens` is known."""

    def looked_up(self, work: Work) -> None: ...
    def step(self, tokens: int) -> None: ...
    def token(self, work: Work, due_s: float) -> None: ...
    def finished(self, work: Work) -> None: ...
