"""Recognises events that differ from an earlier one in their text alone, which nearly all of a stream do: they need no JSON parser.

Exact, not approximate: what stands before and after the text is equal byte for byte to an event that was parsed, and the text holds
nothing that JSON writes in another way (quote, backslash, control character). Everything else is parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PROBE = "probe"
_TEXT = re.compile(rb'"(?:content|text|reasoning|reasoning_content)": ?"([^"\\\x00-\x1f]+)"')


@dataclass(frozen=True)
class ContentTemplate:
    before: bytes  # from the piece's first byte to the quote that opens the text
    after: bytes  # from the quote that closes it
    visible: bool

    def text_of(self, piece: bytes) -> str | None:
        """The text of a piece that holds one such event and nothing else; None where the piece is anything else."""
        if not (piece.startswith(self.before) and piece.endswith(self.after)):
            return None
        try:
            text = piece[len(self.before) : -len(self.after)].decode()
        except UnicodeDecodeError:
            return None
        return text if text.isprintable() and '"' not in text and "\\" not in text and text else None


def candidate(piece: bytes) -> tuple[bytes, bytes] | None:
    """What stands before and after the only text in a piece; None where there is none or more than one. It must be tried (PROBE)."""
    found = list(_TEXT.finditer(piece))
    return (piece[: found[0].start(1)], piece[found[0].end(1) :]) if len(found) == 1 else None
