"""Holds the evidence of one round, and the shares that decide whether it counts as a hit.

A round of a scenario is one set of facts; cache/claims.py decides from them what may be said.
"""

from __future__ import annotations

from dataclasses import dataclass

from locust_kvcache.analysis.basics.number_text import percent
from locust_kvcache.analysis.stats.few_slow import FewSlow
from locust_kvcache.contract.round_kinds import COLD

FULL = 0.9  # of what the plan allows, less a block per request: below it a round was served less than planned
LEAST = 0.1  # of the prompt tokens, or of what the plan allows: below it a round has hit nothing worth the name
CONTAMINATED = "contaminated"  # the verdict of a cold round that was not cold
SHARED = 1.25  # of the prompt tokens that were sent: servers that counted more served others beside this round
SEEN = 0.1  # of the prompt tokens that were sent: servers that counted fewer did not get this round's requests
ALL_SEEN = (0.97, 1.1)  # prompt tokens that the counters saw, over those sent: beyond it they are not those of this load
HIT, LESS, NOTHING, UNKNOWN, ELSEWHERE = "hit", "less than planned", "nothing", "unknown", "elsewhere"
SERVED = (HIT, UNKNOWN, LESS, NOTHING, ELSEWHERE)  # from the best to the worst that can be said of a later round


@dataclass(frozen=True)
class RoundFacts:
    """What was seen of one round. Tokens are sums over its successful requests; None is unknown."""

    number: int
    kind: str = COLD
    planned: int = 0
    recorded: int = 0
    failed: int = 0
    causes: tuple[tuple[str, int], ...] = ()  # of the failures, and how many of each
    late: str = ""  # why the load generator's times are not valid; empty: it was in time
    users: int | None = None
    prompt_tokens: float | None = None
    cached_tokens: float | None = None
    cached_known: int = 0  # requests that reported theirs
    rejected: bool = False  # what the answers reported cannot be true, and was removed
    allowed_tokens: float | None = None  # by the plan, in whole blocks of the cache
    slack_tokens: float = 0.0  # a block per request
    contaminated: bool = False  # a cold round of which more was cached than its own requests can explain
    few_slow: FewSlow | None = None  # requests that make its mean TTFT, or the change, where they are few
    buffered: int = 0  # answers that were kept back on their way, where they are many
    evidence: str = ""  # what tells `cached_tokens`: counters of a role, or the answers
    seen_share: float | None = None  # of the prompt tokens sent, what the servers' counters grew by; None without such counters

    @property
    def served(self) -> str:
        """HIT, LESS, NOTHING, UNKNOWN or ELSEWHERE: by the share that was cached and by what the plan allowed."""
        if self.seen_share is not None and self.seen_share < SEEN:
            return ELSEWHERE
        if self.cached_tokens is None or not self.prompt_tokens:
            return UNKNOWN
        if self.cached_tokens <= self.slack_tokens or self.cached_tokens < LEAST * self.prompt_tokens:
            return NOTHING
        if self.allowed_tokens is None or self.cached_tokens + self.slack_tokens >= FULL * self.allowed_tokens:
            return HIT
        return NOTHING if self.cached_tokens < LEAST * self.allowed_tokens else LESS

    @property
    def shared(self) -> bool:
        """The servers counted far more prompt tokens than this round sent, also where its failed requests count."""
        return is_shared(self.seen_share, self.recorded, self.failed)

    def served_text(self) -> str:
        """0.0 % of the prompt tokens came from a cache, an ideal cache would have served 97.7 %."""
        if self.served == ELSEWHERE:
            return f"the servers counted {percent(self.seen_share)} of the prompt tokens that were sent"
        if self.cached_tokens is None or not self.prompt_tokens:
            return "nothing tells what was cached"
        text = f"{percent(self.cached_tokens / self.prompt_tokens)} of the prompt tokens came from a cache"
        return (
            text
            if self.allowed_tokens is None
            else f"{text}, an ideal cache would have served {percent(self.allowed_tokens / self.prompt_tokens)}"
        )


def is_shared(seen_share: float | None, recorded: int, failed: int) -> bool:
    """`seen_share` is of the successful requests' tokens; those that failed may have been counted as well."""
    return seen_share is not None and recorded > failed and seen_share > SHARED * recorded / (recorded - failed)
