"""Caches encoded texts that several sessions use, and drops the least recently used."""

from __future__ import annotations

from collections import OrderedDict

SHARED_BYTES = 64_000_000
ENTRY_BYTES = 250  # of a text beside its own bytes: short ones cost more than they hold


class SharedTexts:
    """`most_bytes` None: all are kept."""

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = most_bytes
        self._texts: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: int) -> bytes | None:
        found = self._texts.get(key)
        if found is not None:
            self._texts.move_to_end(key)
        return found

    def keep(self, key: int, text: bytes) -> bytes:
        if (before := self._texts.pop(key, None)) is not None:
            self._bytes -= len(before) + ENTRY_BYTES
        self._bytes += len(text) + ENTRY_BYTES
        self._texts[key] = text
        while self.most_bytes is not None and self._bytes > self.most_bytes and len(self._texts) > 1:
            self._bytes -= len(self._texts.popitem(last=False)[1]) + ENTRY_BYTES
        return text
