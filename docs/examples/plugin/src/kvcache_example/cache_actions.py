"""A way to empty a cache tier. This one writes a file, which a store's own tool may wait for."""

from __future__ import annotations

from pathlib import Path

from locust_kvcache.contract.extensions import CacheActionKind


def touch(target: str, timeout_s: float) -> tuple[bool, str]:
    """`target` is what the deployment file says; the answer is whether it worked, and what happened."""
    Path(target).write_text("empty the store\n", encoding="utf-8")
    return True, f"wrote {target}"


MARKER_FILE = CacheActionKind(about="writes the file TARGET", empty=touch)
