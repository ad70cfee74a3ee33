"""Recognises stream events that differ in their text alone, so that most events need no JSON parser.

Exact, not approximate: what stands before and after the text is equal byte for byte to an event that was parsed, and the text holds
nothing that JSON writes in another way (quote, backslash, control character). Everything else is parsed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from locust_kvcache.loadgen.client.delta import output_of
from locust_kvcache.loadgen.client.typed_events import typed_event

Segment = tuple[float, bytes]  # (receive stamp in monotonic seconds, bytes)

PROBE = b"probe"
_TEXT = re.compile(rb'"(?:content|text|reasoning|reasoning_content)": ?"([^"\\\x00-\x1f]+)"')


@dataclass(frozen=True)
class ContentTemplate:
    before: bytes  # from the piece's first byte to the quote that opens the text
    after: bytes  # from the quote that closes it
    visible: bool

    def matching(self, segments: Sequence[Segment], start: int) -> tuple[list[float], list[str]]:
        """Stamps of the pieces from `start` on that hold one such event each and nothing else, up to the first that does not; their
        texts, joined or one by one."""
        before, after = self.before, self.after
        cut_before, cut_after = len(before), -len(after)
        stamps_s: list[float] = []
        raw: list[bytes] = []
        for stamp_s, piece in itertools.islice(segments, start, None):
            if not (piece.startswith(before) and piece.endswith(after)):
                break
            stamps_s.append(stamp_s)
            raw.append(piece[cut_before:cut_after])
        together = b"".join(raw)
        if together.isascii() and all(raw) and _is_plain(together.decode()):
            return stamps_s, [together.decode()]
        texts = list(itertools.takewhile(_is_plain, map(_text, raw)))
        return stamps_s[: len(texts)], texts


def _text(raw: bytes) -> str:
    """Empty if it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ""


def _is_plain(text: str) -> bool:
    """Whether JSON writes it as it is."""
    return bool(text) and '"' not in text and "\\" not in text and text.isprintable()


def template_of(piece: bytes) -> ContentTemplate | None:
    """The template of a piece that holds one event with one text; None where that event would say anything else with another text.

    It is tried: with another text in its place the event is parsed, and must be one choice with that text, or with a reasoning that
    is not kept, and without counts, a finish_reason or an error.
    """
    found = list(_TEXT.finditer(piece))
    if len(found) != 1:
        return None
    before, after = piece[: found[0].start(1)], piece[found[0].end(1) :]
    lines = [
        line
        for line in (before + PROBE + after).replace(b"\r", b"\n").split(b"\n")
        if line.strip() and not line.startswith((b":", b"id:", b"event: message", b"event: content_block_delta"))
    ]
    if len(lines) != 1 or not lines[0].startswith(b"data:") or not after.endswith((b"\n", b"\r")):
        return None
    try:
        event = orjson.loads(lines[0][5:])
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    said = typed_event(event)
    choices = said.choices if said else event.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    if any(event.get(name) for name in ("usage", "error")) or "timings" in event or event.get("object") == "error":
        return None
    output = output_of(choices[0])
    if not output.carries or output.unknown_field or any(choices[0].get(name) for name in ("finish_reason", "usage")):
        return None
    return ContentTemplate(before, after, bool(output.text)) if output.text in (PROBE.decode(), "") else None
