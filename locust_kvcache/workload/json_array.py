"""Cuts a JSON array into its items while it is read: a file that is one array takes no more memory than its longest item.

Only strings and brackets are looked at; whether an item is JSON says who reads it. (Libraries that read JSON in pieces give values
without the lines that they stand in, and refuse what Python's own reader takes.)
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

READ_BYTES = 1 << 20
ARRAY_END, QUOTE = ord("]"), ord('"')
DEEPER, HIGHER = frozenset(b"[{"), frozenset(b"]}")
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_BLANK, _GAP = re.compile(rb"[ \t\r\n]*+"), re.compile(rb"[ \t\r\n,]*+")
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+", re.S)  # or to a string whose end is not read yet
_TO_GAP = re.compile(rb'(?:[^" \t\r\n,\[\]{}]++|' + _STRING + rb")*+", re.S)  # of a number, a string, ...


class Item(NamedTuple):
    raw: bytes
    line: int  # of the file, in which it begins
    before: int  # bytes of that line that stand before it


class ArrayCutter:
    def __init__(self, read: Callable[[int], bytes], grown: Callable[[int], None]) -> None:
        """`read` gives at most so many of the next bytes, none at the end; `grown` is told how many are held, and may raise."""
        self._read, self._grown = read, grown
        self._held, self._at = b"", 0  # bytes that are not dropped yet, and the place in them up to which all is done
        self.line = 1  # that place's
        self._line_at = 0  # where the line begins, seen from the held bytes

    def items(self) -> Iterator[Item]:
        """All items, up to the array's end; EOFError where the file ends before."""
        self._more()
        if self._held.startswith(codecs.BOM_UTF8):
            self._at = self._line_at = len(codecs.BOM_UTF8)
        self._skip(_BLANK)
        self._at += 1  # the [
        while True:
            self._skip(_GAP)
            if self._held[self._at] == ARRAY_END:
                self._at += 1
                return
            line, before = self.line, self._at - self._line_at
            size = self._item_bytes()
            raw = self._held[self._at : self._at + size]
            self._pass(self._at + size)
            yield Item(raw, line, before)

    def ends_here(self) -> bool:
        """Whether nothing but white space follows."""
        try:
            self._skip(_BLANK)
        except EOFError:
            return True
        return False

    def _skip(self, gap: re.Pattern[bytes]) -> None:
        """Go on to the next byte that is no gap."""
        while True:
            self._pass(_end(gap, self._held, self._at))
            if self._at < len(self._held):
                return
            if not self._more():
                raise EOFError

    def _pass(self, place: int) -> None:
        if ends := self._held.count(b"\n", self._at, place):
            self.line += ends
            self._line_at = self._held.rindex(b"\n", self._at, place) + 1
        self._at = place

    def _item_bytes(self) -> int:
        """The length of the item that begins here; what is held grows until all of it is there."""
        size, depth = 0, 0
        nested = self._held[self._at] in DEEPER
        while True:
            size = _end(_TO_BRACKET if nested else _TO_GAP, self._held, self._at + size) - self._at
            byte = self._held[self._at + size : self._at + size + 1]
            if not byte or byte[0] == QUOTE:
                if not self._more():
                    return len(self._held) - self._at
            elif not nested:
                return max(size, 1)
            else:
                depth += (byte[0] in DEEPER) - (byte[0] in HIGHER)
                size += 1
                if depth == 0:
                    return size

    def _more(self) -> bool:
        """Drop what is done and read on, twice as much each time, so that a long item is not copied often. False at the end."""
        kept = self._held[self._at :]
        more = self._read(max(READ_BYTES, len(kept)))
        self._line_at -= self._at
        self._held, self._at = kept + more, 0
        self._grown(len(self._held))
        return bool(more)


def _end(pattern: re.Pattern[bytes], held: bytes, at: int) -> int:
    """These patterns match everywhere, if nothing."""
    found = pattern.match(held, at)
    return found.end() if found else at
