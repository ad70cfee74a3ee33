"""Recognises events that differ from an earlier one in their text alone, which nearly all of a stream do: they need no JSON parser.

Exact, not approximate: what stands before and after the text is equal byte for byte to an event that was parsed, and the text holds
nothing that JSON writes in another way (quote, backslash, control character). Everything else is parsed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

Segment = tuple[float, bytes]  # (receive stamp in monotonic seconds, bytes)

PROBE = "probe"
_TEXT = re.compile(rb'"(?:content|text|reasoning|reasoning_content)": ?"([^"\\\x00-\x1f]+)"')


@dataclass(frozen=True)
class ContentTemplate:
    before: bytes  # from the piece's first byte to the quote that opens the text
    after: bytes  # from the quote that closes it
    visible: bool

    def matching(self, segments: Sequence[Segment], start: int) -> tuple[list[float], list[str]]:
        """Stamps and texts of the pieces from `start` on that hold one such event each and nothing else, up to the first that does not."""
        before, after = self.before, self.after
        cut_before, cut_after = len(before), -len(after)
        stamps_s: list[float] = []
        texts: list[str] = []
        for stamp_s, piece in itertools.islice(segments, start, None):
            if not (piece.startswith(before) and piece.endswith(after)):
                break
            try:
                text = piece[cut_before:cut_after].decode()
            except UnicodeDecodeError:
                break
            if not text or '"' in text or "\\" in text or not text.isprintable():
                break
            stamps_s.append(stamp_s)
            texts.append(text)
        return stamps_s, texts


def candidate(piece: bytes) -> tuple[bytes, bytes] | None:
    """What stands before and after the only text in a piece; None where there is none or more than one. It must be tried (PROBE)."""
    found = list(_TEXT.finditer(piece))
    return (piece[: found[0].start(1)], piece[found[0].end(1) :]) if len(found) == 1 else None
