"""Checks the token counts that a server reports, and rejects those that cannot be true, with the reason.

A rejected count is missing (None). It is never corrected: docs/metrics.md, "Token counts that are rejected".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LARGEST_COUNT = 100_000_000  # tokens; no model takes or writes as many in one request


@dataclass(frozen=True, slots=True)
class Counts:
    """Token counts of one answer. `rejected` says what was reported and cannot be true; None where nothing was rejected."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    rejected: str | None = None


def whole_count(value: Any) -> int | None:
    """A value that can be a number of tokens: an int or an integral float from 0 to LARGEST_COUNT. Anything else gives None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= LARGEST_COUNT or value != int(value):  # NaN and the infinities fail the first comparison
        return None
    return int(value)


def _shown(value: Any) -> str:
    return repr(value)[:40]


def checked_counts(prompt: Any, output: Any, cached: Any, output_chunks: int) -> Counts:
    """The counts of one answer. `output_chunks` is the number of chunks in which generated output was received.

    Possible is: prompt > 0, 0 <= cached <= prompt, output >= output_chunks (each chunk with output holds at least one token).
    """
    raw = {"prompt_tokens": prompt, "completion_tokens": output, "cached_tokens": cached}
    counts = {name: whole_count(value) for name, value in raw.items()}
    faults = [
        f"{name} is {_shown(raw[name])}, which is not a number of tokens"
        for name in raw
        if raw[name] is not None and counts[name] is None
    ]
    if counts["prompt_tokens"] == 0:
        counts["prompt_tokens"] = None
        counts["cached_tokens"] = None  # of nothing: a placeholder too
        faults.append("prompt_tokens is 0")
    written = counts["completion_tokens"]
    if written is not None and written < output_chunks:
        counts["completion_tokens"] = None
        faults.append(f"completion_tokens is {written}, but {output_chunks} chunks carried output")
    known, found = counts["prompt_tokens"], counts["cached_tokens"]
    if known is not None and found is not None and found > known:
        counts["cached_tokens"] = None
        faults.append(f"cached_tokens is {found}, but the prompt has {known} tokens")
    return Counts(counts["prompt_tokens"], counts["completion_tokens"], counts["cached_tokens"], "; ".join(faults) or None)
