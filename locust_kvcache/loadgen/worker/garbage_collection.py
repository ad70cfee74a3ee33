"""Turns Python's garbage collection off while streams are open: a full collection stops the process for 20 to 40 ms."""

from __future__ import annotations

import gc


def pause() -> None:
    """Collect now, and not until `resume`. The measured path leaves no cycles behind (tests/loadgen/client/test_stream.py), so memory
    does not grow without it."""
    gc.collect()
    gc.freeze()
    gc.disable()


def resume() -> None:
    gc.enable()
