"""How many samples a test tries that can try any number: random examples, places in a stream, odd values in a file.

`make test` tries a fifth of them, `make test-long` (KV_ALL_SAMPLES=1) all. Such tests have the marker `sampled`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

ALL_SAMPLES = os.environ.get("KV_ALL_SAMPLES") == "1"
SHARE = 1 if ALL_SAMPLES else 5


def samples(count: int) -> int:
    """How many of `count`: at least 20, where there are so many."""
    return max(min(20, count), count // SHARE)


def places(stop: int) -> range:
    """From 1 to before `stop`: every place, or every fifth."""
    return range(1, stop, SHARE)


def examples(count: int, **more: Any) -> Callable[[Any], Any]:
    """In place of Hypothesis' settings(max_examples=count)."""

    def decorated(test: Any) -> Any:
        return pytest.mark.sampled(settings(max_examples=samples(count), deadline=None, **more)(test))

    return decorated
