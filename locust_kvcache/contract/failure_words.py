"""Names why requests failed in the server's own words, such as `20 x 413 Payload Too Large`.

The same words stand in the load's log, in run.json's reason, among the report's caveats and in its headline.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

MOST_WORDS = 60  # characters of a server's own
MOST_CAUSES = 4
SAID_BY_SERVERS = ("http_error", "stream_error", "aborted", "malformed")  # statuses of which the error says more
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
_MESSAGE = re.compile(r'"(?:message|detail|error|msg)"\s*:\s*"((?:[^"\\]|\\.)*)')
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]"
)  # would colour a terminal, or turn its text round
_NUMBER = re.compile(r"[0-9a-f]*\d[0-9a-f]*")  # and ids
_QUOTED = re.compile(r": |, got ")  # what follows is the answer's own bytes, another in each record
_STATUS = re.compile(r"^HTTP (\d{3}):?\s*")


def first_words(text: str, most: int = 120) -> str:
    """The beginning of a page in one line, without the tags of HTML."""
    plain = " ".join(_TAGS.sub(" ", _CONTROL.sub(" ", text[:20_000])).split())
    return plain[:most] + "..." if len(plain) > most else plain


def message_of(body: str) -> str:
    """What an answer says, out of JSON or HTML; the text itself where it is neither."""
    title = _TITLE.search(body)
    if title:
        return first_words(title[1], MOST_WORDS)
    text = body.strip()
    if text.startswith(("{", "[")):
        try:
            text = _inner(json.loads(text)) or text
        except ValueError:  # cut off, as errors in records are
            found = _MESSAGE.search(text)
            text = found[1] if found else text
    return first_words(text, MOST_WORDS)


def _inner(value: Any) -> str:
    """The message in an error object, however deep it lies."""
    if isinstance(value, list):
        return next((said for item in value if (said := _inner(item))), "")
    if not isinstance(value, dict):
        return str(value) if isinstance(value, str) else ""
    return next((said for key in ("error", "message", "detail", "msg", "title") if (said := _inner(value.get(key)))), "")


def cause_of(status: str, error: str | None) -> str:
    """413 Request Entity Too Large; timeout; stream_error (CUDA out of memory); malformed (not JSON)."""
    if status == "malformed" and error:
        return f"{status} ({first_words(_QUOTED.split(error)[0], MOST_WORDS)})"
    if status not in SAID_BY_SERVERS or not error:
        return status
    code = _STATUS.match(error)
    words = message_of(error[code.end() :] if code else error)
    if code is None:
        return f"{status} ({words})" if words else status
    return words if words.startswith(code[1]) else f"{code[1]} {words}" if words else f"HTTP {code[1]}"


def counted_causes(failed: Iterable[tuple[str, str | None, int]]) -> dict[str, int]:
    """(status, error, how many) -> cause -> how many, the most frequent first. Messages that differ in their numbers only are one."""
    counts: Counter[str] = Counter()
    words: dict[str, str] = {}
    for status, error, count in failed:
        cause = cause_of(status, error)
        key = cause[:3] + _NUMBER.sub("#", cause[3:])
        words.setdefault(key, cause)
        counts[key] += count
    return {words[key]: count for key, count in counts.most_common()}


def listed(causes: Mapping[str, int]) -> str:
    """20 x 413 Request Entity Too Large, 3 x timeout."""
    entries = [f"{count} x {cause}" for cause, count in list(causes.items())[:MOST_CAUSES]]
    more = sum(list(causes.values())[MOST_CAUSES:])
    return ", ".join([*entries, *([f"{more} x other causes"] if more else [])])
