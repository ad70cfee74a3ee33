"""Plans the requests of a retention study: prompts that return after a gap, and new prompts in the background that fill the caches.

All requests have due times. Slots of `prompt_tokens` follow one another at `tokens_per_s`; while prompts are sent that will return, they
take every second slot, and the background takes all others, until the last prompt has returned.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.traces.rows import TraceRows

BLOCK_TOKENS = 256  # of prompts; chunks of LMCache and Mooncake have as many, so that what returns ends with a whole one
DEFAULT_GAPS_S = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)
DEFAULT_PROMPT_TOKENS = 2048
DEFAULT_SESSIONS = 20
NOTE = "prompts that return after {low:.3g} to {high:.3g} s beside {rate:,g} new tokens/s"


@dataclass(frozen=True)
class Returns:
    """`sessions` prompts of `prompt_tokens`; each comes twice, the second time with BLOCK_TOKENS of its own behind it."""

    gap_low_s: float
    gap_high_s: float
    sessions: int
    prompt_tokens: int
    tokens_per_s: float  # new ones: the background and the prompts that will return

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> Returns | None:
        return cls(**values) if values else None

    @property
    def note(self) -> str:
        return NOTE.format(low=self.gap_low_s, high=self.gap_high_s, rate=self.tokens_per_s)

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """One per session, in equal steps of their logarithm: the middles of equal parts."""
        low, high = math.log(self.gap_low_s), math.log(self.gap_high_s)
        return tuple(math.exp(low + (high - low) * (place + 0.5) / self.sessions) for place in range(self.sessions))


def around(gaps_s: Sequence[float]) -> list[tuple[float, float]]:
    """The range of each gap, ascending: to the geometric middle between it and the next; an outer one reaches as far on both sides."""
    if len(gaps_s) == 1:
        return [(gaps_s[0], gaps_s[0])]
    middles = [math.sqrt(before * after) for before, after in itertools.pairwise(gaps_s)]
    edges = [gaps_s[0] ** 2 / middles[0], *middles, gaps_s[-1] ** 2 / middles[-1]]
    return list(itertools.pairwise(edges))


def return_rows(returns: Returns, seed_key: str) -> TraceRows:
    """The requests in the order of their due times. Which session waits how long is drawn, so that time and gap have nothing in common."""
    gaps = list(returns.gaps_s)
    random.Random(seed_key).shuffle(gaps)
    slot_s = returns.prompt_tokens / returns.tokens_per_s
    blocks = returns.prompt_tokens // BLOCK_TOKENS
    stored_s = [2 * place * slot_s for place in range(returns.sessions)]
    ends_s = max(at_s + gap_s for at_s, gap_s in zip(stored_s, gaps, strict=True))
    found: list[tuple[float, int, list[int]]] = []
    for session, (at_s, gap_s) in enumerate(zip(stored_s, gaps, strict=True)):
        first = session * (blocks + 1)
        ids = list(range(first, first + blocks + 1))
        found += [(at_s, returns.prompt_tokens, ids[:-1]), (at_s + gap_s, returns.prompt_tokens + BLOCK_TOKENS, ids)]
    taken = {2 * place for place in range(returns.sessions)}
    background = (slot for slot in range(math.ceil(ends_s / slot_s)) if slot not in taken)
    found += [(slot * slot_s, returns.prompt_tokens, []) for slot in background]
    rows = TraceRows(BLOCK_TOKENS, notes=(returns.note,), prefixes="all", block_size=BLOCK_TOKENS, time_unit="s")
    for at_s, tokens, ids in sorted(found, key=lambda row: row[0]):
        rows.add(at_s, tokens, 1, ids)
    return rows


def parse_gaps(words: Iterable[str]) -> tuple[float, ...]:
    """Gaps in seconds, ascending; auto: DEFAULT_GAPS_S."""
    listed = list(words)
    if listed == ["auto"]:
        return DEFAULT_GAPS_S
    return _numbers("gaps", "auto, or different numbers of seconds, e.g. 1 2 4 8 16", listed)


def parse_rates(words: Iterable[str]) -> tuple[float, ...]:
    return _numbers("background", "different numbers of new prompt tokens per second, e.g. 5000 20000", list(words))


def _numbers(option: str, expected: str, listed: list[str]) -> tuple[float, ...]:
    try:
        values = [float(word) for word in listed]
    except ValueError:
        values = []
    if not values or not all(0 < value < 1e9 for value in values) or len(set(values)) < len(values):
        raise BadInput(f"--{option} is {' '.join(listed)!r}; expected {expected}")
    return tuple(sorted(values))
