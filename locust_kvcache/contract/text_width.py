"""Measures and cuts text by the columns that it takes on a console: a Chinese character takes two."""

from __future__ import annotations

import re
import textwrap
import unicodedata

PIECES = re.compile(
    r"\s+(?!%)|\[[\u2e80-\uffef]|[^\s\u2e80-\uffef]+(?: %)?[，。；：！？、）]*|.[，。；：！？、）]*", re.S
)  # words, and single wide characters, each with the punctuation behind it

NO_BREAK = "\u00a0"


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def left(text: str, columns: int) -> str:
    """Filled up with blanks behind it."""
    return text + " " * (columns - width(text))


def right(text: str, columns: int) -> str:
    """Filled up with blanks before it."""
    return " " * (columns - width(text)) + text


def cut(text: str, columns: int) -> str:
    """As much of its beginning as fits."""
    if width(text) <= columns:
        return text
    while width(text) > columns:
        text = text[:-1]
    return text


def wrap(text: str, columns: int, most: int, placeholder: str) -> list[str]:
    """At most `most` lines; a line may end behind every wide character."""
    if width(text) == len(text):
        kept = text.replace(" %", f"{NO_BREAK}%")  # a figure and its unit stay together
        lines = textwrap.wrap(kept, columns, max_lines=most, placeholder=placeholder, break_on_hyphens=False)
        return [line.replace(NO_BREAK, " ") for line in lines]
    lines = [""]
    for piece in PIECES.findall(" ".join(text.split())):
        if width(lines[-1] + piece) > columns:
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    shown = [line.rstrip() for line in lines if line.strip()]
    if len(shown) <= most:
        return shown
    return [*shown[: most - 1], cut(shown[most - 1], columns - width(placeholder)) + placeholder]
