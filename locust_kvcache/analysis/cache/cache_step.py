"""Finds the step in which a cache serves tokens (its block size), from planned and reported cached tokens."""

from __future__ import annotations

import numpy as np
import pandas as pd

FEWEST = 6  # amounts that tell a step
EXACT = 0.95  # of the amounts that a step must give to the token
LARGEST_STEP = 4096


def whole_steps(tokens: pd.Series, step: int) -> pd.Series:
    return tokens // step * step


def observed_step(reported: pd.Series, block: int, available: pd.Series | None = None) -> int:
    """The step of what was reported, in tokens; `block`, the server's own, where nothing larger shows.

    With 6 amounts, 3 of them different, it is their largest common divisor. With fewer different ones (every prompt of 4,056 gets 3,840)
    it is the smallest power of two times the block that gives each amount from what was `available`.
    """
    served = reported[reported >= block]
    if len(served) < FEWEST:
        return block
    amounts = served.astype("int64").unique()
    common = int(np.gcd.reduce(amounts))
    if len(amounts) >= 3:
        return max(block, common)
    if available is None:
        return block
    there = available.reindex(served.index)
    doubled = (block << power for power in range(9))
    return next((step for step in doubled if step <= LARGEST_STEP and _explains(served, there, step)), block)


def _explains(served: pd.Series, available: pd.Series, step: int) -> bool:
    return bool(served.eq(whole_steps(available, step)).mean() >= EXACT)


def all_but_a_step(reported: pd.Series, prompt_tokens: pd.Series, block: int, share: float) -> pd.Series:
    """Which requests were reported as cached in all whole steps of their prompt, for a step in which at least `share` of them were.

    vLLM's decoders under PD count what they were handed so, LMCache's in chunks of 256.
    """
    found = pd.Series(False, index=reported.index)
    for step in (block << power for power in range(2, 8)):
        whole = whole_steps(prompt_tokens - 1, step)
        long_enough = whole >= step
        if long_enough.any() and reported.eq(whole)[long_enough].mean() >= share:
            found |= long_enough & reported.eq(whole)
    return found
